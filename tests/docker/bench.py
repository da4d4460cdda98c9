"""Images of layers, built around the scripts of templates/host that every step runs."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import docker
import pytest

from builder.context import Context, ContextFile
from builder.engine import Engine
from builder.events import Built
from builder.hostenv import render_settings
from builder.sources import find_sources
from tests.kit.base import IMAGE
from tests.samples import make_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = Path(__file__).parents[2] / "templates" / "host"
PYTHON = "/opt/conda/bin/python"
MOUNTS = (
    "--mount=type=bind,source=host,target=/host --mount=type=secret,id=host,target=/host/settings "
    "--mount=type=cache,id=imgbuild-test,target=/cache,sharing=shared "
)
FROM_STAGE = "--mount=type=bind,from=installer,source=/installer,target=/installer "
FROM_BASE = (
    "--mount=type=cache,id=imgbuild-test-conda,target=/opt/conda/pkgs,sharing=locked "
    "--mount=type=bind,source=host/history,target=/opt/env/conda-meta/history,rw "
)
HASHES = "--no-deps --require-hashes --only-binary :all: --requirement"
LIST = '"$(mirrored /build/list)"'
UV = "/installer/bin/uv pip install --quiet"
COMMANDS = {
    "rattler": f"PYTHONPATH=/installer {PYTHON} -sB /host/install.py /opt/env {LIST} /cache/rattler",
    "conda": f"CONDA_REGISTER_ENVS=false conda install --yes --quiet --prefix /opt/env --file {LIST}",
    "uv": f"{UV} --python /opt/env/bin/python {HASHES} /build/list",
    "pip": f"/opt/env/bin/python -m pip install --quiet {HASHES} /build/list",
    "neutral": f"{UV} --target /opt/env/lib/neutral --python {PYTHON} {HASHES} /build/list",
    "link": "/opt/env/bin/python -sSB /host/neutral.py /opt/env /build/list",
}


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One step: how it installs, and its list."""

    how: str
    lines: tuple[str, ...]


@dataclass(kw_only=True)
class Bench:
    """Builds images of layers on an engine, each time without the engine's cache of earlier steps."""

    kit: Path
    counter: Iterator[int] = field(default_factory=itertools.count)
    made: list[tuple[str, str]] = field(default_factory=list)

    def build(self, url: str, *layers: Layer) -> str:
        steps = [
            f"FROM {IMAGE} AS installer",
            "USER 0",
            f"RUN {MOUNTS}. /host/begin && "
            f"{PYTHON} -m pip install --quiet --target /installer {HASHES} /host/installer.txt",
            f"FROM {IMAGE}",
            "USER 0",
            # With a place for what the engine mounts, no step has to make one.
            "COPY image/ /",
            f"RUN {MOUNTS}. /host/begin && : {id(self)}-{next(self.counter)} && mkdir -p /opt/env/conda-meta "
            "&& : > /opt/env/conda-meta/history && sh /host/end /opt/env",
        ]
        templates = (path for path in HOST.parent.glob("*/**/*") if path.is_file() and path.suffix != ".pyc")
        files = {str(path.relative_to(HOST.parent)): path.read_bytes() for path in templates}
        for number, layer in enumerate(layers):
            mounts = FROM_BASE if layer.how in {"conda", "pip"} else FROM_STAGE
            steps.append(
                f"RUN --mount=type=bind,source={number},target=/build {MOUNTS}{mounts}"
                f". /host/begin && {COMMANDS[layer.how]} && sh /host/end /opt/env /opt/conda/pkgs"
            )
            files[f"{number}/list"] = "".join(f"{line}\n" for line in layer.lines).encode()
        files["Dockerfile"] = "\n".join(steps).encode()
        context = Context(files=tuple(ContextFile(path=path, data=data) for path, data in sorted(files.items())))
        secret = render_settings(find_sources(str(self.kit / "sources.yaml")), make_environment())
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DOCKER_HOST", url)
            with Engine() as engine:
                events = engine.build(
                    context, secrets={"host": secret}, credentials=lambda _: None, build_args={}, network="host"
                )
                image = [event.image_id for event in events if isinstance(event, Built)].pop()
        self.made.append((url, image))
        return image

    def layers(self, url: str, image: str, count: int) -> list[str]:
        """Return the digests of an image's last layers."""
        with connect(url) as client:
            return list(client.images.get(image).attrs["RootFS"]["Layers"][-count:])

    def shell(self, url: str, image: str, script: str) -> str:
        with connect(url) as client:
            output = client.containers.run(
                image, ["sh", "-euc", script], remove=True, network_mode="host", stderr=True
            )
            return str(output.decode())


class connect:  # noqa: N801 (docker's client, closed)
    def __init__(self, url: str) -> None:
        self.client = docker.DockerClient(base_url=url, version="auto")

    def __enter__(self) -> docker.DockerClient:
        return self.client

    def __exit__(self, *_: object) -> None:
        self.client.close()
