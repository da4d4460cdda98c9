"""Keep the locks of a project: find what is stale, solve it, write it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder.errors import LockError
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


def read_locks(project: Project, cells: Sequence[Cell]) -> Locks:
    """Return the lock of every image that the cells belong to. Raises LockError."""
    return {image: read_lock(project.lock_path(image), cache_dir()) for image in {cell.image for cell in cells}}


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
    for stale in find_stale(project, cells, locks):
        raise LockError(f"{stale.job.cell.id} {stale.reason}", hint="run `imgbuild lock`.")
    return [environment for cell in cells if (environment := locks[cell.image].find(cell.environment))]


def find_orphans(project: Project) -> list[str]:
    """Return the locked environments that are no cell of the matrix any more, as `image: environment`."""
    orphans = []
    for definition in project.definitions:
        names = {cell.environment for cell in expand_cells(definition)[0]}
        lock = read_lock(project.lock_path(definition.name))
        orphans += [f"{definition.name}: {found.name}" for found in lock.environments if found.name not in names]
    return orphans


def check_locks(project: Project, cells: Sequence[Cell]) -> None:
    """Raise LockError naming every cell whose lock is missing or stale, and every environment without a cell."""
    faults = [
        f"{stale.job.cell.id} {stale.reason}" for stale in find_stale(project, cells, read_locks(project, cells))
    ]
    faults += [f"{orphan} is no cell of the matrix" for orphan in find_orphans(project)]
    if faults:
        shown = "\n".join(f"  {fault}" for fault in faults[:20])
        more = f"\n  and {len(faults) - 20} more" if len(faults) > 20 else ""
        message = f"the locks do not match the definitions:\n{shown}{more}"
        raise LockError(message, hint="run `imgbuild lock` and commit what it writes.")


def solve_locks(
    project: Project, jobs: Sequence[Job], *, sources: Sources, upgrade: Upgrade, report: Callable[[str], None]
) -> None:
    """Solve jobs and write the locks of their images, each as soon as it is solved.

    Raises SolveError or LockError; a lock is then as it was before.
    """
    from builder.solve import solve_cells

    for image in dict.fromkeys(job.cell.image for job in jobs):
        path = project.lock_path(image)
        previous = read_lock(path)
        solved = solve_cells(
            [job for job in jobs if job.cell.image == image],
            sources=sources,
            previous=previous,
            upgrade=upgrade,
            cache=cache_dir(),
            report=report,
        )
        names = [cell.environment for cell in expand_cells(project.definition(image))[0]]
        write_lock(previous.replace(solved, names=names), path)
