"""Which published image was made from the same as one that is to be built, so that it need not be."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from builder.attach import list_missing
from builder.registry.content import ContentError
from builder.registry.writing import EMPTY, Artifact
from builder.render import LABEL
from builder.signing.vouching import list_signed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from builder.registry.content import Descriptor
    from builder.registry.writing import Writer
    from builder.signing.vouching import Voucher

RECIPE = "application/vnd.imgbuild.recipe.v1"
"""The type of an artifact that tells, by its annotation alone, the digest of what an image was made from.

An image may have several: after a change of what leaves no trace in it, the same bytes are made from something else.
"""


def attach_recipe(writer: Writer, repository: str, image: Descriptor, recipe: str) -> str:
    """Attach to a manifest what the image was made from (memo.digest_recipe), and return that artifact's own digest.

    Raises RegistryError.
    """
    return writer.attach(repository, image, _make_artifact(recipe)).digest


def find_made_from(
    writer: Writer, repository: str, tags: Iterable[str], recipe: str, *, voucher: Voucher | None
) -> Descriptor | None:
    """Return the first image under some tags that was made from a recipe and has all its documents, None without any.

    With a voucher only what they have signed counts: the image, with all of that. What is damaged is passed over.
    Raises RegistryError when the registry cannot be asked.
    """
    for tag in tags:
        with contextlib.suppress(ContentError):
            image = writer.find(repository, tag)
            if image and _is_made_from(writer, repository, image, recipe, voucher):
                return image
    return None


def _is_made_from(writer: Writer, repository: str, image: Descriptor, recipe: str, voucher: Voucher | None) -> bool:
    # Its digest is that of its words and the image's digest: nothing of it has to be read to be believed.
    told = writer.find_attached(repository, image, _make_artifact(recipe))
    if told is None:
        return False
    signed = list_signed(writer, repository, image.digest, voucher) if voucher else None
    if signed is not None and told.digest not in signed:
        return False
    return not list_missing(writer, repository, image.digest, signed=signed)


def _make_artifact(recipe: str) -> Artifact:
    told = ((f"{LABEL}.recipe", recipe),)
    return Artifact(artifact_type=RECIPE, media_type=RECIPE, blobs=(EMPTY,), annotations=told)
