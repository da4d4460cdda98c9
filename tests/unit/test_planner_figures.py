"""What the planner promises on a real lock of 12 cells (benchmarks/data)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.planner import compare_designs, make_large, read_contents
from builder.plan import Content, plan_cells

if TYPE_CHECKING:
    from builder.artifacts import Artifact

LAYERS = Path(__file__).parents[2] / "docs" / "layers.md"


def test_designs_cost_what_the_table_of_the_docs_says() -> None:
    section = LAYERS.read_text(encoding="utf-8").partition("\n## What it costs")[2].partition("\n## ")[0]
    table = [line.replace("*", "") for line in section.splitlines() if line.startswith("|")]
    assert table == list(compare_designs(read_contents()))


@pytest.mark.parametrize(("budget", "ratio"), [(14, 1.005), (8, 1.02)])
def test_real_matrix_costs_little_more_than_its_unique_bytes(budget: int, ratio: float) -> None:
    plan = plan_cells(read_contents(), budget=budget)
    assert plan.ratio <= ratio
    assert max(len(cell.layers) for cell in plan.cells) <= budget
    assert plan.naive_bytes == pytest.approx(43.1e9, rel=0.01)
    assert plan.disk_bytes <= 1.06 * plan.unique_bytes


def test_newer_package_of_a_real_matrix_is_all_that_is_published() -> None:
    contents = read_contents()
    before = plan_cells(contents)
    known = {layer.id for layer in before.layers}
    for name in ("numpy", "libcublas", "requests", "pytorch", "pip"):
        changed = [
            Content(
                id=it.id,
                base=it.base,
                artifacts=frozenset(
                    artifact if artifact.name != name else newer(artifact) for artifact in it.artifacts
                ),
            )
            for it in contents
        ]
        after = plan_cells(changed, previous=before.published)
        new = [layer for layer in after.layers if layer.id not in known]
        bumped = {artifact for it in after.cells for artifact in it.content.artifacts if artifact.name == name}
        assert {artifact for layer in new for artifact in layer.artifacts} == bumped, name
        assert sum(layer.size for layer in new) == sum(artifact.size or 0 for artifact in bumped)


def newer(artifact: Artifact) -> Artifact:
    return replace(artifact, version="99", url=artifact.url.replace(artifact.version, "99"))


def test_large_matrix_is_cut_at_its_axes() -> None:
    plan = plan_cells(make_large(200, 300))
    assert plan.ratio == 1.0
