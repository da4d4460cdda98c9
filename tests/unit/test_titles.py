from __future__ import annotations

from builder.plan import Content, plan_cells
from builder.titles import title_layers
from tests.unit.test_plan import make_artifact


def title(*cells: Content, of: str) -> str:
    plan = plan_cells(cells)
    (found,) = (layer for layer in plan.layers if of in {artifact.name for artifact in layer.artifacts})
    return title_layers(plan)[found.id]


def make_cell(python: str, cuda: str, *names: str, image: str = "pytorch") -> Content:
    axes = (("image", image), ("python", python), ("cuda", cuda))
    artifacts = frozenset(make_artifact(name, size=100 - number) for number, name in enumerate(names))
    return Content(id=f"{image}-{python}-{cuda}", base="b", artifacts=artifacts, axes=axes)


def test_title_says_what_its_cells_alone_have_in_common() -> None:
    cells = [
        make_cell("3.10", "12.6", "all", "cuda"),
        make_cell("3.11", "12.6", "all", "cuda"),
        make_cell("3.10", "cpu", "all", "cpu", "own"),
        make_cell("3.11", "cpu", "all", "cpu"),
    ]
    assert title(*cells, of="all") == "every cell: all"
    assert title(*cells, of="cuda") == "CUDA 12.6: cuda"
    assert title(*cells, of="cpu") == "CPU: cpu"
    assert title(*cells, of="own") == "this cell alone: own"


def test_title_counts_cells_that_are_not_all_of_a_kind() -> None:
    cells = [make_cell("3.10", cuda, "some") for cuda in ("11.8", "12.6")]
    cells += [make_cell("3.10", "12.8", "other"), make_cell("3.11", "11.8", "other")]
    assert title(*cells, of="some") == "2 cells of Python 3.10: some"
    assert title(*cells, of="other") == "2 cells: other"


def test_title_names_the_largest_packages() -> None:
    assert title(make_cell("3.10", "cpu", "a", "b", "c", "d", "e"), of="a") == "the only cell: a, b, c and 2 more"
