"""Put the layers of each cell in an order, so that cells begin alike for as long as they can.

A registry stores a layer once whatever is below it, but an engine stores it once for each chain of layers that it
stands on, and installs it as often. The chains form a tree; the bytes of its nodes are what one engine stores. At each
node the next layer is the one that parts the fewest bytes which its cells share otherwise. Pure.

Sets of cells are bits of an integer (`cellsets`).
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from builder.cellsets import list_cells

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from builder.layers import Layer

_Place = tuple["Layer", int]
"""A layer, and the cells that it is placed in."""

_CANDIDATES = 24
"""How many layers are weighed at each node: those whose sharing saves most."""

_PAIRS = 6_000
"""How many pairs of layers are compared at each node at most: what a matrix of thousands of layers can afford."""


class OrderError(ValueError):
    """Layers cannot be put in order: each would have to stand above the other."""


def order_layers(cells: Sequence[Sequence[Layer]]) -> list[tuple[Layer, ...]]:
    """Return the layers of each cell in the order of installation: what Python needs, Python, what needs Python.

    What replaces something comes after what it replaces. Raises OrderError where both cannot be had.
    """
    where: dict[str, int] = {}
    layers: dict[str, Layer] = {}
    for number, found in enumerate(cells):
        for layer in found:
            layers[layer.id] = layer
            where[layer.id] = where.get(layer.id, 0) | 1 << number
    chains: list[list[Layer]] = [[] for _ in cells]
    places = [(layer, where[layer.id]) for layer in sorted(layers.values(), key=lambda layer: layer.artifacts[0].key)]
    for layer, mask in _walk(places, (1 << len(cells)) - 1):
        for number in list_cells(mask):
            chains[number].append(layer)
    return [tuple(chain) for chain in chains]


def measure_tree(chains: Sequence[Sequence[Layer]]) -> int:
    """Return the bytes of all distinct chains: what an engine stores that has all of them."""
    seen: set[tuple[str, ...]] = set()
    total = 0
    for chain in chains:
        prefix: tuple[str, ...] = ()
        for layer in chain:
            prefix = (*prefix, layer.id)
            total += 0 if prefix in seen else layer.size
            seen.add(prefix)
    return total


def _walk(places: Iterable[_Place], members: int) -> Iterator[_Place]:
    """Yield the nodes of the tree from the root on: a layer, and the cells whose chains pass there."""
    while places := [(layer, rest) for layer, mask in places if (rest := mask & members)]:
        chosen, mask = _choose(places)
        yield chosen, mask
        yield from _walk([place for place in places if place[0] is not chosen], mask)
        members &= ~mask


def _choose(here: Sequence[_Place]) -> _Place:
    """Return the layer that comes next, and the cells it comes next for."""
    everyone = reduce(or_, (mask for _, mask in here))
    allowed = list(_allow(here))
    for layer, mask in allowed:
        if mask == everyone:
            return layer, mask
    if not allowed:
        raise OrderError("layers that have to stand below each other")
    allowed.sort(key=lambda place: -place[0].size * (place[1].bit_count() - 1))

    def part(place: _Place) -> tuple[int, int]:
        chosen, mask = place
        parted = sum(layer.size for layer, found in here if mask & found and found & ~mask and layer is not chosen)
        return parted, -chosen.size * mask.bit_count()

    return min(allowed[: max(min(_CANDIDATES, _PAIRS // len(here)), 1)], key=part)


def _allow(here: Sequence[_Place]) -> Iterator[_Place]:
    """Yield each layer that may come next, with the cells for which it may."""
    runtime = reduce(or_, (mask for layer, mask in here if layer.has_runtime and not layer.has_python), 0)
    python = reduce(or_, (mask for layer, mask in here if layer.has_python), 0)
    for layer, mask in here:
        if layer.has_python:
            mask &= ~runtime
        elif layer.needs_python:
            mask &= ~(runtime | python)
        if layer.replaced:
            mask &= ~reduce(or_, (below for other, below in here if other.has_any(layer.replaced)), 0)
        if mask:
            yield layer, mask
