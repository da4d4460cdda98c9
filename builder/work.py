"""What those who order and draw cells know of them: what a cell has to install, and what it goes through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from builder.events import Event

if TYPE_CHECKING:
    from builder.errors import ImgbuildError

State = Literal["built", "up to date", "failed", "cancelled", "not started"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerWork:
    """One install step: `id` is what its `source=layers/ID` says, the same in every cell that has it.

    `size` is the bytes of its packages as they are downloaded.
    """

    id: str
    title: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CellWork:
    """The layers of one cell, from the base up."""

    cell: str
    layers: tuple[LayerWork, ...]

    @property
    def size(self) -> int:
        """Bytes of all its layers."""
        return sum(layer.size for layer in self.layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A cell entered a phase that no build step tells of: its image is checked."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a cell ended, and after how many seconds; `text` says it in one line.

    It has a `ref` when that names an image which passed its checks, and an `error` otherwise: Cancelled when it was
    stopped, or never began.
    """

    cell: str
    state: State
    text: str
    seconds: float
    ref: str | None = None
    error: ImgbuildError | None = None


CellEvent = Event | Phase | Ended
"""What progress is told of one cell; an `Ended` is the last of it."""
