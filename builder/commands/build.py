"""`imgbuild build`: cells of the matrix → images that passed their checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from builder.commands.options import (
    add_network,
    add_selection,
    choose_cells,
    open_project,
    redacted,
    say_local_indexes,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from builder.pipeline import Image


@click.command()
@add_selection
@add_network
@click.option("--all", "everything", is_flag=True, help="Every cell of every image.")
@click.option("--locked", is_flag=True, help="Exit 5 instead of solving when a lock is missing or stale. For CI.")
@click.pass_obj
def build(
    folder: Path | None,
    images: Sequence[str],
    python: Sequence[str],
    cuda: Sequence[str],
    sources: str | None,
    progress: str,
    *,
    everything: bool,
    locked: bool,
) -> None:
    """Build, check and tag the cells that were chosen; print their refs.

    A cell whose lock is missing or stale is said and solved first.
    """
    from builder.engine import Engine
    from builder.locking import find_environments, find_stale, make_job, read_locks, solve_locks
    from builder.pipeline import build_cell
    from builder.progress import choose_progress
    from builder.sources import find_sources

    if not (everything or images or python or cuda):
        raise click.UsageError("choose cells: imgbuild build --cuda 11.8 --py 3.10, an image's name, or --all")
    project = open_project(folder)
    cells = choose_cells(project, images, python, cuda)
    locks = read_locks(project, cells)
    stale = find_stale(project, cells, locks)
    if locked:
        find_environments(project, cells, locks)
    found = find_sources(sources)
    with redacted(found), choose_progress(progress, found.redact) as drawn, Engine() as engine:
        if stale:
            from builder.solve import Upgrade

            for item in stale:
                drawn.note(f"{item.job.cell.id} {item.reason}: solving it")
            say_local_indexes(found, drawn)
            jobs = [item.job for item in stale]
            solve_locks(project, jobs, locks, sources=found, upgrade=Upgrade(), report=drawn.stage, warn=drawn.note)
            locks = read_locks(project, cells)
        environments = find_environments(project, cells, locks)
        for cell, environment in zip(cells, environments, strict=True):
            job = make_job(project, cell)
            image = build_cell(project, job, environment, engine=engine, sources=found, progress=drawn)
            drawn.done(_summarize(image))
            click.echo(image.ref)


def _summarize(image: Image) -> str:
    if not image.fresh:
        return f"{image.ref} is up to date"
    passed = sum(verdict.verdict == "pass" for verdict in image.verdicts)
    skipped = [f"{verdict.check} ({verdict.detail})" for verdict in image.verdicts if verdict.verdict == "skip"]
    return f"{image.ref}: {passed} checks passed" + (f", skipped: {', '.join(skipped)}" if skipped else "")
