"""`imgbuild site`: a static catalogue of published images."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option(
    "--from",
    "source",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    metavar="FILE",
    help="What was published, as JSON; docs/site.md shows it.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FOLDER",
    help="Where to: a folder that is new, empty, or an older site, which is replaced.",
)
def site(source: Path, output: Path) -> None:
    """Write a catalogue of images as HTML pages that need no server: which one runs on a machine, and how to start it.

    Prints the page to open.
    """
    from builder.site.entries import read_entries
    from builder.site.folder import write_site
    from builder.site.pages import render_site

    write_site(render_site(read_entries(source)), output)
    click.echo(output / "index.html")
