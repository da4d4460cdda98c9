"""Read what is attached to a published image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.registry.client import MANIFEST_LIMIT
from builder.registry.content import parse_descriptors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from builder.registry.client import Registry
    from builder.registry.content import Descriptor
    from builder.registry.image import PublishedImage


def read_first(registry: Registry, repository: str, referrers: Iterable[Descriptor]) -> bytes | None:
    """Return the payload of the first attached artifact that has one, None when there is none.

    Raises RegistryError, and ContentError.
    """
    for referrer in referrers:
        manifest = registry.read(repository, referrer.digest)
        for blob in parse_descriptors(manifest.parse().get("layers"), referrer.digest) if manifest else ():
            return registry.read_blob(repository, blob)
    return None


def list_attached(registry: Registry, repository: str, image: PublishedImage) -> Iterator[Descriptor]:
    """Yield what is attached to an image, or to an index that has it. Raises RegistryError, and ContentError."""
    for subject in dict.fromkeys((image.digest, image.manifest)):
        yield from (it for it in registry.list_referrers(repository, subject) if it.size <= MANIFEST_LIMIT)
