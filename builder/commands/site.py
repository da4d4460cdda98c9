"""`imgbuild site`: a static catalogue of published images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from builder.commands.options import add_registry, open_registry, redacted

if TYPE_CHECKING:
    from builder.site.entries import Entry


@click.command()
@click.option(
    "--from",
    "source",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="What was published, as JSON; docs/site.md shows it.",
)
@click.option("--from-registry", "place", metavar="HOST/PATH", help="Ask the registry what this project published.")
@add_registry
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FOLDER",
    help="Where to: a folder that is new, empty, or an older site, which is replaced.",
)
@click.pass_obj
def site(
    folder: Path | None, source: Path | None, place: str | None, sources: str | None, output: Path, *, insecure: bool
) -> None:
    """Write a catalogue of images as HTML pages that need no server: which one runs on a machine, and how to start it.

    Prints the page to open.
    """
    from builder.site.entries import read_entries
    from builder.site.folder import write_site
    from builder.site.pages import render_site

    if source and not place:
        entries = read_entries(source)
    elif place and not source:
        entries = _read_registry(folder, place, sources, insecure=insecure)
    else:
        raise click.UsageError("give either --from FILE or --from-registry HOST/PATH")
    if not entries:
        click.echo(f"no image in {source or place}: the catalogue is empty", err=True)
    write_site(render_site(entries), output)
    click.echo(output / "index.html")


def _read_registry(folder: Path | None, place: str, name: str | None, *, insecure: bool) -> tuple[Entry, ...]:
    from builder.history import add_history
    from builder.project import load_project
    from builder.reconcile import reconcile
    from builder.site.published import make_entries
    from builder.sources import find_sources

    project, sources = load_project(folder), find_sources(name)
    with redacted(sources), open_registry(place, sources, insecure=insecure) as (registry, path):
        published = reconcile(project, project.definitions, registry, path, documents=False).published
        return make_entries(add_history(registry, published))
