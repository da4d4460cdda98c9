"""What other ways to cut a matrix into layers would cost, on a real 12-cell lock, and how long planning takes.

    .venv/bin/python -m benchmarks.planner

The figures of docs/layers.md. Bytes are those of the packages as they are downloaded.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import TYPE_CHECKING

from benchmarks.sample import read_sample
from builder.artifacts import Artifact, Kind, Need, list_artifacts
from builder.lock import CondaPackage, Environment
from builder.plan import Content, plan_cells

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from benchmarks.sample import SampleCell

Chains = list[list[frozenset[Artifact]]]
"""The layers of each cell."""

FRONT = {Need.NONE, Need.RUNTIME}
ALONE = 13
"""How many packages have a layer each in the designs that choose them one by one; the rest is one more layer."""


def make_environment(cell: SampleCell) -> Environment:
    conda = tuple(
        CondaPackage(
            name=package.name,
            version=package.version,
            build=package.build,
            url=f"https://conda.example/{package.subdir}/{package.name}-{package.version}-{package.build}.conda",
            md5="",
            sha256="",
            size=package.size,
            depends=package.depends,
            noarch=package.noarch,
        )
        for package in cell.packages
    )
    return Environment(name=f"py{cell.python}-cu{cell.cuda}", inputs="", channels=(), conda=conda, pip=())


def read_contents() -> list[Content]:
    """Return what the cells of the sample install, all on one base."""
    environments = [make_environment(cell) for cell in read_sample()]
    return [Content(id=it.name, base="any", artifacts=frozenset(list_artifacts(it))) for it in environments]


def sum_bytes(artifacts: Iterable[Artifact]) -> int:
    return sum(artifact.size or 0 for artifact in artifacts)


def split_by(cells: Sequence[frozenset[Artifact]], first: Callable[[Artifact], bool]) -> Chains:
    chosen = [frozenset(it for it in cell if first(it)) for cell in cells]
    return [[layer for layer in (one, cell - one) if layer] for one, cell in zip(chosen, cells, strict=True)]


def isolate_first(cells: Sequence[frozenset[Artifact]], rank: Callable[[Artifact], float]) -> Chains:
    chains = []
    for cell in cells:
        alone = sorted(cell, key=lambda it: (-rank(it), it.key))[:ALONE]
        chains.append([*(frozenset([artifact]) for artifact in alone), cell - set(alone)])
    return chains


def measure(chains: Chains) -> tuple[int, int, int]:
    """Return the most layers of a cell, the bytes in a registry, and those on one engine."""
    registry = {layer for chain in chains for layer in chain}
    disk = {tuple(chain[: end + 1]) for chain in chains for end in range(len(chain))}
    return (
        max(map(len, chains)),
        sum(sum_bytes(layer) for layer in registry),
        sum(sum_bytes(chain[-1]) for chain in disk),
    )


def compare_designs(contents: Sequence[Content]) -> Iterator[str]:
    """Yield the lines of a Markdown table: what each way to cut these cells costs."""
    cells = [content.artifacts for content in contents]
    shared = Counter(artifact for cell in cells for artifact in cell)
    unique = plan_cells(contents).unique_bytes
    designs = {
        "one layer for each cell": [[cell] for cell in cells],
        "what all cells have, and the rest": split_by(cells, lambda it: shared[it] == len(cells)),
        "what knows no Python, and the rest": split_by(cells, lambda it: it.need in FRONT),
        "the packages of most cells alone": isolate_first(cells, lambda it: shared[it]),
        "the largest packages alone": isolate_first(cells, lambda it: it.size or 0),
        "the packages that save most alone": isolate_first(cells, lambda it: (shared[it] - 1) * (it.size or 0)),
    }
    yield "| layers by | layers of an image | registry ÷ every package once | one engine |"
    yield "|---|---|---|---|"
    for name, chains in designs.items():
        layers, registry, disk = measure(chains)
        yield f"| {name} | {layers} | {registry / unique:.4f} | {disk / 1e9:.1f} GB |"
    for budget in (100, 14, 8, 4):
        plan = plan_cells(contents, budget=budget)
        name = "exact groups, without their crumbs" if budget == 100 else f"exact groups, merged to {budget}"
        layers = max(len(cell.layers) for cell in plan.cells)
        yield f"| {name} | {layers} | {plan.ratio:.4f} | {plan.disk_bytes / 1e9:.1f} GB |"


def make_large(cells: int, packages: int) -> list[Content]:
    """Return a matrix of images, Pythons and CUDAs in which a part of the packages follows each axis."""
    chance = random.Random(0)
    pools: dict[str, list[Artifact]] = {}

    def pool(owner: str, share: float, need: Need) -> list[Artifact]:
        if owner not in pools:
            pools[owner] = [
                Artifact(
                    kind=Kind.CONDA,
                    need=need,
                    name=f"{owner}-{number}",
                    version="1",
                    url=f"https://conda.example/{owner}-{number}",
                    digest="",
                    size=int(chance.lognormvariate(13, 2)),
                )
                for number in range(int(share * packages))
            ]
        return pools[owner]

    contents = []
    for number in range(cells):
        image, python, cuda = f"image{number // 50}", f"py{number % 5}", f"cu{number // 5 % 10}"
        parts = [
            pool("all", 0.1, Need.RUNTIME),
            pool(cuda, 0.1, Need.NONE),
            pool(python, 0.3, Need.PYTHON_NEEDED),
            pool(image, 0.1, Need.NONE),
            pool(image + python, 0.2, Need.PYTHON_NEEDED),
            pool(python + cuda, 0.1, Need.PYTHON_NEEDED),
            pool(f"{image}{python}{cuda}", 0.1, Need.PYTHON_NEEDED),
        ]
        name = f"{image}-{python}-{cuda}"
        contents.append(Content(id=name, base="any", artifacts=frozenset(it for part in parts for it in part)))
    return contents


def make_random(cells: int, packages: int) -> list[Content]:
    """Return a matrix that no planner can do anything about: nearly every set of cells has packages of its own."""
    chance = random.Random(0)
    known = {artifact for content in make_large(5, packages * 4) for artifact in content.artifacts}
    pool = sorted(known, key=lambda artifact: artifact.key)[:1000]
    return [
        Content(id=f"cell{number:04}", base="b", artifacts=frozenset(chance.sample(pool, packages)))
        for number in range(cells)
    ]


def time_plans(sample: Sequence[Content]) -> None:
    """Print how long planning takes, of the sample and of large matrices."""
    for name, contents in (
        ("12 cells of the sample", sample),
        ("1,000 cells of 300 packages", make_large(1000, 300)),
        ("1,000 cells of 300 of 1,000 packages, drawn by lot", make_random(1000, 300)),
    ):
        began = time.perf_counter()
        plan = plan_cells(contents)
        print(f"\n{name}: planned in {time.perf_counter() - began:.2f} s, ratio {plan.ratio:.4f}")


if __name__ == "__main__":
    found = read_contents()
    print("\n".join(compare_designs(found)))
    time_plans(found)
