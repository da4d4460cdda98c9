"""The sample: a real lock of 12 cells, 3 Pythons with up to 5 CUDAs, as `data/pixi-sample.json` has it.

It is the pixi.lock of the public repository intMinsu/pixi-sample without its environment `default`; of each package
only what a replica needs is kept: name, version, build, subdir, noarch, size, depends.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

PATH = Path(__file__).parent / "data" / "pixi-sample.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplePackage:
    """One conda package of the sample; `size` is that of its archive, in bytes."""

    name: str
    version: str
    build: str
    subdir: str
    size: int
    noarch: str | None = None
    depends: tuple[str, ...] = ()

    @property
    def needs(self) -> frozenset[str]:
        """The names of the packages that it depends on."""
        return frozenset(re.split(r"[ =<>!~]", spec, maxsplit=1)[0] for spec in self.depends)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleCell:
    """One environment of the sample, by its Python ("3.10") and CUDA ("12.1")."""

    python: str
    cuda: str
    packages: tuple[SamplePackage, ...]


def read_sample(path: Path = PATH) -> tuple[SampleCell, ...]:
    """Return the cells of the sample in the order of the file."""
    data = json.loads(path.read_text(encoding="utf-8"))
    packages = [SamplePackage(**{**node, "depends": tuple(node.get("depends", ()))}) for node in data["packages"]]
    cells = []
    for name, indexes in data["cells"].items():
        found = re.fullmatch(r"py3(\d+)cu(\d+)(\d)", name)
        if found is None:
            raise ValueError(f"{path}: {name} does not name a Python and a CUDA")
        chosen = tuple(packages[index] for index in indexes)
        cells.append(SampleCell(python=f"3.{found[1]}", cuda=f"{found[2]}.{found[3]}", packages=chosen))
    return tuple(cells)
