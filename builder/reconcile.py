"""Read what a registry has of a project's images, and judge it: what `imgbuild status` does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from builder.attach import list_missing
from builder.checks.suites import digest_checks
from builder.leftover import read_leftover, read_orphans
from builder.locking import find_stale, make_job, read_locks
from builder.matrix import expand_cells
from builder.registry.content import ContentError
from builder.registry.image import try_image
from builder.registry.parallel import read_all
from builder.registry.place import name_repository
from builder.render import list_labels
from builder.site.published import Published
from builder.status import Status, Wanted, judge_cell, tell_staged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.bases import BasesNow
    from builder.definition import Definition
    from builder.locking import Locks
    from builder.matrix import Cell
    from builder.project import Project
    from builder.registry.client import Registry
    from builder.registry.image import PublishedImage
    from builder.status import CellStatus


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
    documents: bool = True,
    orphans: bool = False,
) -> Reconciled:
    """Return how the images of some definitions are in a registry, under a path of it that may be empty.

    `bases` are what bases that no digest pins are now, as `read_bases` gives them: images on top of others are stale,
    and whether one is on top of a base that could not be asked about is unknown. With `documents` each image has to
    have all of them. With `orphans` the path is the project's own, and all other images there are orphaned.
    Raises LockError for a lock that cannot be read, RegistryError, and Cancelled.
    """
    cells = [cell for definition in definitions for cell in expand_cells(definition)[0]]
    locks = read_locks(project, cells)
    wanted = list_wanted(project, cells, locks, path, bases=bases or {})
    registry.require()
    questions = {it.cell.id: partial(try_image, registry, it.repository, it.cell.tag) for it in wanted}
    found = read_all(registry, questions)
    judged = [judge_cell(it, found[it.cell.id], registry.host) for it in wanted]
    if documents:
        judged = _judge_documents(registry, wanted, judged)
    own = {(want.repository, want.cell.tag): it.digest for it, want in zip(judged, wanted, strict=True)}
    tags = read_leftover(registry, path, definitions, own)
    if orphans:
        names = [*(it.name for it in project.definitions), *(it.image for it in project.unread)]
        tags += read_orphans(registry, path, names)
    judged = [tell_staged(it, tags) for it in judged]
    status = Status(registry=f"{registry.host}/{path}".rstrip("/"), cells=tuple(judged), tags=tags)
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


def _want(project: Project, cell: Cell, locks: Locks, path: str, why: str | None, bases: BasesNow) -> Wanted:
    job, environment = make_job(project, cell), locks[cell.image].find(cell.environment)
    labels = None
    if environment and not why:
        labels = list_labels(job, environment, digest_checks(job.definition))
    repository, base = name_repository(path, cell.image), bases.get(job.base.key)
    return Wanted(cell=cell, repository=repository, labels=labels, why=f"it {why}", base=base)


def _judge_documents(registry: Registry, wanted: Sequence[Wanted], judged: Sequence[CellStatus]) -> list[CellStatus]:
    """Return the status of cells, in which an image that is up to date but lacks documents is incomplete."""
    questions = {
        it.cell: partial(_find_lack, registry, want.repository, it.digest)
        for it, want in zip(judged, wanted, strict=True)
        if it.state in {"up to date", "unknown"} and it.digest
    }
    lacks = read_all(registry, questions)
    return [
        replace(it, state="incomplete", reasons=(lack, *it.reasons)) if (lack := lacks.get(it.cell)) else it
        for it in judged
    ]


def _find_lack(registry: Registry, repository: str, digest: str) -> str:
    """Return what is wrong with the documents of an image, empty where nothing is."""
    try:
        missing = list_missing(registry, repository, digest)
    except ContentError as error:
        return error.message
    return f"it lacks documents: {', '.join(missing)}" if missing else ""


def _require_image(found: PublishedImage | ContentError | None) -> PublishedImage | None:
    return None if isinstance(found, ContentError) else found
