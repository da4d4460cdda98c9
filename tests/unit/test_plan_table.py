from __future__ import annotations

from dataclasses import replace

from builder.plan import plan_cells
from builder.plan_table import draw_plan
from tests.unit.test_plan import make_matrix


def test_table_has_figures_layers_and_cells() -> None:
    text = draw_plan(plan_cells(make_matrix()))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert any(line.endswith("6 1 8.0 MB every cell: libgcc") for line in lines)
    assert any(line.startswith("py3.10-cu11.8 4 1.6 GB 900.0 MB") for line in lines)
    assert "every cell with its own packages 9.9 GB" in lines
    assert "every package once 6.9 GB" in lines
    assert "these layers in a registry 6.9 GB (1.0000 of the line above)" in lines
    assert "these layers on one engine 7.0 GB" in lines


def test_what_would_be_published_is_said() -> None:
    before = plan_cells(make_matrix())
    cells = [
        replace(
            cell,
            artifacts=frozenset(
                replace(it, version="2", url=f"{it.url}-2") if it.name == "six" else it for it in cell.artifacts
            ),
        )
        for cell in make_matrix()
    ]
    after = plan_cells(cells, previous=before.published)
    stay, new = len(before.layers), 3
    said = f"since the plan before: {stay} layers stay, {new} are new (60 kB to publish), in 6 cells"
    assert said in draw_plan(after, before.published)
    assert "nothing differs from the plan before" in draw_plan(before, before.published)


def test_unknown_sizes_are_said() -> None:
    cells = [
        replace(cell, artifacts=frozenset(replace(it, size=None) if it.name == "six" else it for it in cell.artifacts))
        for cell in make_matrix()
    ]
    assert "3 packages without a size in their lock count as" in draw_plan(plan_cells(cells))
