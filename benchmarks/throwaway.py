"""An engine that lasts as long as a measurement: its own data, empty at first, and gone at the end."""

from __future__ import annotations

import json
import os
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.kit import processes
from tests.kit.base import import_base
from tests.kit.engine import Engine, Store, add_bridge, start_dockerd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BRIDGE = "imgbuild-bench0"
STEADY = 1_000_000
"""Bytes by which an engine's disk may differ from one look to the next when it has come to rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThrowawayEngine:
    """An engine that runs, where its data is, and how many bytes that was at the start, base image and all."""

    url: str
    data: Path
    start: int

    def measure_growth(self) -> int:
        """Return the bytes on disk that came since the start: images, packed and unpacked, and build cache.

        The engine collects its garbage a little later than it answers: what counts is what stays the same for seconds.
        """
        before, now = -1, self._measure()
        while abs(now - before) > STEADY:
            time.sleep(3)
            before, now = now, self._measure()
        return now - self.start

    def _measure(self) -> int:
        os.sync()
        return measure_folder(self.data)


@contextmanager
def run_engine(
    home: Path, kit: Path, *, store: Store = "containerd", fill: Callable[[Engine, Path], None] = import_base
) -> Iterator[ThrowawayEngine]:
    """Run dockerd with nothing in it but the base image, the kit's or another, which `fill` puts there.

    Fresh installs have the containerd image store. Raises KitError when it does not start.
    """
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    config = home / "daemon.json"
    features = {"containerd-snapshotter": store == "containerd"}
    config.write_text(json.dumps({"features": features}), encoding="utf-8")
    engine = Engine(url=f"unix://{home / 'docker.sock'}")
    argv = (
        "dockerd",
        f"--host={engine.url}",
        f"--pidfile={home / 'dockerd.pid'}",
        f"--config-file={config}",
        f"--data-root={home / 'data'}",
        f"--exec-root={home / 'exec'}",
        f"--bridge={add_bridge(BRIDGE)}",
        "--iptables=false",
        "--ip6tables=false",
    )
    try:
        start_dockerd(argv, home / "dockerd.log", engine)
        fill(engine, kit)
        os.sync()
        yield ThrowawayEngine(url=engine.url, data=home / "data", start=measure_folder(home / "data"))
    finally:
        stop_engine(home)
        shutil.rmtree(home, ignore_errors=True)


def stop_engine(home: Path) -> None:
    """Stop the engine of a home, if one runs there."""
    processes.stop_process(home / "dockerd.pid", str(home))


def measure_folder(folder: Path) -> int:
    """Return the bytes that a folder takes on its own disk; what has several names counts once."""
    seen: dict[int, int] = {}
    ahead, device = [str(folder)], folder.stat().st_dev
    while ahead:
        try:
            entries = list(os.scandir(ahead.pop()))
            found = [(entry, entry.stat(follow_symlinks=False)) for entry in entries]
        except FileNotFoundError:  # an engine is at work there
            continue
        for entry, stat in found:
            if stat.st_dev == device:
                seen[stat.st_ino] = stat.st_blocks * 512
                ahead += [entry.path] if entry.is_dir(follow_symlinks=False) else []
    return sum(seen.values())
