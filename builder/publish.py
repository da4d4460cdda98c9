"""Publish the image of a cell: under a tag that lasts first, then under those that move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.tags import list_moving_tags, tag_lasting

if TYPE_CHECKING:
    from builder.context import Context
    from builder.engine import Engine
    from builder.inputs import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Publisher:
    """Publishes images of one engine below `registry` (`host/path`). Any number of threads may use it.

    Where they are `staged`, `Staging.promote` gives them the tags that move.
    """

    engine: Engine
    registry: str
    staged: bool

    def publish(self, image_id: str, job: Job, context: Context) -> str:
        """Push an image under all its tags, and return the ref of the cell's own; the tag that lasts stays as it is.

        Where images are staged, the tag that lasts is all, and its ref is returned. Raises PushError when the registry
        does not take the image, EngineError when the engine is lost, or Cancelled.
        """
        name = f"{self.registry}/{job.cell.image}"
        lasting = f"{name}:{tag_lasting(job, context)}"
        moving = [] if self.staged else [f"{name}:{tag}" for tag in list_moving_tags(job)]
        for ref in [*([] if self.engine.find_published(lasting) else [lasting]), *moving]:
            for _ in self.engine.push(image_id, ref):
                pass
        return moving[0] if moving else lasting
