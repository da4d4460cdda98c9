"""Turn definitions into cells: which image, Python and CUDA go together, why others do not, which were asked for.

The compatibility table decides, before any network or engine work.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, TypedDict

from packaging.version import Version

from builder.compat import (
    Source,
    TorchBuild,
    find_builds,
    measure_distance,
    name_cuda,
    name_pair,
    name_variant,
    nearest,
    never_released,
    why_not,
)
from builder.definition_values import suggest
from builder.errors import CellError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from builder.definition import Definition

NEAREST_SHOWN = 3

Pair = tuple[Version, Version | None]


class _Query(TypedDict):
    python: Version
    cuda: Version | None
    torch: Version | None
    sources: tuple[Source, ...]
    arches: tuple[str, ...]
    trio: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One image of the matrix. `cuda` is None for CPU; `torch` and `build` are None in an image without torch."""

    image: str
    python: Version
    cuda: Version | None
    torch: Version | None
    build: TorchBuild | None

    @property
    def id(self) -> str:
        """The cell's name: `pytorch-py3.10-cu118`."""
        return f"{self.image}-{_name_pair(self.python, self.cuda)}"

    @property
    def variant(self) -> str:
        """The CUDA variant as PyTorch's wheel indexes name it: `cu118` or `cpu`."""
        return name_variant(self.cuda)

    @property
    def environment(self) -> str:
        """The cell's key in its image's lock: `py310-cu118`."""
        return f"py{self.python.major}{self.python.minor}-{self.variant}"

    @property
    def tag(self) -> str:
        """The cell's tag: `2.7.1-cu118-py310`, or `cpu-py310` without torch."""
        parts = [str(self.torch)] if self.torch else []
        return "-".join([*parts, name_pair(self.python, self.cuda)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Excluded:
    """A pair of the matrix that cannot be an image, and why."""

    image: str
    python: Version
    cuda: Version | None
    reason: str


def expand_cells(definition: Definition) -> tuple[tuple[Cell, ...], tuple[Excluded, ...]]:
    """Return the cells of a definition in the order of its axes, and the pairs that cannot exist."""
    cells, excluded = [], []
    for python, cuda in product(definition.python, definition.cuda):
        if reason := _why_not(definition, (python, cuda)):
            excluded.append(Excluded(image=definition.name, python=python, cuda=cuda, reason=reason))
        else:
            build = _find_builds(definition, (python, cuda))[0] if definition.torch.wanted else None
            torch = build.torch if build else None
            cells.append(Cell(image=definition.name, python=python, cuda=cuda, torch=torch, build=build))
    return tuple(cells), tuple(excluded)


def select_cells(
    definitions: Sequence[Definition],
    *,
    image: str | Iterable[str] | None = None,
    python: str | Iterable[str] | None = None,
    cuda: str | Iterable[str] | None = None,
) -> tuple[Cell, ...]:
    """Return the cells that match, in the order of the definitions; an axis that is not given matches everything.

    Every value that is asked for has to have a cell, and so has every combination of them (in each image that is
    named; else in any). Otherwise CellError says why not, what would make it exist, and which cells are nearest.
    """
    names = _list_values(image)
    groups: list[tuple[str, ...]] = [(name,) for name in names] or [()]
    pythons: list[tuple[Version, ...]] = [(parse_python(text),) for text in _list_values(python)] or [()]
    cudas: list[tuple[Version | None, ...]] = [(parse_cuda(text),) for text in _list_values(cuda)] or [()]
    chosen = _choose_definitions(definitions, names)
    cells = [cell for definition in chosen for cell in expand_cells(definition)[0]]
    selected = set[Cell]()
    for group, wanted_python, wanted_cuda in product(groups, pythons, cudas):
        found = [
            cell
            for cell in cells
            if _allows(group, cell.image) and _allows(wanted_python, cell.python) and _allows(wanted_cuda, cell.cuda)
        ]
        if not found:
            candidates = [definition for definition in chosen if _allows(group, definition.name)]
            raise _explain_missing(candidates, wanted_python, wanted_cuda, cells)
        selected.update(found)
    return tuple(cell for cell in cells if cell in selected)


def find_cells(definitions: Sequence[Definition], ids: Iterable[str]) -> tuple[Cell, ...]:
    """Return the cells that have these ids, in the order of the definitions. Raises CellError for an id of none."""
    cells = [cell for definition in _choose_definitions(definitions, ()) for cell in expand_cells(definition)[0]]
    wanted, known = set(ids), {cell.id for cell in cells}
    for unknown in sorted(wanted - known):
        raise CellError(f"there is no cell {unknown!r}", hint=suggest(unknown, known))
    return tuple(cell for cell in cells if cell.id in wanted)


def matrix_as_json(definitions: Iterable[Definition]) -> dict[str, list[dict[str, str | None]]]:
    """Return every cell and every excluded pair as plain values; CPU is "cpu", no torch is None."""
    expanded = [expand_cells(definition) for definition in definitions]
    return {
        "cells": [
            {
                "id": cell.id,
                "image": cell.image,
                "python": str(cell.python),
                "cuda": str(cell.cuda or "cpu"),
                "torch": str(cell.torch) if cell.torch else None,
            }
            for cells, _ in expanded
            for cell in cells
        ],
        "excluded": [
            {
                "image": pair.image,
                "python": str(pair.python),
                "cuda": str(pair.cuda or "cpu"),
                "reason": pair.reason,
            }
            for _, excluded in expanded
            for pair in excluded
        ],
    }


def parse_python(text: str) -> Version:
    """Return the Python that `3.10`, `310` or `py310` names. Raises CellError."""
    if found := re.fullmatch(r"(?:py(?:thon)?)?3\.?(0|[1-9][0-9]?)", text.strip().lower()):
        return Version(f"3.{found[1]}")
    raise CellError(f"{text!r} is not a Python minor version", hint="write it like 3.10")


def parse_cuda(text: str) -> Version | None:
    """Return the CUDA that `11.8`, `118` or `cu118` names, or None for `cpu`. Raises CellError."""
    if text.strip().lower() == "cpu":
        return None
    if found := re.fullmatch(r"(?:cu(?:da)?)?([0-9]{2})\.?([0-9])", text.strip().lower()):
        return Version(f"{found[1]}.{found[2]}")
    raise CellError(f"{text!r} is not a CUDA version", hint="write it like 11.8 or cu118, or cpu")


def _find_builds(definition: Definition, pair: Pair) -> tuple[TorchBuild, ...]:
    return find_builds(**_as_query(definition, pair))


def _why_not(definition: Definition, pair: Pair) -> str | None:
    if definition.torch.wanted:
        return why_not(**_as_query(definition, pair))
    return f"{name_cuda(pair[1])} was never released" if never_released(pair[1]) else None


def _as_query(definition: Definition, pair: Pair) -> _Query:
    python, cuda = pair
    return {
        "python": python,
        "cuda": cuda,
        "torch": definition.torch.version_for(cuda),
        "sources": definition.torch_source,
        "arches": definition.gpu_arches,
        "trio": definition.has_trio,
    }


def _choose_definitions(definitions: Sequence[Definition], names: Sequence[str]) -> list[Definition]:
    known = [definition.name for definition in definitions]
    if not known:
        raise CellError("there is no image", hint="write images/<name>/image.yaml")
    for name in names:
        if name not in known:
            raise CellError(f"there is no image {name!r}", hint=suggest(name, known))
    return [definition for definition in definitions if not names or definition.name in names]


def _explain_missing(
    candidates: Sequence[Definition],
    python: tuple[Version, ...],
    cuda: tuple[Version | None, ...],
    cells: Sequence[Cell],
) -> CellError:
    """Return the error for a selection without a cell, told for the image that comes closest to having one."""
    closest = min(candidates, key=lambda image: (len(_list_absent(image, python, cuda)), not image.torch.wanted))
    absent = _list_absent(closest, python, cuda)
    pairs = list(product(python or closest.python, cuda or closest.cuda))
    reasons = [reason for pair in pairs if (reason := _why_not(closest, pair))]
    asked = " and ".join([f"Python {value}" for value in python] + [name_cuda(value) for value in cuda])
    hints = []
    if len(reasons) == len(pairs):
        reason = reasons[0]
    else:
        possible = next(pair for pair in pairs if not _why_not(closest, pair))
        reason = f"{' and '.join(f'{axis} {value}' for axis, value, _ in absent)} not in its matrix ({closest.path})"
        torch = (
            f"torch {_find_builds(closest, possible)[0].torch} exists for it" if closest.torch.wanted else "to add it"
        )
        lines = " and ".join(line for _, _, line in absent)
        hints.append(f"{torch}: write  {lines}  under matrix: in {closest.path}")
    hints.append(f"nearest: {', '.join(_list_nearest(closest, pairs[0], cells)) or 'none'}")
    return CellError(f"{closest.name} has no cell for {asked or 'any pair'}: {reason}", hint="\n  → ".join(hints))


def _list_absent(
    definition: Definition, python: tuple[Version, ...], cuda: tuple[Version | None, ...]
) -> list[tuple[str, str, str]]:
    """Return the axis, the value and the YAML line that would add it, of all that is asked and not in the matrix."""
    absent = []
    for axis, asked, own in (("python", python, definition.python), ("cuda", cuda, definition.cuda)):
        for value in asked:
            if value not in own:
                versions = sorted(version for version in {*own, value} if version)
                items = [f'"{version}"' for version in versions] + ["cpu"] * (None in {*own, value})
                absent.append((axis, str(value or "cpu"), f"{axis}: [{', '.join(items)}]"))
    return absent


def _list_nearest(definition: Definition, asked: Pair, cells: Sequence[Cell]) -> list[str]:
    """Return the ids of the nearest cells, the definition's own first; without any, what the table has."""
    ranked = sorted(
        cells, key=lambda cell: (cell.image != definition.name, measure_distance(asked, (cell.python, cell.cuda)))
    )
    if ranked:
        return [cell.id for cell in ranked[:NEAREST_SHOWN]]
    query = _as_query(definition, asked)
    pairs = nearest(python=asked[0], cuda=asked[1], torch=query["torch"], sources=query["sources"])
    return [_name_pair(*pair) for pair in pairs[:NEAREST_SHOWN]]


def _name_pair(python: Version, cuda: Version | None) -> str:
    return f"py{python}-{name_variant(cuda)}"


def _allows(wanted: tuple[object, ...], value: object) -> bool:
    return not wanted or value in wanted


def _list_values(value: str | Iterable[str] | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())
