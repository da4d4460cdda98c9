"""The tags under which a registry has a cell's image."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from builder.compat import name_pair

if TYPE_CHECKING:
    from builder.context import Context
    from builder.inputs import Job

_LENGTH = 12
"""Hexadecimal digits of a digest in a tag: as many as Git and docker show of theirs."""


def tag_lasting(job: Job, context: Context) -> str:
    """Return the tag that stays what it is: the cell's, and the digest of all that the image is made from.

    `2.7.1-cu118-py310-0f2d5a1b7c9e` is the first image that was published from these locks and this definition.
    """
    digest = hashlib.sha256()
    for file in context.files:
        digest.update(f"{file.path} {len(file.data)}\n".encode() + file.data)
    return f"{job.cell.tag}-{digest.hexdigest()[:_LENGTH]}"


def list_moving_tags(job: Job) -> tuple[str, ...]:
    """Return the tags that move to each new image of a cell: its own, and the aliases of the definition."""
    own = name_pair(job.cell.python, job.cell.cuda)
    aliases = (alias for alias, cell in job.definition.aliases if cell == own)
    return tuple(dict.fromkeys((job.cell.tag, *aliases)))
