"""`imgbuild build`: cells of the matrix → images that passed their checks."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from builder.commands.options import add_documents, add_network, read_signer, redacted, say_local_indexes
from builder.commands.selection import add_selection, choose_cells
from builder.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from builder.engine import Engine
    from builder.locking import Locks, Stale
    from builder.progress import Progress
    from builder.project import Project
    from builder.publish import Publisher
    from builder.registry.writing import Writer
    from builder.signing.vouching import Signer
    from builder.sources import Sources
    from builder.work import Ended


@click.command()
@add_selection
@add_network
@click.option("--all", "everything", is_flag=True, help="Every cell of every image.")
@click.option(
    "--jobs",
    "workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Cells built at once.  [default: the cores, 2 to 4]",
)
@click.option(
    "--push",
    "registry",
    metavar="REGISTRY",
    help="Push each image that passed its checks, as REGISTRY/IMAGE:TAG; print these refs.",
)
@click.option(
    "--stage",
    "staged",
    is_flag=True,
    help="Push under a tag that lasts, to wait for `imgbuild test --promote`, which gives the others.",
)
@click.option("--insecure", is_flag=True, help="Speak to the registry without TLS, as the engine has to, too.")
@add_documents
@click.option(
    "--locked", is_flag=True, help="Exit 5 instead of solving when a lock, or the plan, is missing or stale. For CI."
)
@click.pass_context
def build(
    context: click.Context,
    images: Sequence[str],
    python: Sequence[str],
    cuda: Sequence[str],
    ids: Sequence[str],
    sources: str | None,
    progress: str,
    workers: int | None,
    registry: str | None,
    key: Path | None,
    identity: str | None,
    trust: Path | None,
    *,
    bare: bool,
    everything: bool,
    staged: bool,
    insecure: bool,
    locked: bool,
) -> None:
    """Build, check and tag the cells that were chosen; print their refs, in the order of the matrix.

    A cell whose lock is missing or stale is said and solved first. A cell that fails stops no other; the exit code is
    that of the first failure in the order of the matrix. With --push, what another machine has published from the same
    is not built where no image of the cell is here, unless a GPU here is to check it. A lost engine (7) or an
    interruption (130) stops all.
    """
    from builder.checks.gpu_use import decide_gpu_use
    from builder.engine import Engine
    from builder.locking import cache_dir, find_stale, read_locks
    from builder.memo import Memo
    from builder.pipeline import Builder
    from builder.planning import keep_plan, lay_out, require_plan, require_plannable
    from builder.progress import choose_progress
    from builder.registry.place import find_place, split_registry
    from builder.registry.writing import Writer
    from builder.schedule import count_workers
    from builder.sources import find_sources
    from builder.summary import choose_error, summarize
    from builder.verdicts import Verdicts

    if not (everything or images or python or cuda or ids):
        raise click.UsageError("choose cells: imgbuild build --cuda 11.8 --py 3.10, an image's name, or --all")
    if not registry and (staged or key or identity or trust or insecure or bare):
        told = (
            "--stage, --sign-key, --sign-as, --trust-config, --no-documents and --insecure say how images are pushed"
        )
        raise click.UsageError(f"{told}, so they go with --push")
    target = split_registry(registry) if registry else None
    signer = read_signer(key, identity, trust, bare=bare)
    project, cells = choose_cells(context.obj, images, python, cuda, ids)
    planned = require_plan(project, cells) if locked else None
    locks = read_locks(project, cells)
    stale = find_stale(project, cells, locks)
    if stale:
        require_plannable(project, cells)
    found = find_sources(sources)
    with ExitStack() as stack:
        stack.enter_context(redacted(found))
        drawn = stack.enter_context(choose_progress(progress, found.redact, cells=len(cells)))
        engine = stack.enter_context(Engine())
        if planned is None:
            _solve(project, stale, locks, found, drawn)
            planned = keep_plan(project)
        publisher = None
        if target:
            place = find_place(target[0], found, insecure=insecure)
            writer = stack.enter_context(Writer(place, engine.credentials))
            publisher = _make_publisher(writer, target[1], engine, project, signer, bare=bare, staged=staged)
        about = engine.describe()
        began = time.monotonic()
        builder = Builder(
            project=project,
            engine=engine,
            memo=Memo(cache_dir() / "built", about["ID"]),
            verdicts=Verdicts(cache_dir() / "checked", about["ID"]),
            sources=found,
            progress=drawn,
            publisher=publisher,
            gpu=decide_gpu_use(about, local=engine.is_local, required=False),
        )
        laid_out = lay_out(project, cells, planned)
        ended = tuple(_print_refs(builder.build_cells(laid_out, workers=workers or count_workers())))
        drawn.summary(summarize(ended, time.monotonic() - began, found.redact))
        match choose_error([cell.error for cell in ended if cell.error]):
            case None:
                return
            case Cancelled():
                raise KeyboardInterrupt
            case error if len(cells) == 1:
                raise error
            case error:
                context.exit(error.exit_code)


def _make_publisher(
    writer: Writer, path: str, engine: Engine, project: Project, signer: Signer | None, *, bare: bool, staged: bool
) -> Publisher:
    from builder.attach import digest_sources
    from builder.publish import Publisher
    from builder.sbom.builders import find_revision, name_builder

    return Publisher(
        engine=engine,
        writer=writer,
        path=path,
        sources={it.name: digest_sources(project, it.name) for it in project.definitions},
        builder_id=name_builder(),
        revision=find_revision(),
        documents=not bare,
        staged=staged,
        signer=signer,
    )


def _solve(project: Project, stale: Sequence[Stale], locks: Locks, sources: Sources, progress: Progress) -> None:
    from builder.locking import solve_locks
    from builder.solve import Upgrade

    if not stale:
        return
    for item in stale:
        progress.note(f"{item.job.cell.id} {item.reason}: solving it")
    say_local_indexes(sources, progress)
    jobs = [item.job for item in stale]
    solve_locks(project, jobs, locks, sources=sources, upgrade=Upgrade(), report=progress.stage, warn=progress.note)


def _print_refs(cells: Iterable[Ended]) -> Iterator[Ended]:
    for cell in cells:
        if cell.ref:
            click.echo(cell.ref)
        yield cell
