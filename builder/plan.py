"""The plan: which layers each cell of a whole matrix has, and what they cost a registry and an engine. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from builder.artifacts import Artifact, Kind, Need, assume_size, sum_sizes
from builder.grouping import group_artifacts, weigh_heavy
from builder.layers import Layer, make_layer
from builder.ordering import measure_tree, order_layers
from builder.updating import update_layers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

BUDGET = 14
"""How many install layers an image has at most, unless told otherwise: at 14 a real 12-cell lock costs 1.0027 of its
unique bytes (benchmarks/data/pixi-sample.json). overlayfs stops at 127 layers, base and all."""

_STRICTNESS = (Need.NONE, Need.RUNTIME, Need.PYTHON_NEEDED, Need.PYTHON)


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a cell has to install, on which base; `axes` (Python, CUDA, …) tell a person which cell it is."""

    id: str
    base: str
    artifacts: frozenset[Artifact]
    axes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCell:
    """A cell and its layers in the order of installation."""

    content: Content
    layers: tuple[Layer, ...]

    @property
    def id(self) -> str:
        """The cell's name."""
        return self.content.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What remains of an earlier plan: its budget, and the layers of each cell by the cell's id.

    `contents` is what the cells had to install, as far as layers tell.
    """

    budget: int
    chains: Mapping[str, tuple[Layer, ...]]
    contents: tuple[Content, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The layers of every cell, sorted by id. Bytes are those of the packages as they are downloaded.

    `unknown` is what counts for a package whose size no lock tells.
    """

    budget: int
    unknown: int
    cells: tuple[PlannedCell, ...]

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Every distinct layer, in the order of first use."""
        return tuple({layer.id: layer for cell in self.cells for layer in cell.layers}.values())

    @cached_property
    def shared_by(self) -> Counter[str]:
        """How many cells have a layer, by its id."""
        return Counter(layer.id for cell in self.cells for layer in cell.layers)

    @cached_property
    def naive_bytes(self) -> int:
        """What a registry stores when each cell carries all of its own packages."""
        return sum(sum_sizes(_packages(cell.content.artifacts), self.unknown) for cell in self.cells)

    @cached_property
    def unique_bytes(self) -> int:
        """The lower bound: every distinct package once."""
        distinct = {
            artifact.download: artifact for cell in self.cells for artifact in _packages(cell.content.artifacts)
        }
        return sum_sizes(distinct.values(), self.unknown)

    @cached_property
    def registry_bytes(self) -> int:
        """What a registry stores: every distinct layer once."""
        return sum(layer.size for layer in self.layers)

    @cached_property
    def disk_bytes(self) -> int:
        """What one engine stores that has all cells: every distinct chain of layers once."""
        return measure_tree([cell.layers for cell in self.cells])

    @cached_property
    def unknown_sizes(self) -> int:
        """How many distinct packages have no size in their lock."""
        return len({it.download for cell in self.cells for it in cell.content.artifacts if it.size is None})

    @property
    def ratio(self) -> float:
        """Registry bytes per unique byte; 1.0 where there is nothing to store."""
        return self.registry_bytes / self.unique_bytes if self.unique_bytes else 1.0

    @property
    def published(self) -> Published:
        """What a later plan starts from."""
        return Published(
            budget=self.budget,
            chains={cell.id: cell.layers for cell in self.cells},
            contents=tuple(cell.content for cell in self.cells),
        )

    def layers_of(self, cell: str) -> tuple[Layer, ...]:
        """Return the layers of a cell that the plan has."""
        return next(found.layers for found in self.cells if found.id == cell)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a plan changes of a previous one: layers that stay and that are new, their bytes, the cells concerned."""

    kept_layers: int
    new_layers: int
    new_bytes: int
    cells: tuple[str, ...]


