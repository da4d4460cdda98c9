"""Read what a registry has of a project's images, and judge it: what `imgbuild status` does."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from builder.checks.suites import digest_checks
from builder.locking import find_stale, make_job, read_locks
from builder.matrix import expand_cells
from builder.registry.content import ContentError
from builder.registry.image import read_image
from builder.registry.parallel import read_all
from builder.render import LABEL, list_labels
from builder.site.published import Published
from builder.status import Status, Wanted, judge_cell, judge_tags, needs_reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.bases import BasesNow
    from builder.definition import Definition
    from builder.locking import Locks
    from builder.matrix import Cell
    from builder.project import Project
    from builder.registry.client import Registry
    from builder.registry.image import PublishedImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """The status of a project, and the images of its cells that are not wrong."""

    status: Status
    published: tuple[Published, ...]


def reconcile(
    project: Project,
    definitions: Sequence[Definition],
    registry: Registry,
    path: str,
    *,
    bases: BasesNow | None = None,
) -> Reconciled:
    """Return how the images of some definitions are in a registry, under a path of it that may be empty.

    `bases` are what bases that no digest pins are now, as `read_bases` gives them: images on top of others are stale,
    and whether one is on top of a base that could not be asked about is unknown.
    Raises LockError for a lock that cannot be read, RegistryError, and Cancelled.
    """
    cells = [cell for definition in definitions for cell in expand_cells(definition)[0]]
    locks = read_locks(project, cells)
    wanted = list_wanted(project, cells, locks, path, bases=bases or {})
    registry.require()
    questions = {it.cell.id: partial(_try, registry, it.repository, it.cell.tag) for it in wanted}
    found = read_all(registry, questions)
    repositories = list(dict.fromkeys(name_repository(path, definition.name) for definition in definitions))
    tags = read_all(registry, {name: partial(registry.list_tags, name) for name in repositories})
    own = {(it.repository, it.cell.tag) for it in wanted}
    left = [(name, tag) for name in repositories for tag in tags[name] if (name, tag) not in own]
    aliases = {(name_repository(path, it.name), alias) for it in definitions for alias, _ in it.aliases}
    unclear = [key for key in left if key in aliases or needs_reading(key[1])]
    others = read_all(registry, {key: partial(_try, registry, *key) for key in unclear})
    judged = tuple(judge_cell(it, found[it.cell.id], registry.host) for it in wanted)
    known = {it.digest: want.cell.tag for it, want in zip(judged, wanted, strict=True) if it.digest}
    more = [
        judge_tags(
            name,
            (tag for repository, tag in left if repository == name),
            {tag: _require_own(image) for (repository, tag), image in others.items() if repository == name},
            known,
            registry.host,
        )
        for name in repositories
    ]
    status = Status(
        registry=f"{registry.host}/{path}".rstrip("/"),
        cells=judged,
        tags=tuple(tag for group in more for tag in group),
    )
    published = (
        Published(ref=it.ref, image=image, environment=locks[want.cell.image].find(want.cell.environment))
        for it, want in zip(judged, wanted, strict=True)
        if it.state != "wrong" and (image := _require_image(found[it.cell]))
    )
    return Reconciled(status=status, published=tuple(published))


def list_wanted(
    project: Project, cells: Sequence[Cell], locks: Locks, path: str, *, bases: BasesNow
) -> tuple[Wanted, ...]:
    """Return what a registry should have of each cell."""
    stale = {it.job.cell.id: it.reason for it in find_stale(project, cells, locks)}
    return tuple(_want(project, cell, locks, path, stale.get(cell.id), bases) for cell in cells)


def name_repository(path: str, image: str) -> str:
    """Return where the tags of an image are: `team/pytorch`."""
    return f"{path}/{image}".lstrip("/")


def _want(project: Project, cell: Cell, locks: Locks, path: str, why: str | None, bases: BasesNow) -> Wanted:
    job, environment = make_job(project, cell), locks[cell.image].find(cell.environment)
    labels = None
    if environment and not why:
        labels = list_labels(job, environment, digest_checks(job.definition))
    repository, base = name_repository(path, cell.image), bases.get(job.base.key)
    return Wanted(cell=cell, repository=repository, labels=labels, why=f"it {why}", base=base)


def _try(registry: Registry, repository: str, tag: str) -> PublishedImage | ContentError | None:
    try:
        return read_image(registry, repository, tag)
    except ContentError as error:
        return error


def _require_image(found: PublishedImage | ContentError | None) -> PublishedImage | None:
    return None if isinstance(found, ContentError) else found


def _require_own(found: PublishedImage | ContentError | None) -> PublishedImage | None:
    image = _require_image(found)
    return image if image and f"{LABEL}.image" in image.labels else None
