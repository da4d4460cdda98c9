"""The plan of a project on disk: from the locks of all its images, and the plan before."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from builder.artifacts import list_artifacts
from builder.locking import read_locks
from builder.matrix import expand_cells
from builder.plan import BUDGET, Content, Plan, plan_cells
from builder.plan_file import FILE_NAME, read_plan, write_plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from builder.lock import Environment
    from builder.locking import Locks
    from builder.matrix import Cell
    from builder.project import Project


def plan_path(project: Project) -> Path:
    """Return where the plan of a project lies."""
    return project.root / "images" / FILE_NAME


def plan_project(project: Project, *, budget: int | None = None, fresh: bool = False) -> Plan:
    """Return the plan of every locked cell of a project. It starts from the plan on disk, unless it is to be `fresh`.

    Raises LockError for a lock or a plan that cannot be read.
    """
    previous = read_plan(plan_path(project))
    cells = [cell for definition in project.definitions for cell in expand_cells(definition)[0]]
    contents = _read_contents(project, cells, read_locks(project, cells))
    wanted = budget or (previous.budget if previous else BUDGET)
    return plan_cells(contents, budget=wanted, previous=None if fresh else previous)


def save_plan(project: Project) -> Plan:
    """Bring the plan on disk up to the locks, and return it. Raises LockError."""
    plan = plan_project(project)
    write_plan(plan, plan_path(project))
    return plan


def plan_environments(locks: Mapping[Path, Iterable[Environment]], *, budget: int | None = None) -> Plan:
    """Return the plan of the environments of any locks, all on the same base.

    Where two locks have an environment of one name, the lock's path tells them apart.
    """
    names = Counter(environment.name for environments in locks.values() for environment in environments)
    contents = [
        Content(
            id=environment.name if names[environment.name] == 1 else f"{path}: {environment.name}",
            base="any",
            artifacts=frozenset(list_artifacts(environment)),
        )
        for path, environments in locks.items()
        for environment in environments
    ]
    return plan_cells(contents, budget=budget or BUDGET)


def _read_contents(project: Project, cells: Iterable[Cell], locks: Locks) -> Iterator[Content]:
    for cell in cells:
        environment = locks[cell.image].find(cell.environment)
        if environment is None:
            continue
        base = project.base(cell.image)
        index = cell.build.wheel_index or "" if cell.build else ""
        axes = (("image", cell.image), ("python", str(cell.python)), ("cuda", str(cell.cuda or "cpu")))
        yield Content(
            id=cell.id,
            base=base.key,
            artifacts=frozenset(list_artifacts(environment, neutral=base.installer == "rattler", index=index)),
            axes=axes,
        )
