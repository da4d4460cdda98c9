"""`imgbuild render`: write what a build would send to the engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from builder.commands.selection import add_selection, choose_cells

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command()
@add_selection
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write to.")
@click.pass_obj
def render(
    folder: Path | None,
    images: Sequence[str],
    python: Sequence[str],
    cuda: Sequence[str],
    ids: Sequence[str],
    out: Path,
) -> None:
    """Write the Dockerfile and context of each locked cell to OUT/CELL; `docker build` takes them as they are."""
    from builder.context import write_context
    from builder.pipeline import render_cell
    from builder.planning import lay_out, plan_project

    project, cells = choose_cells(folder, images, python, cuda, ids)
    for locked in lay_out(project, cells, plan_project(project)):
        write_context(render_cell(project, locked), out / locked.id)
        click.echo(out / locked.id)
