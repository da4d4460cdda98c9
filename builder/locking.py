"""Keep the locks of a project: find what is stale, solve it, write it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder.errors import LockError
from builder.files import hold_folder
from builder.inputs import Job, digest_inputs
from builder.lock import Lock, read_lock, write_lock
from builder.matrix import Cell, expand_cells

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from builder.lock import Environment
    from builder.project import Project
    from builder.solve import Upgrade
    from builder.sources import Sources


Locks = Mapping[str, Lock]
"""The lock of each image, by its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale:
    """A cell whose lock cannot be used, and why."""

    job: Job
    reason: str


def cache_dir() -> Path:
    """Return where solvers keep what they downloaded: $XDG_CACHE_HOME/imgbuild."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "imgbuild"


def make_job(project: Project, cell: Cell) -> Job:
    """Return a cell with its definition and base. Raises DefinitionError for a base that bases.yaml lacks."""
    return Job(cell=cell, definition=project.definition(cell.image), base=project.base(cell.image))


def read_locks(project: Project, cells: Sequence[Cell], *, repair: Callable[[str], None] | None = None) -> Locks:
    """Return the lock of every image that the cells belong to.

    Raises LockError for a lock that cannot be read; with `repair` that is told instead, and the lock counts as empty.
    """
    return {image: _read(project.lock_path(image), repair) for image in {cell.image for cell in cells}}


def _read(path: Path, repair: Callable[[str], None] | None) -> Lock:
    try:
        return read_lock(path, cache_dir())
    except LockError as error:
        if repair is None:
            raise
        repair(f"{path}: {error.message}: all of it is solved anew")
        return Lock()


def find_stale(project: Project, cells: Sequence[Cell], locks: Locks) -> list[Stale]:
    """Return the cells whose lock is missing or was solved from other inputs, in order."""
    stale = []
    for cell in cells:
        job = make_job(project, cell)
        environment = locks[cell.image].find(cell.environment)
        if environment is None:
            stale.append(Stale(job=job, reason="is not in the lock"))
        elif environment.inputs != digest_inputs(job):
            stale.append(Stale(job=job, reason="was locked from another definition or base"))
    return stale


def find_environments(project: Project, cells: Sequence[Cell], locks: Locks) -> list[Environment]:
    """Return the locked environment of each cell. Raises LockError for the first that is missing or stale."""
    if stale := find_stale(project, cells, locks):
        more = f" ({len(stale)} of {len(cells)} cells are missing or stale)" if stale[1:] else ""
        raise LockError(f"{stale[0].job.cell.id} {stale[0].reason}{more}", hint="run `imgbuild lock`.")
    return [environment for cell in cells if (environment := locks[cell.image].find(cell.environment))]


def find_orphans(project: Project, locks: Locks) -> list[str]:
    """Return the locked environments that are no cell of the matrix any more, as `image: environment`."""
    return [
        f"{image}: {environment.name}"
        for image, lock in sorted(locks.items())
        for environment in lock.environments
        if environment.name not in _names(project, image)
    ]


def drop_orphans(project: Project, locks: Locks) -> list[str]:
    """Remove the environments that `find_orphans` returns from their locks, and return them. Raises LockError."""
    orphans = find_orphans(project, locks)
    for image in {orphan.partition(":")[0] for orphan in orphans}:
        _update(project, image, ())
    return orphans


def check_locks(project: Project, cells: Sequence[Cell]) -> None:
    """Raise LockError naming every cell whose lock is missing or stale, and every environment without a cell."""
    locks = read_locks(project, cells)
    faults = [f"{stale.job.cell.id} {stale.reason}" for stale in find_stale(project, cells, locks)]
    faults += [f"{orphan} is no cell of the matrix" for orphan in find_orphans(project, locks)]
    if faults:
        shown = "\n".join(f"  {fault}" for fault in faults[:20])
        more = f"\n  and {len(faults) - 20} more" if len(faults) > 20 else ""
        message = f"the locks do not match the definitions:\n{shown}{more}"
        raise LockError(message, hint="run `imgbuild lock` and commit what it writes.")


def solve_locks(
    project: Project,
    jobs: Sequence[Job],
    locks: Locks,
    *,
    sources: Sources,
    upgrade: Upgrade,
    report: Callable[[str], None],
    warn: Callable[[str], None],
) -> None:
    """Solve jobs and write the locks of their images, each as soon as it is solved; `locks` is what they were before.

    Raises SolveError or LockError; a lock is then as it was.
    """
    from builder.solve import solve_cells

    for image in dict.fromkeys(job.cell.image for job in jobs):
        solved = solve_cells(
            [job for job in jobs if job.cell.image == image],
            sources=sources,
            previous=locks[image],
            upgrade=upgrade,
            cache=cache_dir(),
            report=report,
            warn=warn,
        )
        _update(project, image, solved)


def _update(project: Project, image: str, solved: Sequence[Environment]) -> None:
    """Put environments into the lock of an image, which another command may have changed while these were solved."""
    path = project.lock_path(image)
    with hold_folder(path.parent):
        current = _read(path, repair=lambda _: None)
        write_lock(current.replace(solved, names=_names(project, image)), path)


def _names(project: Project, image: str) -> list[str]:
    return [cell.environment for cell in expand_cells(project.definition(image))[0]]
