"""Compare the matrix and its locks with what a registry has. Pure: others have read both.

An image is judged by its labels, which the cell's lock, definition and base decide to the letter.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from builder.definition_aliases import CELL_TAG, LASTING_TAG, WAITING_TAG
from builder.render import LABEL, OCI

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from builder.errors import RegistryError
    from builder.matrix import Cell
    from builder.registry.image import PublishedImage

CellState = Literal["up to date", "missing", "stale", "wrong", "incomplete", "unlocked", "unknown"]
TagState = Literal["orphaned", "alias", "immutable", "staged", "foreign"]

_FACTS = ("image", "python", "cuda", "torch")
"""What the tag says too: labels that differ from it are not those of this image."""

_MOVED = {
    f"{LABEL}.packages": "the lock has other packages",
    f"{LABEL}.checks": "it has passed other checks",
    f"{OCI}.base.name": "the base is another",
    f"{OCI}.base.digest": "the base has moved",
}

_ATTACHED = re.compile(r"sha(?:256|512)-[0-9a-f]{64,128}(?:\..*)?")
"""Tags under which clients keep what is attached to an image, in registries without the referrers API."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a registry should have of a cell: `labels` are None where its lock will not do, and `why` says so.

    `base` is what its base is now, or why that cannot be told; None where a digest pins it, or nobody has asked.
    """

    cell: Cell
    repository: str
    labels: Mapping[str, str] | None
    why: str = ""
    base: PublishedImage | RegistryError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CellStatus:
    """How a cell's image is in a registry, and why it is not as it should be; `digest` is None where there is none."""

    cell: str
    ref: str
    state: CellState
    reasons: tuple[str, ...]
    digest: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TagStatus:
    """A tag that no cell has. Only one that a cell had once is a fault: orphaned."""

    ref: str
    state: TagState
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What a registry has of a project."""

    registry: str
    cells: tuple[CellStatus, ...]
    tags: tuple[TagStatus, ...]

    @property
    def counts(self) -> Counter[str]:
        """How many cells and tags are in each state."""
        return Counter([*(it.state for it in self.cells), *(it.state for it in self.tags)])

    @property
    def faults(self) -> Counter[str]:
        """`counts` of the states that somebody has to do something about."""
        fine = {"up to date", "alias", "immutable", "staged", "foreign"}
        return Counter({state: count for state, count in self.counts.items() if state not in fine})


def judge_cell(wanted: Wanted, found: PublishedImage | RegistryError | None, host: str) -> CellStatus:
    """Return the status of a cell; what was found under its tag may be no image that can be read, or nothing."""
    digest = None if found is None or isinstance(found, Exception) else found.digest
    state, reasons = _judge(wanted, found)
    ref = f"{host}/{wanted.repository}:{wanted.cell.tag}"
    return CellStatus(cell=wanted.cell.id, ref=ref, state=state, reasons=reasons, digest=digest)


def judge_tags(
    repository: str,
    tags: Iterable[str],
    others: Mapping[str, PublishedImage | None],
    known: Mapping[str, str],
    host: str,
) -> tuple[TagStatus, ...]:
    """Return the status of the tags of a repository that no cell has.

    `others` are the images under the definition's aliases and under the tags that `needs_reading` names, None where
    there is no image of imgbuild's; `known` has the cells' tags by the digests that these mean.
    """
    found = []
    for tag in tags:
        state: TagState
        if _ATTACHED.fullmatch(tag):
            continue
        if tag not in others and CELL_TAG.fullmatch(tag):
            state, text = "orphaned", "no cell has this tag any more"
        elif LASTING_TAG.fullmatch(tag):
            state, text = "immutable", ""
        elif WAITING_TAG.fullmatch(tag):
            state, text = "staged", ""
        elif image := others.get(tag):
            state, text = "alias", f"means {known.get(image.digest, 'an image that no cell has now')}"
        else:
            state, text = "foreign", "not imgbuild's"
        found.append(TagStatus(ref=f"{host}/{repository}:{tag}", state=state, text=text))
    return tuple(found)


def tell_staged(cell: CellStatus, tags: Iterable[TagStatus]) -> CellStatus:
    """Return the status of a cell; one that is missing tells which images of it are staged."""
    if cell.state != "missing":
        return cell
    waiting = (it.ref for it in tags if it.state == "staged" and it.ref.startswith(f"{cell.ref}-"))
    return replace(
        cell, reasons=tuple(f"{ref.rpartition(':')[2]} waits for `imgbuild test --promote`" for ref in waiting)
    )


def needs_reading(tag: str) -> bool:
    """Return whether a tag that no cell has tells nothing by itself: it may be an alias, or somebody else's."""
    return not any(form.fullmatch(tag) for form in (CELL_TAG, LASTING_TAG, WAITING_TAG, _ATTACHED))


def describe_status(status: Status) -> dict[str, object]:
    """Return a status as plain values for JSON."""
    return {
        "registry": status.registry,
        "cells": [
            {"cell": it.cell, "ref": it.ref, "state": it.state, "reasons": list(it.reasons), "digest": it.digest}
            for it in status.cells
        ],
        "tags": [{"ref": it.ref, "state": it.state} for it in status.tags],
    }


def _judge(wanted: Wanted, found: PublishedImage | RegistryError | None) -> tuple[CellState, tuple[str, ...]]:
    if isinstance(found, Exception):
        return "wrong", (found.message,)
    if found and (wrong := tuple(_list_wrong(wanted.cell, found))):
        return "wrong", wrong
    if wanted.labels is None:
        return "unlocked", (wanted.why,)
    if found is None:
        return "missing", ()
    moved = tuple(dict.fromkeys((*_list_moved(wanted.labels, found.labels), *_list_base(wanted.base, found))))
    if moved:
        return "stale", moved
    if isinstance(wanted.base, Exception):
        return "unknown", (f"whether its base has moved cannot be told: {wanted.base.message}",)
    return "up to date", ()


def _list_wrong(cell: Cell, found: PublishedImage) -> Iterable[str]:
    if f"{LABEL}.image" not in found.labels:
        yield "it is not imgbuild's: it has no labels of imgbuild"
        return
    told = {"image": cell.image, "python": cell.python, "cuda": cell.cuda or "cpu", "torch": cell.torch or "none"}
    for key in _FACTS:
        if (label := found.labels.get(f"{LABEL}.{key}", "none")) != str(told[key]):
            yield f"its tag says {key} {told[key]}, its label {label}"
    # What the entrypoint goes by: builder/render.py sets it beside the label, from the same cell.
    variable = found.environment.get("IMGBUILD_CUDA", "cpu")
    if (label := found.labels.get(f"{LABEL}.cuda", "none")) != variable:
        yield f"its label says cuda {label}, its environment {variable}"


def _list_moved(labels: Mapping[str, str], found: Mapping[str, str]) -> Iterable[str]:
    for key, value in labels.items():
        if found.get(key) != value:
            yield _MOVED.get(key) or f"its label {key} is {found.get(key, 'missing')}, not {value}"


def _list_base(base: PublishedImage | RegistryError | None, found: PublishedImage) -> Iterable[str]:
    """Yield that an image is not on top of its base: the layers of that come first in it, as they are unpacked."""
    if base and not isinstance(base, Exception) and found.diff_ids[: len(base.diff_ids)] != base.diff_ids:
        yield f"the base has moved; to build on it, pin it in images/bases.yaml by  digest: {base.digest}"
