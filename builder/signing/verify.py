"""Verify a published image: that somebody has signed it, and the documents that are attached to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.attach import DOCUMENT, RETEST, TYPES
from builder.errors import RegistryError
from builder.registry.content import ContentError, clean, parse_descriptor, parse_descriptors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.registry.client import Registry
    from builder.registry.place import Ref
    from builder.signing.vouching import Voucher


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was verified; `fault` says what is wrong with it, empty when nothing is; `note` what is odd."""

    name: str
    fault: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """An image by its digest (`registry.example/team/pytorch@sha256:…`), and what was found."""

    ref: str
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not any(finding.fault for finding in self.findings)


def verify_image(registry: Registry, ref: Ref, voucher: Voucher) -> Verified:
    """Return what somebody vouches for of an image. Raises RegistryError when it is not there or cannot be read."""
    image = registry.find(ref.repository, ref.target)
    if image is None:
        raise RegistryError(f"{ref} is not in the registry", hint="`imgbuild status` tells what is there.")
    claims = voucher.read_claims(registry, ref.repository, image.digest)
    signed = frozenset(digest for claim in claims for digest in claim.documents)
    fault = "" if claims else f"{voucher.name} has not signed this image"
    # Whoever copies an image takes its signature along; whoever may push there may do so under another name.
    places = {clean(claim.repository) for claim in claims if claim.repository}
    moved = places and f"{ref.host}/{ref.repository}" not in places
    note = f"it was signed as {', '.join(sorted(places))}" if moved else ""
    findings = (
        Finding(name="signature", fault=fault, note=note),
        *_verify_documents(registry, ref, image.digest, signed, voucher.name),
    )
    return Verified(ref=f"{ref.host}/{ref.repository}@{image.digest}", findings=findings)


def _verify_documents(registry: Registry, ref: Ref, image: str, signed: frozenset[str], who: str) -> Iterator[Finding]:
    attached = registry.list_referrers(ref.repository, image)
    for kind in (*TYPES, RETEST):
        digests = [it.digest for it in attached if dict(it.annotations).get(DOCUMENT) == kind]
        vouched = [digest for digest in digests if digest in signed]
        loose = [digest for digest in digests if digest not in signed]
        if not digests and kind == RETEST:
            continue
        if not digests:
            yield Finding(name=kind, fault="it is not attached")
        elif not vouched and kind == RETEST:  # who does not sign may test an image, and nobody has to believe it
            yield Finding(name=kind, note=f"do not believe {', '.join(loose)}, which {who} has not signed")
        elif not vouched:
            yield Finding(name=kind, fault=f"{who} has not signed {', '.join(loose)}")
        else:
            faults = (_read_document(registry, ref.repository, image, kind, digest) for digest in vouched)
            note = f"believe {', '.join(vouched)}, not {', '.join(loose)}, which {who} has not signed" if loose else ""
            yield Finding(name=kind, fault="; ".join(filter(None, faults)), note=note)


def _read_document(registry: Registry, repository: str, image: str, kind: str, digest: str) -> str:
    """Return what is wrong with an attached document: nothing when all of it is there, and attached to the image.

    Which document it is its own manifest says, which is signed; the list of what is attached is the registry's word.
    """
    try:
        manifest = registry.read(repository, digest)
        if manifest is None:
            return f"{digest} is listed and not there"
        document = manifest.parse()
        if parse_descriptor(document.get("subject"), digest).digest != image:
            return f"{digest} is attached to another image"
        told = document.get("annotations")
        if not isinstance(told, dict) or told.get(DOCUMENT) != kind:
            return f"{digest} is listed as it and is another document"
        for blob in parse_descriptors(document.get("layers"), digest):
            registry.read_blob(repository, blob)
    except ContentError as error:
        return error.message
    return ""
