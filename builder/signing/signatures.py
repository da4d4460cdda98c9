"""Signatures in a registry: attached to their image, and under the tag where cosign looks for them.

Source: github.com/sigstore/cosign, specs/SIGNATURE_SPEC.md, "Storage".
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from builder.registry.client import MANIFEST_LIMIT
from builder.registry.content import ContentError, parse_descriptors
from builder.registry.writing import Artifact, make_manifest
from builder.signing.payload import Claim, dump_claim, parse_claim

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from builder.registry.client import Registry
    from builder.registry.content import Descriptor
    from builder.registry.writing import Writer
    from builder.signing.keys import PublicKey, SigningKey

SIGNATURE = "application/vnd.dev.cosign.artifact.sig.v1+json"
"""The type of a signature that is attached (cosign, internal/pkg/oci/remote)."""

_PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
_ANNOTATION = "dev.cosignproject.cosign/signature"


def name_tag(image: str) -> str:
    """Return the tag under which an image's signatures are, by its digest."""
    return f"{image.replace(':', '-', 1)}.sig"


def attach_signature(writer: Writer, repository: str, image: Descriptor, claim: Claim, key: SigningKey) -> None:
    """Sign an image and its documents; signatures of others stay. Raises RegistryError.

    It is attached first and gets the tag last: where the tag has it, it is whole.
    """
    data = dump_claim(claim)
    told = ((_ANNOTATION, base64.b64encode(key.sign(data)).decode()),)
    artifact = Artifact(artifact_type=SIGNATURE, media_type=_PAYLOAD, blobs=(data,), blob_annotations=told)
    made = writer.attach(repository, image, artifact)
    known = writer.read(repository, name_tag(image.digest))
    if known is None:
        writer.copy_tag(repository, made.digest, name_tag(image.digest))
        return
    document = known.parse()
    _, own = make_manifest(image, artifact)
    parse_descriptors(document.get("layers"), known.digest)
    document["layers"] = [*(document.get("layers") or []), *json.loads(own)["layers"]]
    merged = json.dumps(document, separators=(",", ":")).encode()
    writer.put_manifest(repository, name_tag(image.digest), merged, known.media_type)


def list_targets(registry: Registry, repository: str, image: str) -> list[str]:
    """Return where signatures of an image may be: their tag, and what is attached."""
    attached = registry.list_referrers(repository, image)
    return [name_tag(image), *(it.digest for it in attached if it.artifact_type == SIGNATURE)]


def read_claims(
    registry: Registry, repository: str, targets: Iterable[str], image: str, key: PublicKey
) -> tuple[Claim, ...]:
    """Return what the owner of a key has signed of an image, out of the manifests that the targets name.

    What is no signature, another's, of another image, or not whole, is passed over: whoever may push there could
    keep the owner's from being read. Raises RegistryError when the registry cannot be asked.
    """
    found: dict[str, Claim] = {}
    payloads: dict[str, bytes] = {}
    for target in targets:
        for blob, signature in _list_signatures(registry, repository, target):
            if blob.digest not in payloads:
                payloads[blob.digest] = _read_payload(registry, repository, blob)
            data = payloads[blob.digest]
            claim = parse_claim(data)
            if claim and claim.image == image and key.has_signed(data, signature):
                found[blob.digest] = claim
    return tuple(found.values())


def _read_payload(registry: Registry, repository: str, blob: Descriptor) -> bytes:
    try:
        return registry.read_blob(repository, blob)
    except ContentError:
        return b""


def _list_signatures(registry: Registry, repository: str, target: str) -> Iterator[tuple[Descriptor, bytes]]:
    try:
        manifest = registry.read(repository, target)
        blobs = parse_descriptors(manifest.parse().get("layers"), target) if manifest else ()
    except ContentError:
        return
    for blob in blobs:
        try:
            signature = base64.b64decode(dict(blob.annotations).get(_ANNOTATION, ""), validate=True)
        except ValueError:
            continue
        if blob.media_type == _PAYLOAD and signature and blob.size <= MANIFEST_LIMIT:
            yield blob, signature
