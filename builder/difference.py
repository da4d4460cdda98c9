"""What is in one published image and not in another: layers, bytes, labels, packages. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.site.changes import list_changes

if TYPE_CHECKING:
    from builder.contents import Contents
    from builder.registry.content import Descriptor
    from builder.registry.image import PublishedImage
    from builder.site.changes import Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of two images: its ref as it was given, and its packages, None where nothing tells them."""

    ref: str
    image: PublishedImage
    contents: Contents | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Two images, and what differs: `packages` are None where those of one side are unknown.

    `shared` are the layers that both have, `fresh` those that whoever has the first has to pull for the second.
    """

    before: Side
    now: Side
    shared: tuple[Descriptor, ...]
    fresh: tuple[Descriptor, ...]
    labels: tuple[tuple[str, str | None, str | None], ...]
    packages: tuple[Change, ...] | None

    @property
    def is_empty(self) -> bool:
        """Whether both are the same image."""
        return self.before.image.manifest == self.now.image.manifest


def compare_sides(before: Side, now: Side) -> Difference:
    """Return what differs between two images."""
    old, new = ({layer.digest: layer for layer in side.image.layers} for side in (before, now))
    told, tells = before.image.labels, now.image.labels
    packages = None
    if before.contents and now.contents:
        packages = list_changes(before.contents.packages, now.contents.packages)
    return Difference(
        before=before,
        now=now,
        shared=tuple(layer for digest, layer in new.items() if digest in old),
        fresh=tuple(layer for digest, layer in new.items() if digest not in old),
        labels=tuple(
            (key, told.get(key), tells.get(key))
            for key in sorted(told.keys() | tells.keys())
            if told.get(key) != tells.get(key)
        ),
        packages=packages,
    )


def sum_bytes(layers: tuple[Descriptor, ...]) -> int:
    """Return the compressed bytes of layers."""
    return sum(layer.size for layer in layers)
