"""Share the cells of a plan among the runners of a CI service, so that what several cells begin with is built once.

An engine builds a layer once for each chain of layers that it stands on. The chains of all cells form a tree, and each
runner takes a stretch of its leaves: those that part late lie side by side. Cutting between two leaves costs the bytes
that both begin with, which two runners have to build then. A cell whose chain is the beginning of another's adds
nothing to it, and is never parted from it. Pure: the same cells give the same runners, in whatever order they come.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.errors import ImgbuildError
from builder.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from builder.plan import PlannedCell

MOST = 256
"""How many jobs one matrix of GitHub Actions makes at most (docs.github.com, "Actions limits")."""

DISK = 14_000_000_000
"""Bytes of disk that a standard runner of GitHub has at least (docs.github.com, "GitHub-hosted runners reference")."""

ON_DISK = 3
"""Bytes that an engine with the containerd store takes for a byte of packages: the packed layer, and its files, which
are reckoned to be twice as large."""

BASE = 1_000_000_000
"""Bytes of each disk that are left to the base image and to what installs into it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """Cells that one machine builds, sorted by id, and the bytes of its disk that this takes."""

    cells: tuple[str, ...]
    disk: int

    @property
    def name(self) -> str:
        """What tells it from the other runners: `pytorch-py3.10-cu118 and 2 more`."""
        first, *more = self.cells
        return f"{first} and {len(more)} more" if more else first


@dataclass(frozen=True, slots=True, kw_only=True)
class _Leaf:
    """Cells that stay together. Bytes are those of their packages, and of what they begin with as the leaf before."""

    cells: tuple[str, ...]
    size: int
    common: int


def share_cells(cells: Iterable[PlannedCell], *, most: int | None = None, disk: int = DISK) -> tuple[Runner, ...]:
    """Return the runners that build some cells, sorted by the first cell of each.

    There are `most` at most; without a number, as few as disks of so many bytes allow. The fullest is as little full
    as so many runners allow; among what is left to choose, the fewest bytes are built twice. A cell that is too big
    for any disk is no error: it has a runner for itself. Raises ImgbuildError when more runners are needed than there
    may be.
    """
    leaves = list(_list_leaves(cells))
    room = (disk - BASE) // ON_DISK
    least = _count(leaves, room)
    limit = MOST if most is None else most
    if least > limit:
        raise ImgbuildError(
            f"{least} runners are needed, with {format_bytes(disk)} of disk each; there may be {limit}",
            hint="choose fewer cells, or runners with more disk",
        )
    aim = least if most is None else most
    bound = bisect_left(range(room), -aim, key=lambda size: -_count(leaves, size))
    runners = (_make_runner(leaves[begin:end]) for begin, end in _cut(leaves, bound))
    return tuple(sorted(runners, key=lambda runner: runner.cells))


def _list_leaves(cells: Iterable[PlannedCell]) -> Iterator[_Leaf]:
    """Yield the leaves in the order of the tree: the sorted chains, less those that only begin another."""
    members: dict[tuple[str, ...], list[PlannedCell]] = defaultdict(list)
    for cell in cells:
        members[tuple(layer.id for layer in cell.layers)].append(cell)
    chains = sorted(members)
    together: list[str] = []
    before: tuple[str, ...] = ()
    for number, chain in enumerate(chains, start=1):
        together += [cell.id for cell in members[chain]]
        if number < len(chains) and chains[number][: len(chain)] == chain:
            continue
        sizes = [layer.size for layer in members[chain][0].layers]
        yield _Leaf(cells=tuple(together), size=sum(sizes), common=sum(sizes[: _count_common(before, chain)]))
        together, before = [], chain


def _count_common(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many layers two chains begin with alike."""
    return next(
        (number for number, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]),
        min(len(one), len(other)),
    )


def _count(leaves: Sequence[_Leaf], room: int) -> int:
    """Return the fewest stretches of which none has more bytes than there is room, unless it is a single leaf."""
    count, filled = 0, room
    for leaf in leaves:
        filled += leaf.size - leaf.common
        if not count or filled > room:
            count, filled = count + 1, leaf.size
    return count


def _cut(leaves: Sequence[_Leaf], room: int) -> Iterator[tuple[int, int]]:
    """Yield the bounds of the fewest stretches for which there is room, those that have the fewest bytes twice."""
    best: list[tuple[int, int, int]] = [
        (0, 0, 0)
    ]  # up to each leaf: stretches, bytes twice, where the last one begins
    for end in range(1, len(leaves) + 1):
        choices = []
        filled = 0
        for begin in range(end - 1, -1, -1):
            # Before this leaf joined, the one after it was the first, and counted whole.
            filled += leaves[begin].size - (leaves[begin + 1].common if begin + 1 < end else 0)
            if begin + 1 < end and filled > room:
                break
            count, twice, _ = best[begin]
            choices.append((count + 1, twice + (leaves[begin].common if begin else 0), begin))
        best.append(min(choices))
    end, found = len(leaves), []
    while end:
        found.append((best[end][2], end))
        end = best[end][2]
    yield from reversed(found)


def _make_runner(leaves: Sequence[_Leaf]) -> Runner:
    size = sum(leaf.size - (leaf.common if number else 0) for number, leaf in enumerate(leaves))
    cells = tuple(sorted(cell for leaf in leaves for cell in leaf.cells))
    return Runner(cells=cells, disk=BASE + ON_DISK * size)
