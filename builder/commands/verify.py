"""`imgbuild verify`: the signature of a published image, and what is attached to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from builder.commands.options import add_registry, add_trust, open_registry, redacted, refuse_empty
from builder.errors import VerifyError
from builder.shown import show

if TYPE_CHECKING:
    from builder.signing.vouching import Voucher

_KEY = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("name", metavar="REF")
@click.option("--key", "path", type=_KEY, help="The public key of who signed it, in PEM.")
@click.option(
    "--certificate-identity",
    "identity",
    metavar="IDENTITY",
    callback=refuse_empty,
    help="Who signed it, through Sigstore.",
)
@click.option(
    "--certificate-oidc-issuer",
    "issuer",
    metavar="URL",
    callback=refuse_empty,
    help="Who vouches for that identity.",
)
@add_trust
@add_registry
def verify(
    name: str,
    path: Path | None,
    identity: str | None,
    issuer: str | None,
    trust: Path | None,
    sources: str | None,
    *,
    insecure: bool,
) -> None:
    """Verify that a key, or an identity, has signed an image in a registry and the documents that are attached to it.

    REF has a registry and a tag or digest: registry.example/team/pytorch:2.7.1-cu118-py310. Prints it with the digest
    that was verified, which is safe to pull. Exit code 14 when something is not signed, missing, or not whole.
    """
    from builder.registry.place import parse_ref
    from builder.signing.verify import verify_image
    from builder.sources import find_sources

    ref, voucher, found = parse_ref(name), _read_voucher(path, identity, issuer, trust), find_sources(sources)
    with redacted(found), open_registry(ref.host, found, insecure=insecure) as (registry, _):
        verified = verify_image(registry, ref, voucher)
    for finding in verified.findings:
        said = "; ".join(filter(None, (finding.fault, finding.note)))
        mark = "✗" if finding.fault else "!" if finding.note else "✓"
        click.echo(show(f"  {mark} {finding.name}  {said}".rstrip()), err=True)
    if not verified.passed:
        names = ", ".join(finding.name for finding in verified.findings if finding.fault)
        hint = f"is {voucher.name} the right one? `imgbuild build --push` with --sign-key or --sign-as signs it."
        raise VerifyError(f"{verified.ref} is not verified: {names}", hint=hint)
    click.echo(verified.ref)


def _read_voucher(path: Path | None, identity: str | None, issuer: str | None, trust: Path | None) -> Voucher:
    from builder.signing.identity import read_identity
    from builder.signing.keys import read_public_key

    match path, identity, issuer, trust:
        case Path(), None, None, None:
            return read_public_key(path)
        case None, str(), str(), _:
            return read_identity(identity, issuer, trust)
    told = "who should have signed it? --key, or --certificate-identity with --certificate-oidc-issuer"
    raise click.UsageError(f"{told}, and with --trust-config where that is not of the public Sigstore")
