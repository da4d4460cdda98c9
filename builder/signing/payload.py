"""What is signed: the digest of an image, and those of the documents that are attached to it.

The format is "simple signing", as cosign uses it; the documents are in its optional part, which other verifiers pass
over. Source: github.com/sigstore/cosign, specs/SIGNATURE_SPEC.md, "Payloads".
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from builder.registry.content import is_digest

DOCUMENTS = "dev.imgbuild.documents"
"""Member of the optional part that lists the digests of the attached manifests."""

_TYPE = "cosign container image signature"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a signature vouches for: an image and its documents, by the digests of their manifests.

    `repository` is where the image was published (`registry.example/team/pytorch`); it binds nobody.
    """

    repository: str
    image: str
    documents: frozenset[str] = frozenset()


def dump_claim(claim: Claim) -> bytes:
    """Return the bytes to sign: the same for the same claim."""
    critical = {
        "identity": {"docker-reference": claim.repository},
        "image": {"docker-manifest-digest": claim.image},
        "type": _TYPE,
    }
    document = {"critical": critical, "optional": {DOCUMENTS: sorted(claim.documents)}}
    return json.dumps(document, separators=(",", ":")).encode()


def parse_claim(data: bytes) -> Claim | None:
    """Return what some bytes claim, None where they are no such payload. Whoever wrote them may have signed them."""
    try:
        document = json.loads(data)
        critical, kind = document["critical"], document["critical"]["type"]
        listed = (document.get("optional") or {}).get(DOCUMENTS) or []
        place, image = critical["identity"]["docker-reference"], critical["image"]["docker-manifest-digest"]
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return None
    return make_claim(place, image, listed) if kind == _TYPE else None


def make_claim(repository: object, image: object, documents: object) -> Claim | None:
    """Return a claim of what somebody wrote, None unless it is a digest and a list of digests."""
    if not isinstance(documents, list):
        return None
    digests = [it for it in (image, *documents) if isinstance(it, str) and is_digest(it)]
    if len(digests) != 1 + len(documents):
        return None
    return Claim(repository=str(repository), image=digests[0], documents=frozenset(digests[1:]))
