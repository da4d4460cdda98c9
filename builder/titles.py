"""Say in a few words what a layer is: whose it is, by what its cells have in common, and what is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from builder.layers import Layer
    from builder.plan import Plan, PlannedCell

_NAMED = 3


def title_layers(plan: Plan) -> dict[str, str]:
    """Return the title of every layer by its id: `CUDA 12.6: libcublas, cudnn, nccl and 30 more`."""
    owners: dict[str, list[PlannedCell]] = {}
    for cell in plan.cells:
        for layer in cell.layers:
            owners.setdefault(layer.id, []).append(cell)
    return {layer.id: f"{_name_owners(owners[layer.id], plan.cells)}: {_name_content(layer)}" for layer in plan.layers}


def _name_owners(owners: list[PlannedCell], everyone: Iterable[PlannedCell]) -> str:
    """Return what the cells that have a layer, and only they, have in common."""
    all_cells = list(everyone)
    if len(owners) == 1:
        return "this cell alone" if len(all_cells) > 1 else "the only cell"
    if len(owners) == len(all_cells):
        return "every cell"
    named = [axis for axis in owners[0].content.axes if _has_all(owners, axis) and not _has_all(all_cells, axis)]
    text = " and ".join(_name_value(axis, value) for axis, value in named)
    alike = [cell for cell in all_cells if set(named) <= set(cell.content.axes)]
    if text and len(alike) == len(owners):
        return text
    return f"{len(owners)} cells" + (f" of {text}" if text else "")


def _has_all(cells: list[PlannedCell], axis: tuple[str, str]) -> bool:
    return all(axis in cell.content.axes for cell in cells)


def _name_value(axis: str, value: str) -> str:
    match axis, value:
        case "cuda", "cpu":
            return "CPU"
        case "cuda", _:
            return f"CUDA {value}"
        case "python", _:
            return f"Python {value}"
    return value


def _name_content(layer: Layer) -> str:
    """Return the largest packages of a layer by name, and how many more it has."""
    packages = sorted(layer.packages, key=lambda artifact: (-(artifact.size or 0), artifact.name))
    names = list(dict.fromkeys(artifact.name for artifact in packages))
    rest = len(names) - _NAMED
    text = ", ".join(names[:_NAMED]) or "links to wheels that are there"
    return f"{text} and {rest} more" if rest > 0 else text
