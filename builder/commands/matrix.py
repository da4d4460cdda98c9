"""`imgbuild matrix`: which cells there are, and which not, and why; and how a CI service shares them out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from builder.commands.selection import choose_cells, choose_definitions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from builder.matrix import Cell
    from builder.project import Project


@click.command()
@click.argument("images", nargs=-1, metavar="[IMAGE]...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option(
    "--github", is_flag=True, help="Print a strategy.matrix for GitHub Actions: locked cells, shared among runners."
)
@click.option(
    "--runners",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Share among N runners at most.  [default: as few as their disks allow]",
)
@click.option("--disk", metavar="SIZE", help="What a runner has for the engine.  [default: 14 GB]")
@click.pass_obj
def matrix(
    folder: Path | None,
    images: Sequence[str],
    runners: int | None,
    disk: str | None,
    *,
    as_json: bool,
    github: bool,
) -> None:
    """List every cell, and every combination that is excluded, with its reason.

    With --github, cells that share layers share a runner. Every lock and the plan have to be up to date (exit code 5).
    """
    from builder.matrix import matrix_as_json
    from builder.tables import draw_matrix

    if github and as_json:
        raise click.UsageError("--github is JSON of another kind, so it does not go with --json")
    if not github and (runners or disk):
        raise click.UsageError("--runners and --disk say how cells are shared, so they go with --github")
    if github:
        click.echo(_share(*choose_cells(folder, images), runners, disk))
        return
    _, chosen = choose_definitions(folder, images)
    rows = matrix_as_json(chosen)
    click.echo(json.dumps(rows, indent=2) if as_json else draw_matrix(rows))


def _share(project: Project, cells: Sequence[Cell], most: int | None, disk: str | None) -> str:
    """Return the matrix of a job as one line, which is all that a step's output may be without a delimiter."""
    from builder.planning import require_plan
    from builder.runners import DISK, share_cells
    from builder.strategy import describe_strategy
    from builder.units import format_bytes

    size = _parse_size(disk) if disk else DISK
    names = {cell.id for cell in cells}
    planned = [cell for cell in require_plan(project, cells).plan.cells if cell.id in names]
    shared = share_cells(planned, most=most, disk=size)
    for runner in shared:
        if runner.disk > size:
            message = (
                f"{runner.name}: about {format_bytes(runner.disk)}, more than the {format_bytes(size)} of a runner"
            )
            click.echo(message, err=True)
    return json.dumps(describe_strategy(shared, cells))


def _parse_size(text: str) -> int:
    from builder.definition_values import BadValueError, read_size

    try:
        return read_size(text)
    except BadValueError as error:
        raise click.UsageError(f"--disk {error.message}; {error.hint}") from error
