"""Sets of cells as bits of an integer, which makes the comparison of two sets one operation."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def list_cells(mask: int) -> Iterator[int]:
    """Yield the numbers of the cells in a set, the smallest first."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
