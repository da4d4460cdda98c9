"""The tags under which a registry has a cell's image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.compat import name_pair
from builder.context import digest_context
from builder.definition_aliases import DIGITS, WAITING

if TYPE_CHECKING:
    from builder.context import Context
    from builder.inputs import Job


def tag_lasting(job: Job, context: Context) -> str:
    """Return the tag that stays what it is: the cell's, and the digest of all that the image is made from.

    `2.7.1-cu118-py310-0f2d5a1b7c9e` is the first image that was published from these locks and this definition.
    """
    return f"{job.cell.tag}-{digest_context(context)[:DIGITS]}"


def tag_image(job: Job, image_id: str) -> str:
    """Return a tag of the same form for an image, by its own digest (`sha256:…`).

    It is for one that was built once more from the same and became another, by what is not locked: apt's packages.
    """
    return f"{job.cell.tag}-{image_id.partition(':')[2][:DIGITS]}"


def tag_waiting(job: Job, context: Context) -> str:
    """Return the tag of the image that was made from this last, and waits for its test to get the tags that move.

    The tag that lasts is not enough: it stays the first image, and what waits may be one that was built once more.
    """
    return f"{tag_lasting(job, context)}{WAITING}"


def list_moving_tags(job: Job) -> tuple[str, ...]:
    """Return the tags that move to each new image of a cell: its own, and the aliases of the definition."""
    own = name_pair(job.cell.python, job.cell.cuda)
    aliases = (alias for alias, cell in job.definition.aliases if cell == own)
    return tuple(dict.fromkeys((job.cell.tag, *aliases)))
