"""The command line: parse, call the pipeline, print. stdout carries only refs or JSON; all else goes to stderr."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from builder import __version__
from builder.errors import CellError, ImgbuildError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from builder.matrix import Cell
    from builder.project import Project

INTERRUPTED = 130
"""Exit code after Ctrl-C, as a shell reports a process that SIGINT ended."""

_EPILOG = """\b
Exit codes: 0 done · 1 failure · 2 usage · 3 definition or sources · 4 no such cell · 5 lock missing or stale ·
6 no solution · 7 engine · 8 build step failed · 9 image failed its checks · 130 interrupted
"""

_PROGRESS = ("auto", "rich", "plain", "github", "quiet")


@click.group(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="imgbuild")
@click.option("--project", type=click.Path(file_okay=False, path_type=Path), help="Folder that holds images/.")
@click.pass_context
def cli(context: click.Context, project: Path | None) -> None:
    """GPU deep-learning images from one short YAML each: locked, layered, built with BuildKit, proven."""
    context.obj = project


def _selection(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.argument("images", nargs=-1, metavar="[IMAGE]..."),
        click.option("--py", "python", multiple=True, metavar="X.Y", help="Only this Python; repeat for more."),
        click.option("--cuda", multiple=True, metavar="X.Y|cpu", help="Only this CUDA; repeat for more."),
    ):
        command = option(command)
    return command


def _network(command: Callable[..., None]) -> Callable[..., None]:
    help_text = "Where this machine gets things from: host, tuna, ustc, bfsu, aliyun, kit, or a file."
    command = click.option("--sources", metavar="NAME|FILE", help=help_text)(command)
    help_text = "How to draw what goes on."
    return click.option("--progress", type=click.Choice(_PROGRESS), default="auto", help=help_text)(command)


@cli.command()
@_selection
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_obj
def matrix(folder: Path | None, images: Sequence[str], python: Sequence[str], cuda: Sequence[str], *, as_json: bool) -> None:
    """List every cell, and every combination that is excluded, with its reason."""
    from builder.matrix import matrix_as_json

    project = _load(folder)
    if images or python or cuda:
        _select(project, images, python, cuda)
    rows = matrix_as_json(project.definitions)
    rows = {key: [row for row in found if _matches(row, images, python, cuda)] for key, found in rows.items()}
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    from builder.tables import draw_matrix

    click.echo(draw_matrix(rows))


@cli.command()
@_selection
@_network
@click.option("--check", is_flag=True, help="Only say whether the locks are up to date (exit 5 if not); for CI.")
@click.option("--upgrade", "upgrade_all", is_flag=True, help="Take the newest of everything, or of PACKAGE.")
@click.option("--package", "packages", multiple=True, metavar="PACKAGE", help="With --upgrade: only these.")
@click.pass_obj
def lock(
    folder: Path | None,
    images: Sequence[str],
    python: Sequence[str],
    cuda: Sequence[str],
    sources: str | None,
    progress: str,
    packages: Sequence[str],
    *,
    check: bool,
    upgrade_all: bool,
) -> None:
    """Solve the packages of every cell and write imgbuild.lock beside each definition."""
