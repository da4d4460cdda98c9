"""Which project a command works on, and which of its images and cells were chosen.

Where they are named, a definition that none of them needs may be malformed: a line on stderr says what is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from builder.errors import CellError, DefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from builder.definition import Definition
    from builder.errors import ImgbuildError
    from builder.inputs import Job
    from builder.matrix import Cell
    from builder.project import Project, Unread


def add_selection(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the arguments that choose cells."""
    for option in (
        click.argument("images", nargs=-1, metavar="[IMAGE]..."),
        click.option("--py", "python", multiple=True, metavar="X.Y", help="Only this Python; repeat for more."),
        click.option("--cuda", multiple=True, metavar="X.Y|cpu", help="Only this CUDA; repeat for more."),
        click.option("--cell", "ids", multiple=True, metavar="ID", help="This cell of the matrix; repeat for more."),
    ):
        command = option(command)
    return command


def choose_cells(
    folder: Path | None,
    images: Sequence[str] = (),
    python: Sequence[str] = (),
    cuda: Sequence[str] = (),
    ids: Sequence[str] = (),
) -> tuple[Project, tuple[Cell, ...]]:
    """Return the project in a folder, or around here, and its cells that were chosen, in the order of the matrix.

    Raises DefinitionError for a definition that is malformed and needed: that of an image that is named, any where an
    id is of no other, and any where neither images nor ids are. Raises CellError, and UsageError.
    """
    from builder.matrix import find_cells, select_cells

    if not ids:
        project = _open_project(folder, images)
        cells = select_cells(project.definitions, image=images, python=python, cuda=cuda)
    elif images or python or cuda:
        raise click.UsageError("--cell says all about a cell, so it does not go with IMAGE, --py and --cuda")
    else:
        project = _read_project(folder)
        try:
            cells = find_cells(project.definitions, ids)
        except CellError as error:
            raise _explain_missing(project, ids, error) from error
    _say_left_out(project)
    return project, cells


def choose_definitions(folder: Path | None, images: Sequence[str]) -> tuple[Project, tuple[Definition, ...]]:
    """Return the project in a folder, or around here, and the definitions of the images that are named, else all.

    Raises DefinitionError as `choose_cells` does, and CellError for an image that there is not, or has no cells.
    """
    from builder.matrix import select_cells

    project = _open_project(folder, images)
    if images:
        select_cells(project.definitions, image=images)
    _say_left_out(project)
    return project, tuple(it for it in project.definitions if not images or it.name in images)


def find_job(folder: Path | None, ref: str) -> tuple[Project, Job]:
    """Return the project in a folder, or around here, and its cell of an id or image ref, with or without a registry.

    Raises CellError where there is none, and DefinitionError where that may be for a definition that is malformed.
    """
    from builder.locking import make_job
    from builder.matrix import expand_cells
    from builder.pipeline import image_ref

    project = _read_project(folder)
    cells = [cell for definition in project.definitions for cell in expand_cells(definition)[0]]
    for job in (make_job(project, cell) for cell in cells):
        if ref in {job.cell.id, image_ref(job)} or ref.endswith(f"/{image_ref(job)}"):
            _say_left_out(project)
            return project, job
    message = f"no cell of this project is called {ref}, or makes an image of that name"
    raise _explain_missing(project, [ref], CellError(message, hint="imgbuild matrix"))


def _open_project(folder: Path | None, images: Sequence[str]) -> Project:
    """Return a project of which the named images, else all, could be read. Raises DefinitionError."""
    from builder.project import load_project

    if not images:
        return load_project(folder)
    project = _read_project(folder)
    named = tuple(unread for unread in project.unread if unread.image in images)
    for unread in named or (() if project.definitions else project.unread):
        raise unread.error
    return project


def _read_project(folder: Path | None) -> Project:
    from builder.project import read_project

    return read_project(folder)


def _explain_missing(project: Project, texts: Sequence[str], error: CellError) -> ImgbuildError:
    """Return why no cell goes by some texts: where a definition is unread, it may be one of that.

    Of several that are unread, it is the one whose name is in the texts.
    """
    if not project.unread:
        return error
    likely = max(project.unread, key=lambda it: len(it.image) * any(it.image in text for text in texts)).error
    message = f"{likely.message}; without it, {error.message}"
    return DefinitionError(message, hint=likely.hint, path=likely.path, line=likely.line)


def _say_left_out(project: Project) -> None:
    """Say in a line for each fault which images cannot be read for it."""
    faults: dict[str, list[Unread]] = {}
    for unread in project.unread:
        faults.setdefault(str(unread.error).partition("\n")[0], []).append(unread)
    for fault, group in faults.items():
        click.echo(f"left out: {_name_images(group)}: {fault}", err=True)


def _name_images(group: Sequence[Unread]) -> str:
    """Return the image whose own definition is malformed, and those that extend it."""
    own = [it.image for it in group if it.path == it.error.path]
    heirs = [it.image for it in group if it.path != it.error.path]
    if own and heirs:
        return f"{', '.join(own)}, and {', '.join(heirs)} that {'extends' if len(heirs) == 1 else 'extend'} it"
    return ", ".join(own or heirs)
