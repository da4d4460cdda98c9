"""Let the tags that move name an image, and keep what the cell's own tag named before."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from builder.registry.content import is_digest
from builder.registry.writing import EMPTY, Artifact
from builder.render import OCI

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from builder.registry.content import Descriptor
    from builder.registry.writing import Writer

REPLACED = "application/vnd.imgbuild.replaced.v1"
"""The type of an artifact that tells, by its annotations alone, which image an image has replaced, and when."""

_DIGEST = "dev.imgbuild.replaced"
_TIME = f"{OCI}.created"


def move_tags(writer: Writer, repository: str, image: Descriptor, tags: Sequence[str], *, record: bool) -> None:
    """Let tags name an image. Raises RegistryError; then none, or the first of them, have moved.

    With `record`, what the first names, where that is another image, is attached to the image before it moves: labels
    do not tell, as images of the same conda packages are of the same time, and a tag may go back to an older image.
    """
    known = writer.find(repository, tags[0]) if record else None
    if known and known.digest != image.digest:
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        told = ((_DIGEST, known.digest), (_TIME, now))
        artifact = Artifact(artifact_type=REPLACED, media_type=REPLACED, blobs=(EMPTY,), annotations=told)
        writer.attach(repository, image, artifact)
    for tag in tags:
        writer.copy_tag(repository, image.digest, tag)


def find_replaced(attached: Iterable[Descriptor]) -> str | None:
    """Return the digest of the image that an image has replaced last, None where nothing attached tells."""
    told = [dict(it.annotations) for it in attached if it.artifact_type == REPLACED]
    found = [(it.get(_TIME, ""), it.get(_DIGEST, "")) for it in told]
    return max(((time, digest) for time, digest in found if is_digest(digest)), default=("", None))[1]
