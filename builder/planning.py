"""The plan of a project on disk: from the locks of all its images, and the plan before."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import chain, count
from typing import TYPE_CHECKING

from builder.artifacts import list_artifacts
from builder.errors import DefinitionError, LockError
from builder.files import hold_folder
from builder.locked import LockedCell
from builder.locking import find_environments, make_job, read_locks
from builder.matrix import expand_cells
from builder.plan import BUDGET, Content, Plan, plan_cells
from builder.plan_file import FILE_NAME, is_written, read_plan, write_plan
from builder.titles import title_layers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from builder.definition import Base
    from builder.lock import Environment
    from builder.locking import Locks
    from builder.matrix import Cell
    from builder.plan import Published
    from builder.project import Project


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectPlan:
    """The plan of a project, the locks that it was made from, and the plan on disk that it started from, if any.

    Another command may change locks at any time: what is built has to come from the very locks that were planned.
    """

    plan: Plan
    locks: Locks
    previous: Published | None


def plan_path(project: Project) -> Path:
    """Return where the plan of a project lies."""
    return project.root / "images" / FILE_NAME


def plan_project(project: Project, *, budget: int | None = None, fresh: bool = False) -> ProjectPlan:
    """Return the plan of every locked cell of a project.

    It starts from the plan on disk and has its budget unless another is given. One that is to be `fresh` does not
    look at it, not even to see whether it can be read. Images that are unread keep what the plan on disk has of them.

    Raises LockError for a lock or a plan that cannot be read, and DefinitionError where no plan tells of an image that
    is unread and locked: all layers might be others for it.
    """
    previous = None if fresh else read_plan(plan_path(project))
    cells = [cell for definition in project.definitions for cell in expand_cells(definition)[0]]
    locks = read_locks(project, cells)
    contents = [
        make_content(cell, project.base(cell.image), environment)
        for cell in cells
        if (environment := locks[cell.image].find(cell.environment))
    ]
    contents += _recall_unread(project, previous)
    wanted = budget or (previous.budget if previous else BUDGET)
    plan = plan_cells(contents, budget=wanted, previous=previous)
    return ProjectPlan(plan=plan, locks=locks, previous=previous)


def keep_plan(project: Project, *, budget: int | None = None, fresh: bool = False) -> ProjectPlan:
    """Bring the plan on disk up to the locks, and return it, made as `plan_project` does.

    Raises LockError and DefinitionError as that does, and LockError where the plan cannot be written.
    """
    path = plan_path(project)
    with hold_folder(path.parent):  # another command may bring it up to other locks just now
        planned = plan_project(project, budget=budget, fresh=fresh)
        write_plan(planned.plan, path)
    return planned


def require_plan(project: Project, cells: Sequence[Cell]) -> ProjectPlan:
    """Return the plan of a project that needs no change: `imgbuild lock` would write neither locks nor plan.

    Raises LockError for the first of these cells whose lock is missing or stale, and for a plan on disk that is
    missing or says anything else than the locks ask for; and both errors that `plan_project` raises.
    """
    planned = plan_project(project)
    find_environments(project, cells, planned.locks)
    if not is_written(planned.plan, plan_path(project)):
        fault = "is not of these locks" if planned.previous else "is missing"
        message = f"the plan of the layers {fault}"
        raise LockError(message, path=plan_path(project), hint="run `imgbuild lock` and commit what it writes.")
    return planned


def require_plannable(project: Project, cells: Sequence[Cell]) -> None:
    """Raise what keeps a project from being planned, however these cells will be locked: ask before they are.

    LockError for a plan on disk, or a lock of another image, that cannot be read; DefinitionError as `plan_project`.
    """
    _recall_unread(project, read_plan(plan_path(project)))
    chosen = {cell.image for cell in cells}
    others = (definition for definition in project.definitions if definition.name not in chosen)
    read_locks(project, [cell for definition in others for cell in expand_cells(definition)[0]])


def lay_out(project: Project, cells: Sequence[Cell], planned: ProjectPlan) -> tuple[LockedCell, ...]:
    """Return what each cell installs, layer by layer. Raises LockError for the first that is missing or stale."""
    plan = planned.plan
    titles = title_layers(plan)
    return tuple(
        LockedCell(job=make_job(project, cell), environment=environment, layers=plan.layers_of(cell.id), titles=titles)
        for cell, environment in zip(cells, find_environments(project, cells, planned.locks), strict=True)
    )


def _recall_unread(project: Project, previous: Published | None) -> list[Content]:
    """Return what a plan has of the images that are unread. Raises DefinitionError without a plan."""
    if previous is None:
        for error in (unread.error for unread in project.unread if unread.is_locked):
            message = f"{error.message}; without {plan_path(project)}, the layers of every image depend on this one"
            raise DefinitionError(message, hint=error.hint, path=error.path, line=error.line)
        return []
    names = {unread.image for unread in project.unread}
    return [content for content in previous.contents if dict(content.axes).get("image") in names]


def plan_environments(locks: Mapping[Path, Iterable[Environment]], *, budget: int | None = None) -> Plan:
    """Return the plan of the environments of any locks, all on the same base.

    Where two locks have an environment of one name, the lock's path tells them apart, and a number those of one lock.
    """
    names = Counter(environment.name for environments in locks.values() for environment in environments)
    contents: dict[str, Content] = {}
    for path, environment in ((path, it) for path, environments in locks.items() for it in environments):
        name = environment.name if names[environment.name] == 1 else f"{path}: {environment.name}"
        unique = next(filter(lambda it: it not in contents, chain([name], (f"{name} ({it})" for it in count(2)))))
        contents[unique] = Content(id=unique, base="any", artifacts=frozenset(list_artifacts(environment)))
    return plan_cells(contents.values(), budget=budget or BUDGET)


def make_content(cell: Cell, base: Base, environment: Environment) -> Content:
    """Return what a locked cell has to install on its base."""
    index = (cell.build.wheel_index if cell.build else None) or ""
    return Content(
        id=cell.id,
        base=base.key,
        artifacts=frozenset(list_artifacts(environment, neutral=base.installer == "rattler", index=index)),
        axes=(("image", cell.image), ("python", str(cell.python)), ("cuda", str(cell.cuda or "cpu"))),
    )
