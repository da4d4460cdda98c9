"""The plan as JSON: `images/imgbuild.plan`, where the next plan starts, and what `imgbuild plan --json` prints."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypedDict

from builder.artifacts import Artifact, Kind, Need
from builder.errors import LockError
from builder.files import write_whole
from builder.layers import Layer
from builder.plan import Content, Published
from builder.titles import title_layers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from builder.plan import Plan, PlannedCell

VERSION = 1
FILE_NAME = "imgbuild.plan"

_HINT = "restore it from version control, or remove it: `imgbuild lock` then makes a new one, with other layers."


def describe_plan(plan: Plan) -> dict[str, Any]:
    """Return a plan as JSON values. Bytes are those of the packages as they are downloaded."""
    titles = title_layers(plan)
    return {
        "version": VERSION,
        "max_layers": plan.budget,
        "naive_bytes": plan.naive_bytes,
        "unique_bytes": plan.unique_bytes,
        "registry_bytes": plan.registry_bytes,
        "disk_bytes": plan.disk_bytes,
        "ratio": plan.ratio,
        "unknown_sizes": plan.unknown_sizes,
        "cells": [_describe_cell(cell, plan, titles) for cell in plan.cells],
        "layers": {layer.id: _describe_layer(layer) for layer in plan.layers},
    }


def read_plan(path: Path) -> Published | None:
    """Return what a plan file says was published, None when there is none. Raises LockError for anything else."""
    try:
        data = json.loads(path.read_bytes())
        if data["version"] != VERSION:
            raise LockError(f"plan version {data['version']}; this imgbuild reads {VERSION}", path=path, hint=_HINT)
        layers = {id_: _parse_layer(node) for id_, node in data["layers"].items()}
        chains = {cell["id"]: tuple(layers[layer["id"]] for layer in cell["layers"]) for cell in data["cells"]}
        budget = data["max_layers"]
        if any(layer.id != id_ for id_, layer in layers.items()) or not _is_sane(budget, layers, chains):
            raise ValueError
        contents = tuple(_parse_content(cell, chains[cell["id"]]) for cell in data["cells"])
        return Published(budget=budget, chains=chains, contents=contents)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LockError(f"cannot be read: {error.strerror}", path=path) from error
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else None
        message = "not a plan that imgbuild wrote, or not all of it"
        raise LockError(message, path=path, line=line, hint=_HINT) from error


def _is_sane(budget: Any, layers: Mapping[str, Layer], chains: Mapping[str, tuple[Layer, ...]]) -> bool:
    """Return whether numbers are numbers that can be, and no chain has a layer twice."""
    sizes = [layer.size for layer in layers.values()]
    sizes += [it.size for layer in layers.values() for it in layer.artifacts if it.size is not None]
    counts = isinstance(budget, int) and budget > 0 and all(isinstance(size, int) and size >= 0 for size in sizes)
    return counts and all(len({layer.id for layer in chain}) == len(chain) for chain in chains.values())


def write_plan(plan: Plan, path: Path) -> None:
    """Write a plan file, all of it or nothing; one that says the same is left alone. Raises LockError."""
    try:
        if not is_written(plan, path):
            write_whole(path, _dump(plan))
    except OSError as error:
        raise LockError(f"cannot be written: {error.strerror}", path=path) from error


def is_written(plan: Plan, path: Path) -> bool:
    """Return whether a plan file says just this. Raises OSError when it is there and cannot be read."""
    return path.exists() and path.read_bytes() == _dump(plan).encode()


def _dump(plan: Plan) -> str:
    return json.dumps(describe_plan(plan), indent=1) + "\n"


class _Cell(TypedDict):
    """What a cell of a plan file has besides its axes, which stand between base and bytes."""

    id: str
    base: str
    bytes: int
    layers: list[dict[str, Any]]


def _describe_cell(cell: PlannedCell, plan: Plan, titles: Mapping[str, str]) -> dict[str, Any]:
    own = _Cell(
        id=cell.id,
        base=cell.content.base,
        bytes=sum(layer.size for layer in cell.layers),
        layers=[
            {
                "id": layer.id,
                "title": titles[layer.id],
                "packages": len(layer.packages),
                "bytes": layer.size,
                "shared_by": plan.shared_by[layer.id],
            }
            for layer in cell.layers
        ],
    )
    return {"id": own["id"], "base": own["base"], **dict(cell.content.axes), **own}


def _describe_layer(layer: Layer) -> dict[str, Any]:
    return {
        "base": layer.base,
        "bytes": layer.size,
        **({"replaced": layer.replaced} if layer.replaced else {}),
        "artifacts": [_describe_artifact(artifact) for artifact in layer.artifacts],
    }


def _describe_artifact(artifact: Artifact) -> dict[str, Any]:
    values = {name: getattr(artifact, name) for name in _FIELDS}
    plain = values | {"kind": artifact.kind.value, "need": artifact.need.value}
    return {name: value for name, value in plain.items() if value not in {"", None, ()}}


_FIELDS = tuple(field.name for field in fields(Artifact) if field.init)


def _parse_content(cell: Mapping[str, Any], chain: tuple[Layer, ...]) -> Content:
    """Return what a cell installs: of what layers replace, the last."""
    artifacts = {artifact.slot: artifact for layer in chain for artifact in layer.artifacts}
    axes = tuple((name, str(value)) for name, value in cell.items() if name not in _Cell.__required_keys__)
    return Content(id=cell["id"], base=cell["base"], artifacts=frozenset(artifacts.values()), axes=axes)


def _parse_layer(node: Mapping[str, Any]) -> Layer:
    artifacts = tuple(_parse_artifact(item) for item in node["artifacts"])
    return Layer(base=node["base"], artifacts=artifacts, size=node["bytes"], replaced=tuple(node.get("replaced", ())))


def _parse_artifact(node: Mapping[str, Any]) -> Artifact:
    return Artifact(
        kind=Kind(node["kind"]),
        need=Need(node["need"]),
        name=node["name"],
        version=node["version"],
        url=node["url"],
        digest=node["digest"],
        lands=node.get("lands", ""),
        size=node.get("size"),
        needs=tuple(node.get("needs", ())),
        index=node.get("index", ""),
    )
