"""A cell that is ready to be built: what it is, its locked packages, and the layers that they go into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.inputs import Job
    from builder.layers import Layer
    from builder.lock import Environment


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedCell:
    """A cell with its locked packages and the layers they go into; `titles` say by a layer's id what it is."""

    job: Job
    environment: Environment
    layers: tuple[Layer, ...]
    titles: Mapping[str, str]

    @property
    def id(self) -> str:
        """The cell's name."""
        return self.job.cell.id