def compare_plans(plan: Plan, previous: Published) -> Change:
    """Return what has to be published, and for which cells, once a plan takes the place of what was published."""
    known = {layer.id for chain in previous.chains.values() for layer in chain}
    new = [layer for layer in plan.layers if layer.id not in known]
    before = {cell: [layer.id for layer in chain] for cell, chain in previous.chains.items()}
    return Change(
        kept_layers=len(plan.layers) - len(new),
        new_layers=len(new),
        new_bytes=sum(layer.size for layer in new),
        cells=tuple(cell.id for cell in plan.cells if [layer.id for layer in cell.layers] != before.get(cell.id)),
    )


def plan_cells(contents: Iterable[Content], *, budget: int = BUDGET, previous: Published | None = None) -> Plan:
    """Return the plan of a matrix; the order of the cells does not matter.

    What a previous plan of the same budget has published is kept, unless a new plan would be so much smaller that
    publishing again pays.
    """
    ordered = _agree(sorted(contents, key=lambda content: content.id))
    unknown = assume_size(artifact for content in ordered for artifact in content.artifacts)
    fresh = _assemble(ordered, budget, unknown, _plan_anew(ordered, budget, unknown))
    if previous is None or previous.budget != budget:
        return fresh
    chains = update_layers(
        previous.chains,
        {content.id: (content.base, content.artifacts) for content in ordered},
        budget=budget,
        unknown=unknown,
    )
    if chains is None:
        return fresh
    kept = _assemble(ordered, budget, unknown, [chains[content.id] for content in ordered])
    waste = kept.registry_bytes - fresh.registry_bytes
    return kept if waste <= weigh_heavy(fresh.registry_bytes) else fresh


def _agree(contents: Sequence[Content]) -> Sequence[Content]:
    """Return the cells with one need for each artifact, the strictest, and one size, the largest.

    What one Python needs to run may be nothing to the next: a layer that both have has to stand where both can take
    it. And of two locks one may know a size that the other does not.
    """
    agreed: dict[str, tuple[Need, int | None]] = {}
    for artifact in (it for content in contents for it in content.artifacts):
        need, size = agreed.setdefault(artifact.key, (artifact.need, artifact.size))
        if (need, size) != (artifact.need, artifact.size):
            largest = max((it for it in (size, artifact.size) if it is not None), default=None)
            agreed[artifact.key] = max(need, artifact.need, key=_STRICTNESS.index), largest

    def agree(artifact: Artifact) -> Artifact:
        need, size = agreed[artifact.key]
        return artifact if (artifact.need, artifact.size) == (need, size) else replace(artifact, need=need, size=size)

    return [replace(content, artifacts=frozenset(map(agree, content.artifacts))) for content in contents]


def _assemble(contents: Sequence[Content], budget: int, unknown: int, chains: Sequence[tuple[Layer, ...]]) -> Plan:
    cells = tuple(PlannedCell(content=content, layers=chain) for content, chain in zip(contents, chains, strict=True))
    return Plan(budget=budget, unknown=unknown, cells=cells)


def _plan_anew(contents: Sequence[Content], budget: int, unknown: int) -> list[tuple[Layer, ...]]:
    chains: dict[str, tuple[Layer, ...]] = {}
    for base in sorted({content.base for content in contents}):
        here = [content for content in contents if content.base == base]
        groups = group_artifacts([content.artifacts for content in here], [budget] * len(here), unknown)
        made: dict[frozenset[Artifact], Layer] = {}
        for group in (group for cell in groups for group in cell):
            if group.artifacts not in made:
                made[group.artifacts] = make_layer(base, group.artifacts, unknown)
        ordered = order_layers([[made[group.artifacts] for group in cell] for cell in groups])
        chains |= {content.id: chain for content, chain in zip(here, ordered, strict=True)}
    return [chains[content.id] for content in contents]


def _packages(artifacts: Iterable[Artifact]) -> Iterable[Artifact]:
    return (artifact for artifact in artifacts if artifact.kind is not Kind.LINK)
