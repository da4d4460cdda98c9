"""How long the install steps of an image take on an engine that has built it before, beside copying what they make."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from benchmarks.ways import say
from builder.hostenv import SECRET, render_settings
from builder.sources import find_sources

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from benchmarks.dockerfiles import Target
    from benchmarks.ways import Scene

COPY = "FROM {ref}\nUSER 0\nRUN cp -a /opt/env /opt/copy\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallTime:
    """Seconds of one image's RUN steps, run again with whatever caches the way keeps, and of `cp -a` of the result."""

    way: str
    image: str
    install_seconds: float
    copy_seconds: float


def measure_install(way: str, scene: Scene, target: Target) -> InstallTime:
    """Return the time to install one image anew. Raises KitError when a step fails."""
    context = render_target(scene, target) if way == "imgbuild" else target.folder
    install = time_steps(scene, context, target)
    copying = scene.home / "copying"
    copying.mkdir(exist_ok=True)
    (copying / "Dockerfile").write_text(COPY.format(ref=f"{scene.registry}/{target.image}"), encoding="utf-8")
    copy = time_steps(scene, copying, target)
    say(f"{way}: {target.image}: installed again in {install:.1f} s, copied in {copy:.1f} s")
    return InstallTime(way=way, image=target.image, install_seconds=install, copy_seconds=copy)


def render_target(scene: Scene, target: Target) -> Path:
    """Return the build context that imgbuild renders for a cell."""
    rendered = scene.home / "rendered"
    scene.run(*scene.imgbuild, "render", "--out", rendered)
    return rendered / target.folder.name


def time_steps(scene: Scene, context: Path, target: Target) -> float:
    """Return the seconds from the start of the first RUN step to the end of the last, none of them from the cache.

    An ARG that differs each time makes those of the last stage run again. `--no-cache` would also give them new, empty
    cache mounts.
    """
    dockerfile = scene.home / "again.Dockerfile"
    before, last, after = (context / "Dockerfile").read_text(encoding="utf-8").rpartition("\nFROM ")
    base, rest = after.split("\n", 1)
    dockerfile.write_text(f"{before}{last}{base}\nARG AGAIN={uuid.uuid4()}\n{rest}", encoding="utf-8")
    settings = scene.home / "settings"
    sources = find_sources(str(scene.project / "sources.yaml"))
    settings.write_bytes(render_settings(sources, target.environment))
    said = scene.run(
        "docker",
        "buildx",
        "build",
        f"--file={dockerfile}",
        "--progress=rawjson",
        "--network=host",
        f"--secret=id={SECRET},src={settings}",
        "--output=type=cacheonly",
        context,
        merge=True,
    )
    return measure_span(said.splitlines())


def measure_span(lines: Iterable[str]) -> float:
    """Return the seconds that RUN steps span in buildx's `rawjson` progress."""
    moments = []
    for line in lines:
        for vertex in json.loads(line).get("vertexes", ()) if line.startswith("{") else ():
            if "] RUN " in vertex["name"] and vertex.get("completed"):
                moments += [datetime.fromisoformat(vertex[key]) for key in ("started", "completed")]
    if not moments:
        raise ValueError("no RUN step was told of")
    return (max(moments) - min(moments)).total_seconds()
