"""`imgbuild diff`: what differs between two published images."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from builder.commands.options import add_registry, open_registry, redacted
from builder.errors import RegistryError
from builder.shown import show

if TYPE_CHECKING:
    from builder.difference import Side
    from builder.registry.client import Registry

_LOCK = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("before", metavar="A")
@click.argument("now", metavar="B")
@click.option("--markdown", is_flag=True, help="Print Markdown, for a pull request.")
@click.option("--lock-a", type=_LOCK, metavar="LOCK", help="The imgbuild.lock that A was made from.")
@click.option("--lock-b", type=_LOCK, metavar="LOCK", help="The imgbuild.lock that B was made from.")
@add_registry
@click.pass_obj
def diff(
    folder: Path | None,
    before: str,
    now: str,
    lock_a: Path | None,
    lock_b: Path | None,
    sources: str | None,
    *,
    markdown: bool,
    insecure: bool,
) -> None:
    """Show what differs between two images of registries: size, layers, labels, packages. Nothing is pulled.

    A and B have a registry and a tag or digest: registry.example/team/pytorch:2.7.1-cu118-py310. Packages are known
    from a lock that the image was made from, this project's unless one is given, or from an attached bill of
    materials in CycloneDX.
    """
    from builder.difference import compare_sides
    from builder.difference_text import draw_difference
    from builder.registry.place import parse_ref
    from builder.sources import find_sources

    settings, root = find_sources(sources), folder or Path()
    refs = [parse_ref(before), parse_ref(now)]
    with redacted(settings), ExitStack() as stack:
        hosts = dict.fromkeys(ref.host for ref in refs)
        opened = {it: stack.enter_context(open_registry(it, settings, insecure=insecure))[0] for it in hosts}
        sides = [
            _read_side(opened[ref.host], text, ref.repository, ref.target, lock, root)
            for text, ref, lock in zip((before, now), refs, (lock_a, lock_b), strict=True)
        ]
    click.echo(show(draw_difference(compare_sides(*sides), markdown=markdown)), nl=False)


def _read_side(registry: Registry, text: str, repository: str, target: str, lock: Path | None, root: Path) -> Side:
    from builder.contents import read_contents
    from builder.difference import Side
    from builder.registry.image import read_image

    image = read_image(registry, repository, target)
    if image is None:
        raise RegistryError(f"{text} is not in the registry", hint="`imgbuild status` tells what is there.")
    return Side(ref=text, image=image, contents=read_contents(registry, repository, image, lock=lock, root=root))
