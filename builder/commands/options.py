"""What several commands share: how cells and sources are chosen, and what a failure may not say."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from builder.errors import ImgbuildError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from builder.matrix import Cell
    from builder.progress import Progress
    from builder.project import Project
    from builder.sources import Sources

_PROGRESS = ("auto", "rich", "plain", "github", "quiet")


def add_selection(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the arguments that choose cells."""
    for option in (
        click.argument("images", nargs=-1, metavar="[IMAGE]..."),
        click.option("--py", "python", multiple=True, metavar="X.Y", help="Only this Python; repeat for more."),
        click.option("--cuda", multiple=True, metavar="X.Y|cpu", help="Only this CUDA; repeat for more."),
    ):
        command = option(command)
    return command


def add_network(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of those that reach the network."""
    return add_progress(add_sources(command))


def add_sources(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option that names the sources."""
    help_text = "Where this machine gets things from: host, tuna, ustc, bfsu, aliyun, kit, or a file."
    return click.option("--sources", metavar="NAME|FILE", help=help_text)(command)


def add_progress(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option of those that take a while."""
    help_text = "How to draw what goes on."
    return click.option("--progress", type=click.Choice(_PROGRESS), default="auto", help=help_text)(command)


def open_project(folder: Path | None) -> Project:
    """Return the project in a folder, or around here."""
    from builder.project import load_project

    return load_project(folder)


def choose_cells(
    project: Project, images: Sequence[str], python: Sequence[str], cuda: Sequence[str]
) -> tuple[Cell, ...]:
    """Return the cells that were chosen."""
    from builder.matrix import select_cells

    return select_cells(project.definitions, image=images, python=python, cuda=cuda)


@contextmanager
def redacted(sources: Sources) -> Iterator[None]:
    """Keep credentials and mirrors out of what a failure says, whoever wrote it."""
    try:
        yield
    except ImgbuildError as error:
        error.message, error.hint = sources.redact(error.message), error.hint and sources.redact(error.hint)
        raise


def say_local_indexes(sources: Sources, progress: Progress) -> None:
    """Say which of this machine's indexes the build cannot use."""
    if sources.pip.local:
        progress.note(f"not used, a build cannot reach this machine's disk: {', '.join(sources.pip.local)}")
