"""A published image as it can be read without a pull: digest, layers, labels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from builder.registry.content import (
    MANIFESTS,
    ContentError,
    Descriptor,
    clean,
    parse_descriptor,
    parse_descriptors,
    parse_object,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.registry.client import Registry
    from builder.registry.content import Manifest

PLATFORM = "linux/amd64"
"""The platform of every image that imgbuild makes."""

_HINT_IMAGE = "name an image by its tag or digest: `imgbuild status` tells which there are."

_LAYER = re.compile(r"application/vnd\.(?:oci|docker)\.image\.(?:layer|rootfs)\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedImage:
    """What a registry tells of an image.

    `digest` is what its tag means, of an index where that is one; `manifest` is that of the image itself. `layers` are
    from the base up, `diff_ids` the digests of their content, unpacked. `created` is as its configuration has it.
    What people wrote, labels and variables, is fit to be printed.
    """

    digest: str
    manifest: str
    layers: tuple[Descriptor, ...]
    diff_ids: tuple[str, ...]
    labels: Mapping[str, str]
    environment: Mapping[str, str]
    created: str

    @property
    def compressed(self) -> int:
        """Bytes of its layers in the registry, each counted once."""
        return sum({layer.digest: layer.size for layer in self.layers}.values())


def read_image(registry: Registry, repository: str, target: str) -> PublishedImage | None:
    """Return the image that a tag or digest names, None when there is none.

    Of an index it is the image for linux/amd64. Raises RegistryError, and ContentError for what is no such image.
    """
    top = registry.read(repository, target)
    if top is None:
        return None
    manifest = _choose(registry, repository, top) if top.is_index else top
    where = f"{registry.host}: {repository}: {manifest.digest}"
    if manifest.media_type not in MANIFESTS:
        message = f"{where}: {manifest.media_type or 'something without a type'} is no image"
        raise ContentError(message, hint=_HINT_IMAGE)
    document = manifest.parse()
    config = parse_descriptor(document.get("config"), where)
    layers = parse_descriptors(document.get("layers"), where)
    if not all(_LAYER.match(layer.media_type) for layer in layers):
        raise ContentError(f"{where}: it is no image, but something that is attached to one", hint=_HINT_IMAGE)
    told = parse_object(registry.read_blob(repository, config), where)
    try:
        return _describe(top, manifest, layers, told)
    except (AttributeError, TypeError, ValueError) as error:
        raise ContentError(f"{where}: its configuration is none") from error


def try_image(registry: Registry, repository: str, target: str) -> PublishedImage | ContentError | None:
    """Return what `read_image` does, or why what is there is no image that can be read. Raises RegistryError."""
    try:
        return read_image(registry, repository, target)
    except ContentError as error:
        return error


def _describe(
    top: Manifest, manifest: Manifest, layers: tuple[Descriptor, ...], told: Mapping[str, Any]
) -> PublishedImage:
    config = told.get("config") or {}
    variables = (clean(str(line)).partition("=") for line in config.get("Env") or ())
    return PublishedImage(
        digest=top.digest,
        manifest=manifest.digest,
        layers=layers,
        diff_ids=tuple(map(str, (told.get("rootfs") or {}).get("diff_ids") or ())),
        labels={clean(str(key)): clean(str(value)) for key, value in (config.get("Labels") or {}).items()},
        environment={key: value for key, _, value in variables},
        created=clean(str(told.get("created") or "")),
    )


def _choose(registry: Registry, repository: str, index: Manifest) -> Manifest:
    """Return the manifest of the image for our platform; an index that tells no platforms has to have one image."""
    found = [it for it in index.list_manifests() if it.media_type in MANIFESTS]
    ours = [it for it in found if it.platform == PLATFORM] or [it for it in found if not it.platform]
    where = f"{registry.host}: {repository}: {index.digest}"
    if len(ours) != 1:
        hint = f"name the one that is meant by its digest, if there is one for {PLATFORM}."
        raise ContentError(f"{where}: an index with {len(ours)} images for {PLATFORM}", hint=hint)
    manifest = registry.read(repository, ours[0].digest)
    if manifest is None:
        hint = "it was removed, or never copied there with its index: whoever pushed the index has to push it anew."
        raise ContentError(f"{where}: its image {ours[0].digest} is not there", hint=hint)
    return manifest
