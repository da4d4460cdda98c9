"""`imgbuild bake`: write what `docker buildx bake` builds, on this machine or another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from builder.commands.options import add_sources, redacted
from builder.commands.selection import add_selection, choose_cells

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.locked import LockedCell


@click.command()
@add_selection
@add_sources
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default="bake",
    show_default=True,
    metavar="FOLDER",
    help="Folder to write to.",
)
@click.option(
    "--push-to",
    "registry",
    metavar="REGISTRY",
    help="Let bake push each image below REGISTRY, to wait there for `imgbuild test --promote`.",
)
@click.option(
    "--settings",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write this machine's mirrors, proxies, CA bundle and logins to FILE, for its owner alone.",
)
@click.pass_obj
def bake(
    folder: Path | None,
    images: Sequence[str],
    python: Sequence[str],
    cuda: Sequence[str],
    ids: Sequence[str],
    sources: str | None,
    output: Path,
    registry: str | None,
    settings: Path | None,
) -> None:
    """Write the contexts of locked cells and a docker-bake.json that builds them all; print the file's name.

    Nothing of this machine is in FOLDER. Where a build needs settings, IMGBUILD_SETTINGS names the file with them.
    """
    from builder.bake import write_bake
    from builder.planning import lay_out, plan_project
    from builder.registry.place import split_registry

    if registry is not None:
        split_registry(registry)
    if settings and settings.resolve().is_relative_to(output.resolve()):
        raise click.UsageError(f"--settings {settings}: it may hold credentials, so it has no place in {output}")
    if sources and not settings:
        raise click.UsageError("--sources says what goes into the file of --settings; FOLDER holds no settings")
    project, cells = choose_cells(folder, images, python, cuda, ids)
    locked = lay_out(project, cells, plan_project(project))
    if settings:
        _write_settings(settings, sources, locked)
    click.echo(write_bake(project, locked, output, registry=registry))


def _write_settings(path: Path, name: str | None, cells: Sequence[LockedCell]) -> None:
    from builder.errors import ImgbuildError
    from builder.files import write_whole
    from builder.hostenv import render_settings
    from builder.sources import find_sources

    found = find_sources(name)
    with redacted(found):
        text = render_settings(found, *(locked.environment for locked in cells))
    try:
        write_whole(path, text, mode=0o600)
    except OSError as error:
        raise ImgbuildError(f"cannot write {path}: {error.strerror}") from error
