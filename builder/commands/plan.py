"""`imgbuild plan`: how the whole matrix is cut into layers, and what that costs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from builder.shown import show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.plan import Plan


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option(
    "--max-layers",
    type=click.IntRange(1, 100),
    metavar="N",
    help="Install layers that an image may have; 2 where one has no Python and 1 is too few.",
)
@click.option(
    "--from",
    "locks",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    metavar="LOCK",
    help="Plan the environments of a pixi.lock, conda-lock.yml or imgbuild.lock instead; repeat for more.",
)
@click.option("--fresh", is_flag=True, help="Do not look at images/imgbuild.plan, nor at its --max-layers.")
@click.option("--write", is_flag=True, help="Make it the plan of this project: write images/imgbuild.plan.")
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Draw which bytes are whose, as .svg or .html.",
)
@click.pass_obj
def plan(
    folder: Path | None,
    max_layers: int | None,
    locks: Sequence[Path],
    picture: Path | None,
    *,
    as_json: bool,
    fresh: bool,
    write: bool,
) -> None:
    """Show which layers all images have, which of them they share, and how many bytes that takes.

    A package that has changed goes into a small layer on top of what images/imgbuild.plan says was published.
    """
    from builder.plan import compare_plans
    from builder.plan_file import describe_plan
    from builder.plan_table import draw_plan
    from builder.planning import keep_plan, plan_environments, plan_project
    from builder.project import load_project

    if picture and picture.suffix not in {".svg", ".html"}:
        raise click.UsageError(f"--picture {picture}: the name has to end in .svg or .html")
    previous = None
    if locks:
        if write or fresh:
            raise click.UsageError("--from plans another tool's lock, so it does not go with --write and --fresh")
        from builder.foreign import read_foreign_lock

        found = plan_environments({path: read_foreign_lock(path) for path in locks}, budget=max_layers)
    else:
        make = keep_plan if write else plan_project
        planned = make(load_project(folder), budget=max_layers, fresh=fresh)
        found, previous = planned.plan, planned.previous
    if picture:
        _draw(found, picture)
    if not as_json:
        click.echo(show(draw_plan(found, previous)))
        return
    told = describe_plan(found)
    if previous is not None:
        told["change"] = asdict(compare_plans(found, previous))
    click.echo(json.dumps(told, indent=1))


def _draw(plan: Plan, path: Path) -> None:
    from builder.errors import ImgbuildError
    from builder.files import write_whole
    from builder.plan_page import draw_page
    from builder.plan_picture import draw_picture, picture_plan

    draw = draw_page if path.suffix == ".html" else draw_picture
    try:
        write_whole(path, draw(picture_plan(plan)))
    except OSError as error:
        raise ImgbuildError(f"{path} cannot be written: {error.strerror}") from error
