"""The replica as a project of imgbuild: definitions of its cells, sources that lead to its server, and a lock."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from benchmarks.copies import BUMPED
from benchmarks.replica import CHANNEL
from builder.inputs import digest_inputs
from builder.lock import Environment, Lock, write_lock
from builder.locking import make_job
from builder.matrix import expand_cells
from builder.project import Project, load_project
from tests.kit.base import IMAGE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from benchmarks.copies import Copy, ReplicaCell
    from benchmarks.replica import Replica

BASE = "kit"


def write_replica_project(root: Path, cells: Iterable[ReplicaCell], server: str) -> None:
    """Write the definitions and the sources. A definition has every Python with every CUDA, and the sample has not.

    So there is one image for the CUDAs that have the same Pythons.
    """
    pythons: dict[str, tuple[str, ...]] = {}
    for cell in cells:
        pythons[cell.cuda] = (*pythons.get(cell.cuda, ()), cell.python)
    images: dict[tuple[str, ...], tuple[str, ...]] = {}
    for cuda, shared in pythons.items():
        images[shared] = (*images.get(shared, ()), cuda)
    widest = max(images, key=lambda shared: len(shared) * len(images[shared]))
    for shared, cudas in images.items():
        name = "-".join(["replica", *(() if shared == widest else (f"cu{cuda}".replace(".", "") for cuda in cudas))])
        path = root / "images" / name / "image.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_define_image(name, shared, cudas), encoding="utf-8")
    sources = {
        "bases": {BASE: IMAGE},
        "conda": {CHANNEL: f"{server}/conda"},
        "pip": {"index-url": f"{server}/simple"},
        "network": "host",
    }
    (root / "sources.yaml").write_text(json.dumps(sources, indent=1), encoding="utf-8")  # JSON is YAML


def _define_image(name: str, pythons: Iterable[str], cudas: Iterable[str]) -> str:
    return f"""\
name: {name}
base: {BASE}
channels: ["{CHANNEL}"]
matrix:
  python: {json.dumps(list(pythons))}
  cuda: {json.dumps(list(cudas))}
  torch: none
conda: [{BUMPED["conda"]}]
pip: [{BUMPED["pip"]}]
"""


def write_replica_locks(root: Path, replica: Replica, bumped: frozenset[Copy]) -> Project:
    """Return the project, whose locks now have every cell of its definitions, with `bumped` in their next version."""
    project = load_project(root)
    contents = {(cell.python, cell.cuda): cell for cell in replica.cells}
    for definition in project.definitions:
        environments = []
        for cell in expand_cells(definition)[0]:
            content = contents[str(cell.python), str(cell.cuda)]
            environments.append(
                Environment(
                    name=cell.environment,
                    inputs=digest_inputs(make_job(project, cell)),
                    channels=(CHANNEL,),
                    conda=replica.lock_conda(content, bumped),
                    pip=replica.lock_pip(content, bumped),
                )
            )
        write_lock(Lock(environments=tuple(environments)), project.lock_path(definition.name))
    return project
