"""Measure a way on a matrix: cold, again, and after one package came out in a new version."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from benchmarks.disk import mount_disk
from benchmarks.dockerfiles import Target, write_context
from benchmarks.install_time import InstallTime, measure_install
from benchmarks.registry import run_registry
from benchmarks.throwaway import run_engine, stop_engine
from benchmarks.ways import WAYS, Scene, find_log, say
from builder.locking import find_environments, read_locks
from builder.matrix import expand_cells
from builder.sources import find_sources
from tests.kit.errors import KitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from benchmarks.result import Input
    from builder.project import Project
    from tests.kit.engine import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one phase took: seconds from the first command to the last, and bytes after it.

    `image_bytes` are those of `pushed_bytes` that are of images, not of what is attached to them; `engine_bytes` is
    what the engine's disk has beside the base image.
    """

    way: str
    phase: str
    seconds: float
    pushed_bytes: int
    image_bytes: int
    registry_bytes: int
    engine_bytes: int


class Matrix(Protocol):
    """What is built: a project whose lock has another content in each phase."""

    @property
    def title(self) -> str:
        """What it is, in a few words."""

    @property
    def phases(self) -> tuple[str, ...]:
        """The names of the phases, in order."""

    def write(self, root: Path, phase: str) -> Project:
        """Return the project in a folder, with definitions, sources and the lock of the phase."""


def measure_way(
    way: str, matrix: Matrix, *, kit: Path, home: Path, fill: Callable[[Engine, Path], None]
) -> Iterator[Row | InstallTime]:
    """Yield a row for each phase, and at the end how long the largest cell takes to install.

    The engine and the registry are new, and empty but for the base image, which `fill` gives to the engine; so is the
    disk that they are on. What the commands say stays beside it.
    """
    project, engine_home = home / "project", home / "engine"
    find_log(home).unlink(missing_ok=True)
    stop_engine(engine_home)  # of a run that was killed
    with (
        mount_disk(home),
        run_engine(engine_home, kit, fill=fill) as engine,
        run_registry(home / "registry") as registry,
    ):
        for phase in matrix.phases:
            targets = write_targets(matrix.write(project, phase), home / "contexts")
            scene = Scene(project=project, targets=targets, engine=engine.url, registry=registry.address, home=home)
            os.sync()
            say(f"{way}: {phase} …")
            began = time.monotonic()
            WAYS[way](scene)
            seconds = time.monotonic() - began
            pushed = registry.count_pushed([target.image for target in targets])
            row = Row(
                way=way,
                phase=phase,
                seconds=seconds,
                pushed_bytes=pushed.total,
                image_bytes=pushed.images,
                registry_bytes=registry.measure_disk(),
                engine_bytes=engine.measure_growth(),
            )
            say(f"{way}: {phase}: {seconds:.1f} s, {row.pushed_bytes / 1e6:.1f} MB pushed")
            yield row
        yield measure_install(way, scene, max(targets, key=lambda target: target.size))


def check_disk(folder: Path, described: Input, phases: int) -> None:
    """Raise KitError unless a disk has room for what a way may leave behind.

    In each phase that changes something that is a packed and an unpacked copy in the engine, one in the registry, and
    what is downloaded meanwhile.
    """
    needed = described.naive_bytes * 4 * max(phases - 1, 1)
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed:
        message = f"{folder} has {free / 1e9:.0f} GB of disk left, and a way may take {needed / 1e9:.0f} GB"
        raise KitError(message, hint="give a larger --factor, fewer --cells, or fewer --phases")


def write_targets(project: Project, folder: Path) -> tuple[Target, ...]:
    """Return the cells of a project as plain Dockerfiles, written into a folder each.

    Raises LockError for the first cell whose lock is missing or stale.
    """
    cells = [cell for definition in project.definitions for cell in expand_cells(definition)[0]]
    environments = find_environments(project, cells, read_locks(project, cells))
    sources = find_sources(str(project.root / "sources.yaml"))
    targets = []
    for cell, environment in zip(cells, environments, strict=True):
        target = Target(folder=folder / cell.id, image=f"{cell.image}:{cell.tag}", environment=environment)
        write_context(target, sources)
        targets.append(target)
    return tuple(targets)
