"""`imgbuild matrix`: which cells there are, and which not, and why."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from builder.commands.options import choose_cells, open_project

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@click.command()
@click.argument("images", nargs=-1, metavar="[IMAGE]...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.pass_obj
def matrix(folder: Path | None, images: Sequence[str], *, as_json: bool) -> None:
    """List every cell, and every combination that is excluded, with its reason."""
    from builder.matrix import matrix_as_json
    from builder.tables import draw_matrix

    project = open_project(folder)
    if images:
        choose_cells(project, images, (), ())
    chosen = [found for found in project.definitions if not images or found.name in images]
    rows = matrix_as_json(chosen)
    click.echo(json.dumps(rows, indent=2) if as_json else draw_matrix(rows))
