"""Sigstore's bundles in a registry, attached to their image as cosign attaches them.

Source: github.com/sigstore/cosign, specs/BUNDLE_SPEC.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.registry.content import ContentError, parse_descriptors
from builder.registry.writing import EMPTY_TYPE, Artifact
from builder.signing.statement import PREDICATE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.registry.client import Registry
    from builder.registry.content import Descriptor
    from builder.registry.writing import Writer

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
"""The type of a bundle, and of what it is attached as."""

LIMIT = 64 * 1024
"""Bytes of the largest bundle that is read; ours have 5,000. For some the library takes 1,000 times the memory."""

_ANNOTATIONS = (("dev.sigstore.bundle.content", "dsse-envelope"), ("dev.sigstore.bundle.predicateType", PREDICATE))


def attach_bundle(writer: Writer, repository: str, image: Descriptor, data: bytes) -> None:
    """Attach a bundle with a statement to an image; those of others stay. Raises RegistryError."""
    artifact = Artifact(artifact_type=BUNDLE, media_type=BUNDLE, blobs=(data,), annotations=_ANNOTATIONS)
    writer.attach(repository, image, artifact)


def list_bundles(registry: Registry, repository: str, image: str) -> Iterator[bytes]:
    """Yield the bundles that are attached to an image; one that is damaged, too large, or not alone is passed over.

    Raises RegistryError when the registry cannot be asked.
    """
    for listed in registry.list_referrers(repository, image):
        # Without the referrers API, cosign 3.1 lists the type of the empty configuration instead.
        if listed.artifact_type not in (BUNDLE, EMPTY_TYPE):
            continue
        try:
            manifest = registry.read(repository, listed.digest)
            blobs = parse_descriptors(manifest.parse().get("layers"), listed.digest) if manifest else ()
            if len(blobs) == 1 and blobs[0].media_type == BUNDLE and blobs[0].size <= LIMIT:
                yield registry.read_blob(repository, blobs[0])
        except ContentError:
            continue
