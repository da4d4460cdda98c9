"""`imgbuild status`: what a registry has of the matrix."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from builder.commands.options import add_registry, open_registry, redacted, write_output
from builder.commands.selection import choose_definitions
from builder.errors import DriftError
from builder.shown import show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.status import Status


@click.command()
@click.argument("images", nargs=-1, metavar="[IMAGE]...")
@click.option("--registry", "place", required=True, metavar="HOST/PATH", help="Where the images were pushed to.")
@click.option(
    "--bases", "with_bases", is_flag=True, help="Also ask where bases without a digest come from whether they moved."
)
@click.option(
    "--orphans", is_flag=True, help="Also look for images whose definition is gone; the path is this project's alone."
)
@click.option("--no-documents", "bare", is_flag=True, help="Images are published without documents: ask for none.")
@add_registry
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option(
    "--entries",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write what `imgbuild site --from FILE` reads.",
)
@click.pass_obj
def status(
    folder: Path | None,
    images: Sequence[str],
    place: str,
    sources: str | None,
    entries: Path | None,
    *,
    with_bases: bool,
    orphans: bool,
    bare: bool,
    insecure: bool,
    as_json: bool,
) -> None:
    """Compare a registry with the matrix and its locks, by the labels of its images; nothing is pulled.

    A cell's image is up to date, missing, stale (lock, checks or base have moved since), wrong (its labels are not
    those of its tag), incomplete (it lacks documents), unlocked (there is no lock to compare it with) or unknown
    (--bases could not ask about its base). A tag that no cell has is orphaned, an alias, immutable, staged or foreign.
    Exit code 12 when anything is missing, stale, wrong, incomplete, unlocked, unknown or orphaned.
    """
    from builder.bases import read_bases
    from builder.history import add_history
    from builder.reconcile import reconcile
    from builder.sources import find_sources
    from builder.status import describe_status
    from builder.status_table import draw_status

    project, chosen = choose_definitions(folder, images)
    settings = find_sources(sources)
    with redacted(settings), open_registry(place, settings, insecure=insecure) as (registry, path):
        asked = [project.base(definition.name) for definition in chosen] if with_bases else []
        bases = read_bases(asked, settings, insecure=[registry.host] if insecure else [])
        found = reconcile(project, chosen, registry, path, bases=bases, documents=not bare, orphans=orphans)
        published = add_history(registry, found.published) if entries else ()
    click.echo(json.dumps(describe_status(found.status), indent=1) if as_json else show(draw_status(found.status)))
    if entries:
        from builder.site.published import dump_entries

        write_output(dump_entries(published), entries)
    _require_order(found.status)


def _require_order(status: Status) -> None:
    """Raise DriftError unless everything is as it should be."""
    if not (faults := status.faults):
        return
    hints = {
        "unlocked": "run `imgbuild lock`",
        "missing": f"publish with `imgbuild build --all --locked --push {status.registry}`",
        "incomplete": f"attach what is missing with `imgbuild build --all --locked --push {status.registry}`, "
        "or give --no-documents",
        "unknown": "let this machine reach and read where the bases come from, or leave --bases out",
        "orphaned": "remove orphaned tags in the registry when nobody uses them",
    }
    alike = {"stale": "missing", "wrong": "missing"}
    told = dict.fromkeys(hints[alike.get(state, state)] for state in faults)
    text = ", ".join(f"{count} {state}" for state, count in faults.items())
    raise DriftError(f"{status.registry}: {text}", hint="; ".join(told) + ".")
