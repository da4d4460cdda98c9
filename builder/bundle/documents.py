"""Parse what an image layout says of its images: index, manifests, and the list that docker wrote before OCI's.

Formats: the OCI image specification (github.com/opencontainers/image-spec: image-index.md, manifest.md and
descriptor.md), and for `manifest.json` the Moby project's docker image specification v1.2, "Combined Image JSON".
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from builder.errors import BundleError

NAME = "io.containerd.image.name"
"""Annotation with the whole name of an image, `docker.io/library/app:1`; engines read it first."""

REF_NAME = "org.opencontainers.image.ref.name"
"""OCI's annotation, by which skopeo and podman choose and name an image."""

INDEXES = frozenset(
    {
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.index.v1+json",
    }
)
MANIFESTS = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
    }
)
CONFIGS = frozenset(
    {
        "application/vnd.docker.container.image.v1+json",
        "application/vnd.oci.image.config.v1+json",
    }
)
LAYERS = frozenset(
    {
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
        "application/vnd.in-toto+json",  # the layer of an attestation
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd",
    }
)

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REF = re.compile(r"[a-z0-9][\w./:-]*:\w[\w.-]{0,127}", re.ASCII)
_HUB = ("docker.io/library/", "docker.io/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """A blob as another document names it: what it is, its digest (`sha256:…`) and bytes; `ref` if it has a name."""

    media_type: str
    digest: str
    size: int
    ref: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What one image consists of; the layers from the base up."""

    config: Descriptor
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An image in docker's own list: its refs, and the digests of its config and layers."""

    refs: tuple[str, ...]
    config: str
    layers: tuple[str, ...]


def parse_index(text: bytes, where: str) -> tuple[Descriptor, ...]:
    """Return the manifests and indexes that an index names. Raises BundleError; `where` says in which document."""
    found = _list(_object(text, where), "manifests", where)
    return tuple(_descriptor(node, where, INDEXES | MANIFESTS) for node in found)


def parse_manifest(text: bytes, where: str) -> Manifest:
    """Return what a manifest names. Raises BundleError; `where` says in which document."""
    node = _object(text, where)
    return Manifest(
        config=_descriptor(node.get("config"), where, CONFIGS),
        layers=tuple(_descriptor(layer, where, LAYERS) for layer in _list(node, "layers", where)),
    )


def parse_list(text: bytes) -> tuple[Listed, ...]:
    """Return the images of docker's `manifest.json`. Raises BundleError."""
    where = "manifest.json"
    nodes = _load(text, where)
    if not isinstance(nodes, list) or not all(isinstance(node, dict) for node in nodes):
        raise BundleError(f"{where} is no list of images")
    return tuple(
        Listed(
            refs=tuple(parse_ref(ref, where) for ref in _list(node, "RepoTags", where)),
            config=_path(node.get("Config"), where),
            layers=tuple(_path(layer, where) for layer in _list(node, "Layers", where)),
        )
        for node in nodes
    )


def require_layout_version(text: bytes) -> None:
    """Raise BundleError when `oci-layout` is not of the one version that there is."""
    version = _object(text, "oci-layout").get("imageLayoutVersion")
    if version != "1.0.0":
        raise BundleError(f"oci-layout says version {version!r}; imgbuild reads 1.0.0")


def parse_ref(value: object, where: str) -> str:
    """Return an image's name with its tag as people write it: `app:1` for `docker.io/library/app:1`."""
    if not isinstance(value, str) or not _REF.fullmatch(value):
        raise BundleError(f"{where} names an image {value!r}, which is no NAME:TAG")
    prefix = next((prefix for prefix in _HUB if value.startswith(prefix)), "")
    return value.removeprefix(prefix)


def _descriptor(node: object, where: str, known: frozenset[str]) -> Descriptor:
    if not isinstance(node, dict):
        raise BundleError(f"{where} names {node!r} where a descriptor belongs")
    media_type, digest, size = node.get("mediaType"), node.get("digest"), node.get("size")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise BundleError(f"{where} names a blob by {digest!r}; imgbuild reads sha256 digests")
    if not isinstance(media_type, str) or media_type not in known:
        raise BundleError(f"{where} names {digest} as {media_type!r}, a media type that has no place there")
    if type(size) is not int or size < 0:
        raise BundleError(f"{where} gives {digest} the size {size!r}")
    annotations = node.get("annotations")
    name = annotations.get(NAME) or annotations.get(REF_NAME) if isinstance(annotations, dict) else None
    return Descriptor(
        media_type=media_type, digest=digest, size=size, ref=parse_ref(name, where) if name is not None else ""
    )


def _path(value: object, where: str) -> str:
    """Return the digest of the blob that a path of docker's list leads to."""
    digest = value.replace("blobs/sha256/", "sha256:", 1) if isinstance(value, str) else ""
    if not _DIGEST.fullmatch(digest) or value == digest:
        raise BundleError(f"{where} names the file {value!r}, which is no blob")
    return digest


def _object(text: bytes, where: str) -> dict[str, Any]:
    node = _load(text, where)
    if not isinstance(node, dict):
        raise BundleError(f"{where} is no JSON object")
    return node


def _list(node: dict[str, Any], key: str, where: str) -> list[Any]:
    value = node.get(key)
    if not isinstance(value, list):
        raise BundleError(f"{where} has no list of {key}")
    return value


def _load(text: bytes, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where} is no JSON") from error
