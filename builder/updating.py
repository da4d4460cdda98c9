"""Start from a previous plan: published layers stay, and what has changed goes into small layers on top.

A layer stays with a cell while everything in it is either wanted there or was replaced by another version, which a
layer above it installs. The replaced files are dead weight: where they are heavy, layers are given up. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import takewhile
from typing import TYPE_CHECKING

from builder.artifacts import Need, sum_sizes
from builder.grouping import group_artifacts, weigh_heavy
from builder.layers import Layer, make_layer
from builder.ordering import OrderError, order_layers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builder.artifacts import Artifact

    Chain = tuple[Layer, ...]
    Wanted = tuple[str, frozenset[Artifact]]

UPDATES = 4
"""How many layers more than the budget of a new plan an image may get by updates."""

_SIDES = 2
"""How many layers hold what is missing, at least: what Python needs to run and what needs Python are kept apart."""

_FIRST = frozenset({Need.RUNTIME, Need.PYTHON})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Start:
    """What a cell begins with: published layers, first those whose place in the chain is settled."""

    chain: Chain
    loose: Chain = ()

    @property
    def layers(self) -> Chain:
        return self.chain + self.loose


def update_layers(
    previous: Mapping[str, Chain], cells: Mapping[str, Wanted], *, budget: int, unknown: int
) -> dict[str, Chain] | None:
    """Return the layers of each cell, with as many of the previous ones as can stay.

    `cells` has the base and the artifacts of each cell. None when a cell has no room left for what is new, or its
    published layers and what is new cannot be put in order.
    """
    limit = budget + UPDATES
    published = _refresh(previous, {it.key: it for _, artifacts in cells.values() for it in artifacts}, unknown)
    starts = {
        name: _keep(published[name], base, artifacts, unknown)
        if name in published
        else _reuse(list(published.values()), base, artifacts, limit)
        for name, (base, artifacts) in cells.items()
    }
    chains: dict[str, Chain] = {}
    for base in sorted({base for base, _ in cells.values()}):
        names = sorted(name for name, (found, _) in cells.items() if found == base)
        rooms = [limit - len(starts[name].layers) for name in names]
        missing = [_find_missing(starts[name].layers, cells[name][1]) for name in names]
        if any(found and room < 1 for found, room in zip(missing, rooms, strict=True)):
            return None
        added = _group_missing(base, missing, rooms, unknown)
        try:
            loose = order_layers([starts[name].loose + found for name, found in zip(names, added, strict=True)])
        except OrderError:
            return None
        chains |= {name: starts[name].chain + found for name, found in zip(names, loose, strict=True)}
    # One layer of room is not enough where both what Python needs to run and what needs Python have changed.
    return None if any(len(chain) > limit for chain in chains.values()) else chains


def _refresh(chains: Mapping[str, Chain], wanted: Mapping[str, Artifact], unknown: int) -> dict[str, Chain]:
    """Return the published chains with what the locks say of each artifact, by its key.

    Of those that no lock has any more, what was published tells what they were.
    """
    published = {layer.id: layer for chain in chains.values() for layer in chain}
    fresh = {
        id_: make_layer(layer.base, (wanted.get(it.key, it) for it in layer.artifacts), unknown, layer.replaced)
        for id_, layer in published.items()
    }
    return {name: tuple(fresh[layer.id] for layer in chain) for name, chain in chains.items()}


def _keep(chain: Chain, base: str, artifacts: frozenset[Artifact], unknown: int) -> _Start:
    """Return the layers of a cell that stay: nothing unwanted in them, and little that is replaced.

    Above the first that does not stay, the chain is another anyway, and the others find their places anew.
    """
    wanted = {artifact.slot: artifact for artifact in artifacts}
    allowed = weigh_heavy(sum_sizes(artifacts, unknown))
    stays = [layer for layer in chain if layer.base == base and all(it.slot in wanted for it in layer.artifacts)]
    while True:
        stays = _drop_baseless(stays)
        dead = {
            layer.id: sum_sizes((it for it in layer.artifacts if wanted[it.slot] != it), unknown) for layer in stays
        }
        if sum(dead.values()) <= allowed:
            same = sum(1 for _ in takewhile(lambda pair: pair[0] is pair[1], zip(_settle(chain), stays, strict=False)))
            return _Start(chain=tuple(stays[:same]), loose=tuple(stays[same:]))
        stays.remove(max(stays, key=lambda layer: (dead[layer.id], layer.id)))


def _settle(chain: Chain) -> Chain:
    """Return the beginning of a chain in which nothing needs Python before there is one.

    All of it, unless the locks say now that a package needs Python which did not when it was published.
    """
    has_python = False
    for number, layer in enumerate(chain):
        has_python |= layer.has_python
        if layer.needs_python and not has_python:
            return chain[:number]
    return chain


def _drop_baseless(layers: Sequence[Layer]) -> list[Layer]:
    """Return the layers whose replaced packages are below them: without those, their content would be another."""
    below: set[str] = set()
    stays = []
    for layer in layers:
        if below.issuperset(layer.replaced):
            stays.append(layer)
            below |= {artifact.key for artifact in layer.artifacts}
    return stays


def _reuse(chains: Sequence[Chain], base: str, artifacts: frozenset[Artifact], limit: int) -> _Start:
    """Return published layers that a new cell can have as they are: the best beginning of a chain, and any others.

    They are so few that within the limit there is room for what they lack, before Python and after it.
    """
    begins = [_begin(chain, base, artifacts) for chain in chains]
    best = max(begins, key=lambda chain: (sum(it.size for it in chain), [it.id for it in chain]), default=())
    present = {artifact for layer in best for artifact in layer.artifacts}
    published = {layer.id: layer for chain in chains for layer in chain if _fits(layer, base, artifacts)}
    others = []
    for layer in sorted(published.values(), key=lambda layer: (-layer.size, layer.id)):
        if present.isdisjoint(layer.artifacts):
            others.append(layer)
            present.update(layer.artifacts)
    if len(best) + len(others) > limit or _find_missing((*best, *others), artifacts):
        limit -= _SIDES
    return _Start(chain=best[:limit], loose=tuple(others[: max(limit - len(best), 0)]))


def _begin(chain: Chain, base: str, artifacts: frozenset[Artifact]) -> Chain:
    """Return the beginning of a chain that fits another cell; Python is complete in it before anything uses it."""
    first = {artifact for artifact in artifacts if artifact.need in _FIRST}
    begin: list[Layer] = []
    for layer in chain:
        first.difference_update(layer.artifacts)
        if not _fits(layer, base, artifacts) or (layer.needs_python and first):
            break
        begin.append(layer)
    return tuple(begin)


def _fits(layer: Layer, base: str, artifacts: frozenset[Artifact]) -> bool:
    return layer.base == base and not layer.replaced and artifacts.issuperset(layer.artifacts)


def _find_missing(layers: Chain, artifacts: frozenset[Artifact]) -> dict[Artifact, str]:
    """Return what a cell wants and its layers do not end up with, and the key of what each replaces (or nothing)."""
    present = {artifact.slot: artifact for layer in layers for artifact in layer.artifacts}
    keys = {slot: artifact.key for slot, artifact in present.items()}
    return {it: keys.get(it.slot, "") for it in artifacts if present.get(it.slot) != it}


def _group_missing(
    base: str, missing: Sequence[Mapping[Artifact, str]], rooms: Sequence[int], unknown: int
) -> list[Chain]:
    """Return the layers that hold what is missing; an artifact that replaces another is not the one that does not."""
    marked = {
        (artifact, old): replace(artifact, lands=f"{artifact.lands} replaces {old}")
        for cell in missing
        for artifact, old in cell.items()
    }
    plain = {marked[pair]: pair for pair in marked}
    groups = group_artifacts([[marked[pair] for pair in cell.items()] for cell in missing], rooms, unknown)
    return [
        tuple(
            make_layer(
                base,
                (plain[it][0] for it in group.artifacts),
                unknown,
                filter(None, (plain[it][1] for it in group.artifacts)),
            )
            for group in cell
        )
        for cell in groups
    ]
