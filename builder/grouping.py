"""Cut a matrix into layers: artifacts are grouped by the exact set of cells that have them, then merged to a budget.

Exact groups store every byte once, but a cell may have more of them than an image should have layers. Then two groups
of a cell become one in every cell that has both; where only one of the two is wanted it stays as it was, so its bytes
are stored twice. The pair that duplicates the fewest bytes goes first; crumbs are merged even where there is room for
them, as they are not worth a layer. Pure: the same cells give the same layers, in whatever order they come.

Sets of cells are bits of an integer here (`cellsets`).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import reduce
from heapq import heapify, heappop, heappush
from itertools import combinations
from math import inf
from operator import or_
from typing import TYPE_CHECKING

from builder.artifacts import Need, sum_sizes
from builder.cellsets import list_cells

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from builder.artifacts import Artifact

_PAIRS = 250_000
"""How many pairs of groups are compared at most: what a thousand cells can afford in seconds."""

_TIDY, _FEW = 0.0005, 200
"""The share of all bytes that may be stored twice so that there are fewer layers, as each is a step of the build; and
how many cells are not too many to try it."""

_LATER = 0.02
"""What a byte costs that waits for Python because of its company: chains part at Python, so that engines store it more
often, while registries do not mind."""

_FRONT = frozenset({Need.NONE, Need.RUNTIME})


@dataclass(slots=True)
class Group:
    """Artifacts that go into one layer together, and the cells (bits) that have this layer."""

    artifacts: frozenset[Artifact]
    size: int
    cells: int
    has_python: bool
    has_runtime: bool  # it has something that Python needs to run
    needs_python: bool
    order: str  # settles ties: the smallest key

    def accepts(self, other: Group) -> bool:
        """Whether one layer can hold both: what Python needs to run comes before what needs Python to be installed."""
        if self.has_python or other.has_python:
            return True
        return not ((self.has_runtime or other.has_runtime) and (self.needs_python or other.needs_python))


def group_artifacts(cells: Sequence[Iterable[Artifact]], budgets: Sequence[int], unknown: int) -> list[list[Group]]:
    """Return the groups of each cell: at most as many as its budget allows.

    `unknown` is the bytes that count for an artifact of unknown size.
    """
    plan = _Plan(len(cells), _group_exactly(cells, unknown))
    plan.fold([max(plan.affordable, budget) for budget in budgets])
    plan.merge(budgets)
    # Where the work that may be spent on pairs did not suffice. A fold leaves Python's group and two more at least.
    plan.fold([max(budget, 3) for budget in budgets])
    plan.merge(budgets)
    if len(cells) <= _FEW:
        plan.tidy(_TIDY * plan.size)
    plan.isolate(budgets, unknown)
    return plan.result()


def weigh_heavy(total: int) -> float:
    """Return the bytes from which on dead weight would be noticed among so many: 5 %, and 25 MB."""
    return max(0.05 * total, 25e6)


def make_group(artifacts: Iterable[Artifact], cells: int, unknown: int) -> Group:
    """Return a group of artifacts."""
    found = frozenset(artifacts)
    return Group(
        artifacts=found,
        size=sum_sizes(found, unknown),
        cells=cells,
        has_python=any(artifact.need is Need.PYTHON for artifact in found),
        has_runtime=any(artifact.need is Need.RUNTIME for artifact in found),
        needs_python=any(artifact.need is Need.PYTHON_NEEDED for artifact in found),
        order=min(artifact.key for artifact in found),
    )


def _group_exactly(cells: Sequence[Iterable[Artifact]], unknown: int) -> Iterator[Group]:
    where: dict[Artifact, int] = defaultdict(int)
    for number, artifacts in enumerate(cells):
        cell = 1 << number
        for artifact in artifacts:
            where[artifact] |= cell
    exact: dict[tuple[int, bool], list[Artifact]] = defaultdict(list)
    for artifact, mask in where.items():
        exact[mask, artifact.need in _FRONT].append(artifact)
    for (mask, _), artifacts in exact.items():
        yield make_group(artifacts, mask, unknown)


class _Plan:
    """The groups while they are merged: which cell has which, and what merging a pair would cost."""

    def __init__(self, cells: int, groups: Iterable[Group]) -> None:
        self.groups: dict[int, Group] = {}
        self.cells: list[set[int]] = [set() for _ in range(cells)]
        self._known: dict[frozenset[Artifact], int] = {}
        self._next = 0
        self._later = _LATER
        for group in sorted(groups, key=lambda group: (-group.cells.bit_count(), group.order)):
            self._add(group)

    @property
    def size(self) -> int:
        """Bytes of all groups."""
        return sum(group.size for group in self.groups.values())

    @property
    def affordable(self) -> int:
        """How many groups each cell may have so that all pairs can be compared."""
        if len(self.groups) ** 2 <= 2 * _PAIRS:
            return len(self.groups)
        return int((2 * _PAIRS / len(self.cells)) ** 0.5)

    def result(self) -> list[list[Group]]:
        return [[self.groups[number] for number in sorted(numbers)] for numbers in self.cells]

    def fold(self, limits: Sequence[int]) -> None:
        """Put the smallest groups of each cell that has too many into groups of its own, without comparing pairs."""
        for cell, numbers in enumerate(self.cells):
            excess = len(numbers) - limits[cell]
            if excess <= 0:
                continue
            ranked = sorted(numbers, key=lambda number: (self.groups[number].size, number))
            loose = [number for number in ranked if not self.groups[number].has_python]
            chosen = loose[: excess + 2]  # what joins k groups saves k - 1, and there are two kinds of them
            back = [number for number in chosen if self.groups[number].needs_python]
            front = [number for number in chosen if number not in back]
            for side in filter(None, (front, back)):
                self._join_all(side, 1 << cell)

    def tidy(self, allowance: float) -> None:
        """Merge pairs while no more than the allowance of bytes is duplicated, or has to wait for Python."""
        self._later = 1.0
        self.merge([1] * len(self.cells), allowance)

    def merge(self, budgets: Sequence[int], allowance: float = inf) -> None:
        """Merge pairs until each cell is within its budget, those that duplicate the fewest bytes first.

        It ends before that where more bytes than the allowance would be duplicated.
        """
        over = reduce(or_, (1 << cell for cell in range(len(self.cells)) if self._exceeds(cell, budgets)), 0)
        heap = [entry for first, second in self._pairs(over) if (entry := self._weigh(first, second, over))]
        heapify(heap)
        work = _PAIRS
        while over and heap and work > 0:
            score, _, first, second = heappop(heap)
            entry = self._weigh(first, second, over)
            work -= 1
            if entry is None:
                continue
            if entry[0] > score:
                heappush(heap, entry)
                continue
            shared = self.groups[first].cells & self.groups[second].cells
            allowance -= entry[0] * (shared & over).bit_count()
            if allowance < 0:
                return
            joined = self._join_all((first, second), shared)
            for cell in list_cells(shared & over):
                if not self._exceeds(cell, budgets):
                    over &= ~(1 << cell)
            # Older entries of these two stay: one that has become cheaper since is taken a little later, that is all.
            neighbours = self._neighbours(joined, over)
            work -= len(neighbours) + 4 * shared.bit_count()
            for other in neighbours:
                if entry := self._weigh(joined, other, over):
                    heappush(heap, entry)

    def isolate(self, budgets: Sequence[int], unknown: int) -> None:
        """Give heavy artifacts groups of their own where cells have room, so that a newer one moves nothing else."""
        total = [sum(self.groups[number].size for number in numbers) for numbers in self.cells]
        for number in list(self.groups):
            group = self.groups[number]
            heavy = weigh_heavy(min(total[cell] for cell in list_cells(group.cells)))
            for artifact in sorted(group.artifacts, key=lambda it: (-sum_sizes([it], unknown), it.key)):
                room = all(len(self.cells[cell]) < budgets[cell] for cell in list_cells(group.cells))
                if not room or len(group.artifacts) < 2 or sum_sizes([artifact], unknown) <= heavy:
                    break
                if artifact.need is not Need.PYTHON:
                    self._add(make_group({artifact}, group.cells, unknown))
                    rest = make_group(group.artifacts - {artifact}, group.cells, unknown)
                    group = self.groups[number] = rest

    def _add(self, group: Group) -> int:
        number = self._known.get(group.artifacts)
        if number is None or number not in self.groups:
            number = self._next
            self._next += 1
            self._known[group.artifacts] = number
            self.groups[number] = group
        else:
            self.groups[number].cells |= group.cells
        for cell in list_cells(group.cells):
            self.cells[cell].add(number)
        return number

    def _join_all(self, numbers: Sequence[int], cells: int) -> int:
        """Return the group that stands for others in some cells from now on."""
        joined = [self.groups[number] for number in numbers]
        for cell in list_cells(cells):
            self.cells[cell].difference_update(numbers)
        others = ~cells
        for number, group in zip(numbers, joined, strict=True):
            group.cells &= others
            if not group.cells:
                del self.groups[number]
        return self._add(
            Group(
                artifacts=frozenset().union(*(group.artifacts for group in joined)),
                size=sum(group.size for group in joined),
                cells=cells,
                has_python=any(group.has_python for group in joined),
                has_runtime=any(group.has_runtime for group in joined),
                needs_python=any(group.needs_python for group in joined),
                order=min(group.order for group in joined),
            )
        )

    def _exceeds(self, cell: int, budgets: Sequence[int]) -> bool:
        return len(self.cells[cell]) > budgets[cell]

    def _pairs(self, over: int) -> Iterable[tuple[int, int]]:
        per_cell = [self.cells[cell] for cell in list_cells(over)]
        if sum(len(numbers) ** 2 for numbers in per_cell) > len(self.groups) ** 2:
            return combinations(sorted(self.groups), 2)
        return {pair for numbers in per_cell for pair in combinations(sorted(numbers), 2)}

    def _neighbours(self, number: int, over: int) -> set[int]:
        found = set().union(*(self.cells[cell] for cell in list_cells(self.groups[number].cells & over)))
        return found - {number}

    def _weigh(self, first: int, second: int, over: int) -> tuple[float, int, int, int] | None:
        """Return the bytes that merging a pair duplicates per cell that it relieves, the size of both, and the pair.

        None where the pair cannot be merged, or no cell would be relieved.
        """
        one, two = self.groups.get(first), self.groups.get(second)
        if one is None or two is None or not one.accepts(two):
            return None
        shared = one.cells & two.cells
        relieved = (shared & over).bit_count()
        if not relieved:
            return None
        cost: float = (one.size if one.cells & ~shared else 0) + (two.size if two.cells & ~shared else 0)
        if one.needs_python != two.needs_python:
            cost += self._later * (two.size if one.needs_python else one.size)
        return cost / relieved, one.size + two.size, first, second
