"""`imgbuild load`: images from a file into the engine."""

from __future__ import annotations

from pathlib import Path

import click

from builder.commands.options import add_progress, end_on_signals


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE.tar")
@add_progress
def load(file: Path, progress: str) -> None:
    """Bring the images of a bundle into the engine of this machine; print their refs.

    No network is used, and no project. Every blob is compared with its digest before the engine gets any of them; exit
    code 13 when one is damaged or missing, or the file is no bundle.
    """
    from builder.bundle.packing import load_images
    from builder.engine import Engine
    from builder.progress import choose_progress

    with end_on_signals(), choose_progress(progress, str) as drawn, Engine() as engine:
        refs = load_images(file, engine=engine, progress=drawn)
    for ref in refs:
        click.echo(ref)
