"""The matrix of images/ as if it had been published, for the tests of the catalogue and its picture in the README.

Sizes, digests and packages are made up. `python -m tests.catalogue FILE` writes it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.compat import driver_for, name_driver
from builder.matrix import expand_cells
from builder.project import load_project
from tests.samples import PROJECT, digest

if TYPE_CHECKING:
    from builder.matrix import Cell

_MEGABYTES = {"base": 90, "pytorch": 260, "jupyter": 340, "jupyter-ssh": 360, "train": 480}


def make_node(own: str = "registry.example/team/pytorch:2.7.1-cu118-py310", **more: Any) -> dict[str, Any]:
    """Return one entry as the file has it; `own` is its ref."""
    packages = [
        {"name": "numpy", "version": "2.2.6", "kind": "conda"},
        {"name": "python", "version": "3.10.18", "kind": "conda"},
        {"name": "torch", "version": "2.7.1+cu118", "kind": "pip"},
    ]
    before = [
        {"name": "numpy", "version": "2.2.5", "kind": "conda"},
        {"name": "python", "version": "3.10.18", "kind": "conda"},
        {"name": "six", "version": "1.17.0", "kind": "pip"},
    ]
    node = {
        "image": "pytorch",
        "ref": own,
        "digest": f"sha256:{digest(own)}",
        "python": "3.10",
        "cuda": "11.8",
        "torch": "2.7.1",
        "min_driver": "450.80.02",
        "arches": ["sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"],
        "compressed": 3_100_000_000,
        "unpacked": 6_900_000_000,
        "created": "2026-08-13T09:30:00Z",
        "revision": "0" * 40,
        "packages": packages,
        "verdicts": [
            {"check": "python-version", "verdict": "pass", "detail": "3.10"},
            {"check": "torch-cuda", "verdict": "pass", "detail": "11.8"},
            {"check": "gpu-memory", "verdict": "skip", "detail": "no GPU here"},
        ],
        "previous": {"digest": f"sha256:{digest('before' + own)}", "packages": before},
    }
    return node | more


def make_cpu_node(**more: Any) -> dict[str, Any]:
    """Return an entry that needs no GPU."""
    cpu = {"cuda": "cpu", "torch": "2.14.1", "min_driver": None, "arches": []}
    return make_node("registry.example/team/pytorch:2.14.1-cpu-py310", **{**cpu, **more})


def make_catalogue() -> dict[str, Any]:
    """Return the file for every cell of images/."""
    definitions = load_project(PROJECT).definitions
    cells = [cell for definition in definitions for cell in expand_cells(definition)[0]]
    return {"version": 1, "entries": [_publish(cell) for cell in cells]}


def write_catalogue(path: Path, *nodes: dict[str, Any]) -> Path:
    """Write the file for some entries, or for every cell of images/."""
    document = {"version": 1, "entries": list(nodes)} if nodes else make_catalogue()
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")
    return path


def _publish(cell: Cell) -> dict[str, Any]:
    cuda = f"cu{cell.cuda}".replace(".", "") if cell.cuda else "cpu"
    tag = f"{cell.torch or 'none'}-{cuda}-py{cell.python}".replace("py3.", "py3")
    driver = driver_for(cell.cuda).minimum if cell.cuda else None
    size = 1_000_000 * _MEGABYTES.get(cell.image, 300) + (2_600_000_000 if cell.cuda else 190_000_000)
    return make_node(
        f"registry.example/team/{cell.image}:{tag}",
        image=cell.image,
        python=str(cell.python),
        cuda=str(cell.cuda or "cpu"),
        torch=str(cell.torch) if cell.torch else None,
        min_driver=name_driver(driver) if driver else None,
        arches=list((cell.build and cell.build.arches) or ()) if cell.cuda else [],
        compressed=size,
        unpacked=round(2.2 * size),
    )


if __name__ == "__main__":
    write_catalogue(Path(sys.argv[1]))
