"""`imgbuild verify`: the signature of a published image, and what is attached to it."""

from __future__ import annotations

from pathlib import Path

import click

from builder.commands.options import add_registry, open_registry, redacted
from builder.errors import VerifyError

_KEY = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("name", metavar="REF")
@click.option("--key", "path", type=_KEY, required=True, help="The public key, in PEM.")
@add_registry
def verify(name: str, path: Path, sources: str | None, *, insecure: bool) -> None:
    """Verify that a key has signed an image in a registry and the documents that are attached to it.

    REF has a registry and a tag or digest: registry.example/team/pytorch:2.7.1-cu118-py310. Prints it with the digest
    that was verified, which is safe to pull. Exit code 14 when something is not signed, missing, or not whole.
    """
    from builder.registry.place import parse_ref
    from builder.signing.keys import read_public_key
    from builder.signing.verify import verify_image
    from builder.sources import find_sources

    ref, key, found = parse_ref(name), read_public_key(path), find_sources(sources)
    with redacted(found), open_registry(ref.host, found, insecure=insecure) as (registry, _):
        verified = verify_image(registry, ref, key)
    for finding in verified.findings:
        said = "; ".join(filter(None, (finding.fault, finding.note)))
        mark = "✗" if finding.fault else "!" if finding.note else "✓"
        click.echo(f"  {mark} {finding.name}  {said}".rstrip(), err=True)
    if not verified.passed:
        names = ", ".join(finding.name for finding in verified.findings if finding.fault)
        hint = "is it the right key? `imgbuild build --push … --sign-key` signs what is not signed."
        raise VerifyError(f"{verified.ref} is not verified: {names}", hint=hint)
    click.echo(verified.ref)
