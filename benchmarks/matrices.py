"""The matrices that are measured: the replica of the sample, and the kit's images with the real torch."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

from benchmarks.replica_project import write_replica_locks, write_replica_project
from benchmarks.ways import IMGBUILD
from builder.errors import CellError
from builder.project import load_project
from tests.kit.errors import KitError
from tests.kit.project import CHANNEL, write_sources

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from benchmarks.replica import Replica
    from builder.project import Project

COLD, AGAIN, PIP, CONDA = "cold", "nothing changed", "one pip package newer", "one conda package newer"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaMatrix:
    """The replica of the sample; each bump stays in the phases after it."""

    replica: Replica
    server: str
    title: str
    phases: tuple[str, ...] = (COLD, AGAIN, PIP, CONDA)

    def choose(self, names: Sequence[str]) -> ReplicaMatrix:
        """Return the matrix with the named cells alone, like py39-cu121. Raises CellError on other names."""
        known = {name_cell(cell.python, cell.cuda): cell for cell in self.replica.cells}
        require_known(names, known)
        return replace(self, replica=replace(self.replica, cells=tuple(known[name] for name in dict.fromkeys(names))))

    def write(self, root: Path, phase: str) -> Project:
        """Return the project in a folder, its lock as it is in the phase."""
        managers = {COLD: (), AGAIN: (), PIP: ("pip",), CONDA: ("pip", "conda")}[phase]
        bumped = frozenset(copy for manager in managers for copy in self.replica.find_bumped(manager))
        write_replica_project(root, self.replica.cells, self.server)
        return write_replica_locks(root, self.replica, bumped)


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchMatrix:
    """PyPI's torch for two CUDAs on two of the kit's Pythons: about 3 GB of wheels a cell, so it takes its time.

    The kit's channel has one version of each package, so there is no conda package to bump.
    """

    server: str
    pythons: tuple[str, ...] = ("3.11", "3.13")
    cudas: tuple[str, ...] = ("12.6", "12.8")
    phases: tuple[str, ...] = (COLD, AGAIN, PIP)

    @property
    def title(self) -> str:
        """What it is, in a few words."""
        return f"PyPI's torch for CUDA {' and '.join(self.cudas)}"

    def choose(self, names: Sequence[str]) -> TorchMatrix:
        """Return the matrix with the named cells alone. Raises CellError on others, and where they are no matrix."""
        known = {name_cell(python, cuda): (python, cuda) for python, cuda in product(self.pythons, self.cudas)}
        require_known(names, known)
        pythons, cudas = (tuple(dict.fromkeys(known[name][axis] for name in names)) for axis in (0, 1))
        if len(pythons) * len(cudas) != len(set(names)):
            raise CellError(f"{', '.join(names)} are not every Python with every CUDA")
        return replace(self, pythons=pythons, cudas=cudas)

    def write(self, root: Path, phase: str) -> Project:
        """Return the project in a folder, its lock solved by `imgbuild lock`. Raises KitError when it fails."""
        path = root / "images" / "torch" / "image.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._define_image("4.67.1" if phase == PIP else "4.67.0"), encoding="utf-8")
        sources = root / "sources.yaml"
        sources.write_text(write_sources(self.server), encoding="utf-8")
        argv = (IMGBUILD, "--project", root, "lock", "--sources", sources)
        if subprocess.run(argv, check=False).returncode:
            raise KitError("the matrix with torch was not locked", hint="what went wrong is said above")
        return load_project(root)

    def _define_image(self, tqdm: str) -> str:
        # The releases whose wheel on PyPI is built for that CUDA, so that no other index is needed.
        torch = {"12.6": "2.7.1", "12.8": "2.9.1"}
        chosen = ", ".join(f'"{cuda}": "{torch[cuda]}"' for cuda in self.cudas)
        return f"""\
name: torch
base: kit
channels: ["{CHANNEL}"]
matrix:
  python: [{", ".join(f'"{python}"' for python in self.pythons)}]
  cuda: [{", ".join(f'"{cuda}"' for cuda in self.cudas)}]
  torch: {{{chosen}}}
torch-source: [pypi]
conda: [numpy, pyyaml]
pip: [tqdm=={tqdm}]
"""


def name_cell(python: str, cuda: str) -> str:
    """Return the name of a cell in a matrix: py39-cu121."""
    return f"py{python}-cu{cuda}".replace(".", "")


def require_known(names: Iterable[str], known: Iterable[str]) -> None:
    """Raise CellError unless all names are known."""
    if unknown := sorted(set(names) - set(known)):
        raise CellError(f"no such cell: {', '.join(unknown)}; there are {', '.join(known)}")
