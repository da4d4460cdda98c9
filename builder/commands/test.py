"""`imgbuild test`: the checks of images that were built before, on a GPU where there is one."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from builder.commands.options import add_documents, add_progress, add_registry, open_writer, read_signer, redacted
from builder.commands.selection import add_selection, choose_cells
from builder.errors import Cancelled, CheckError
from builder.shown import show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from builder.matrix import Cell
    from builder.project import Project
    from builder.prove import Proof
    from builder.signing.vouching import Signer
    from builder.sources import Sources
    from builder.staged import Staging

_MARKS = {"pass": "✓", "fail": "✗", "skip": "\N{EN DASH}"}


@click.command()
@add_selection
@add_progress
@click.option("--all", "everything", is_flag=True, help="Every cell of every image.")
@click.option("--jobs", "workers", type=click.IntRange(min=1), default=1, show_default=True, help="Images at once.")
@click.option("--require-gpu", is_flag=True, help="Fail where a cell of a CUDA has no GPU.")
@click.option(
    "--registry",
    "place",
    metavar="HOST/PATH",
    help="Test what was pushed there from the locks, first of all what waits there for it.",
)
@click.option("--promote", is_flag=True, help="Give each image of the registry that passed its other tags.")
@add_documents
@add_registry
@click.option("--json", "as_json", is_flag=True, help="Print the verdicts as JSON.")
@click.pass_context
def test(
    context: click.Context,
    images: Sequence[str],
    python: Sequence[str],
    cuda: Sequence[str],
    ids: Sequence[str],
    progress: str,
    workers: int,
    place: str | None,
    sources: str | None,
    key: Path | None,
    identity: str | None,
    trust: Path | None,
    *,
    bare: bool,
    everything: bool,
    require_gpu: bool,
    promote: bool,
    insecure: bool,
    as_json: bool,
) -> None:
    """Start the images of the cells that were chosen, with every GPU of the machine, and print what each check found.

    A check passes, fails, or is skipped with its reason. Without a GPU the checks that need one are skipped by name;
    with one that torch cannot use they fail. Exit code 9 when a check failed or an image is missing.

    With --registry, the images are those that `imgbuild build --push` left there; they are pulled by their digests.
    """
    from builder.checks.gpu_use import decide_gpu_use
    from builder.engine import Engine
    from builder.locking import find_environments, make_job, read_locks
    from builder.progress import choose_progress
    from builder.prove import Prover
    from builder.sources import find_sources

    if not (everything or images or python or cuda or ids):
        raise click.UsageError("choose cells: imgbuild test --cuda 11.8 --py 3.10, an image's name, or --all")
    if not place and (promote or insecure or sources):
        raise click.UsageError("--promote, --insecure and --sources are about a registry, so they go with --registry")
    if (key or identity or trust or bare) and not promote:
        which = "--sign-key, --sign-as, --trust-config and --no-documents are about what gets its tags"
        raise click.UsageError(f"{which}, so they go with --promote")
    signer = read_signer(key, identity, trust, bare=bare)
    project, cells = choose_cells(context.obj, images, python, cuda, ids)
    environments = find_environments(project, cells, read_locks(project, cells))
    locked = [(make_job(project, cell), found) for cell, found in zip(cells, environments, strict=True)]
    found = find_sources(sources)
    with (
        redacted(found),
        _open_staging(project, cells, place, found, signer, bare=bare, insecure=insecure) as staging,
        choose_progress(progress, found.redact, cells=len(cells)) as drawn,
        Engine() as engine,
    ):
        prover = Prover(
            engine=engine,
            gpu=decide_gpu_use(engine.describe(), local=engine.is_local, required=require_gpu),
            progress=drawn,
            staging=staging,
            promote=promote,
        )
        proofs = tuple(prover.prove_cells(locked, workers=workers))
    with redacted(found):
        told = [_to_json(proof, found.redact) for proof in proofs]
        click.echo(json.dumps(told, indent=2) if as_json else show("\n".join(_draw(proofs, found.redact))))
        _raise_first(proofs)


@contextmanager
def _open_staging(
    project: Project,
    cells: Sequence[Cell],
    place: str | None,
    sources: Sources,
    signer: Signer | None,
    *,
    bare: bool,
    insecure: bool,
) -> Iterator[Staging | None]:
    from builder.pipeline import render_cell
    from builder.planning import lay_out, require_plan
    from builder.staged import Staging

    if place is None:
        yield None
        return
    contexts = {it.id: render_cell(project, it) for it in lay_out(project, cells, require_plan(project, cells))}
    with open_writer(place, sources, insecure=insecure) as writer:
        yield Staging(registry=writer, place=place, contexts=contexts, documents=not bare, signer=signer)


def _draw(proofs: Sequence[Proof], redact: Callable[[str], str]) -> Iterator[str]:
    for proof in proofs:
        yield f"{proof.cell}  {proof.ref}  {proof.seconds:.1f} s"
        width = max((len(verdict.check) for verdict in proof.verdicts), default=0)
        for verdict in proof.verdicts:
            detail = redact(verdict.detail).strip().replace("\n", "\n" + " " * (width + 6))
            yield f"  {_MARKS[verdict.verdict]} {verdict.check:{width}}  {detail}"
        if proof.error:
            yield f"  ✗ {redact(str(proof.error))}"
        for ref in proof.promoted:
            yield f"  → {ref}"
    found = [verdict.verdict for proof in proofs for verdict in proof.verdicts]
    yield f"{found.count('pass')} passed, {found.count('fail')} failed, {found.count('skip')} skipped"


def _to_json(proof: Proof, redact: Callable[[str], str]) -> dict[str, object]:
    return {
        "cell": proof.cell,
        "ref": proof.ref,
        "passed": proof.passed,
        "promoted": list(proof.promoted),
        "seconds": round(proof.seconds, 3),
        "error": redact(str(proof.error)) if proof.error else None,
        "checks": [
            {"check": verdict.check, "verdict": verdict.verdict, "detail": redact(verdict.detail)}
            for verdict in proof.verdicts
        ],
    }


def _raise_first(proofs: Sequence[Proof]) -> None:
    """Raise the error that kept checks from being run, or a CheckError that counts the images that failed."""
    from builder.summary import choose_error

    match choose_error([proof.error for proof in proofs if proof.error]):
        case None:
            pass
        case Cancelled():
            raise KeyboardInterrupt
        case error:
            raise error
    if failed := [proof.cell for proof in proofs if not proof.passed]:
        raise CheckError(f"{len(failed)} of {len(proofs)} images failed their checks: {', '.join(failed)}")
