"""What an identity signs: the same claim as a key, as cosign's statement of an image.

The documents are in its predicate, which cosign leaves empty and other verifiers pass over. Source: what cosign 3.1
writes and verifies, which a test runs (tests/docker/test_others.py).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from builder.signing.payload import DOCUMENTS, make_claim

if TYPE_CHECKING:
    from builder.signing.payload import Claim

PREDICATE = "https://sigstore.dev/cosign/sign/v1"
"""The type of a predicate that says: this image is signed."""

_KIND = "application/vnd.in-toto+json"
_TYPE = "https://in-toto.io/Statement/v1"


def dump_statement(claim: Claim) -> bytes:
    """Return the bytes to sign: the same for the same claim."""
    algorithm, _, number = claim.image.partition(":")
    document = {
        "_type": _TYPE,
        "subject": [{"name": claim.repository, "digest": {algorithm: number}}],
        "predicateType": PREDICATE,
        "predicate": {DOCUMENTS: sorted(claim.documents)},
    }
    return json.dumps(document, separators=(",", ":")).encode()


def parse_statement(kind: str, data: bytes) -> Claim | None:
    """Return what a signed payload claims, None where it is no such statement, or of more than one image."""
    try:
        document = json.loads(data)
        (subject,) = document["subject"]
        ((algorithm, number),) = subject["digest"].items()
        listed = (document.get("predicate") or {}).get(DOCUMENTS) or []
        place, told = subject.get("name") or "", (kind, document["_type"], document["predicateType"])
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return None
    return make_claim(place, f"{algorithm}:{number}", listed) if told == (_KIND, _TYPE, PREDICATE) else None
