"""What a registry stores: descriptors, manifests and indexes, parsed and compared with their digests.

Formats: github.com/opencontainers/image-spec, descriptor.md, manifest.md and image-index.md; the types of Docker's
registry are the same documents under other names.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from builder.errors import RegistryError

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEXES = frozenset({OCI_INDEX, "application/vnd.docker.distribution.manifest.list.v2+json"})
MANIFESTS = frozenset({OCI_MANIFEST, "application/vnd.docker.distribution.manifest.v2+json"})

_DIGEST = re.compile("sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")

_TAG = re.compile("[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")

_HINT_CONTENT = "is it damaged there? Whoever pushed it has to remove it, and to push it anew."


class ContentError(RegistryError):
    """What the registry has under a name is no image, or not what its digest says."""

    def __init__(self, message: str, *, hint: str = _HINT_CONTENT) -> None:
        super().__init__(message, hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """Points at content by type, digest and size in bytes; `platform` is `linux/amd64` where an index tells it."""

    media_type: str
    digest: str
    size: int
    artifact_type: str = ""
    platform: str = ""
    annotations: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The bytes under a tag or digest, with their type and digest. `is_index` when it lists other manifests."""

    media_type: str
    digest: str
    data: bytes

    @property
    def is_index(self) -> bool:
        """Whether it lists manifests, and is none of an image."""
        return self.media_type in INDEXES

    def parse(self) -> dict[str, Any]:
        """Return the document. Raises ContentError when it is no JSON object."""
        return parse_object(self.data, self.digest)

    def list_manifests(self) -> tuple[Descriptor, ...]:
        """Return what an index lists. Raises ContentError."""
        return parse_descriptors(self.parse().get("manifests"), self.digest)


def parse_object(data: bytes, where: str) -> dict[str, Any]:
    """Return the JSON object in some bytes. Raises ContentError."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ContentError(f"{where}: no JSON object")
    return found


def parse_descriptors(nodes: Any, where: str) -> tuple[Descriptor, ...]:
    """Return a list of descriptors; one that is missing is empty. Raises ContentError."""
    if not isinstance(nodes, list | None):
        raise ContentError(f"{where}: a list of descriptors should stand here")
    return tuple(parse_descriptor(node, where) for node in nodes or ())


def parse_descriptor(node: Any, where: str) -> Descriptor:
    """Return one descriptor. Raises ContentError."""
    try:
        platform = node.get("platform") or {}
        found = Descriptor(
            media_type=_text(node["mediaType"]),
            digest=_text(node["digest"]),
            size=node["size"],
            artifact_type=_text(node.get("artifactType") or ""),
            platform="/".join(_text(platform.get(key) or "") for key in ("os", "architecture")) if platform else "",
            annotations=tuple((_text(key), _text(value)) for key, value in (node.get("annotations") or {}).items()),
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise ContentError(f"{where}: a descriptor should stand here") from error
    if not _DIGEST.fullmatch(found.digest) or type(found.size) is not int or found.size < 0:
        raise ContentError(f"{where}: a descriptor has no digest, or no size")
    return found


def is_digest(text: str) -> bool:
    """Return whether a text is a digest of the registered algorithms."""
    return bool(_DIGEST.fullmatch(text))


def is_tag(text: str) -> bool:
    """Return whether a text is a tag (distribution-spec, "Pulling manifests")."""
    return bool(_TAG.fullmatch(text))


def matches(data: bytes, digest: str) -> bool:
    """Return whether bytes have a digest."""
    return is_digest(digest) and hashlib.new(digest.partition(":")[0], data).hexdigest() == digest.partition(":")[2]


def digest_of(data: bytes) -> str:
    """Return the sha256 digest of bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def clean(text: str) -> str:
    """Return a text of one line without what cannot be seen: whoever wrote it, it may be printed to a terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return clean(value)
