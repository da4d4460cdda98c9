from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.artifacts import list_artifacts
from builder.errors import LockError
from builder.plan import Content, Plan, plan_cells
from builder.plan_file import describe_plan, read_plan, write_plan
from tests.samples import make_environment, make_python, make_wheel
from tests.unit.test_plan import make_matrix, matrices

if TYPE_CHECKING:
    from pathlib import Path


def make_plan() -> Plan:
    """Return a plan in which a package was replaced and everything that an artifact can carry occurs."""
    nvidia = make_wheel("nvidia-nccl-cu12", url="https://files.example/nvidia_nccl_cu12-2-py3-none-manylinux_2_28.whl")
    tools = [make_wheel("tqdm", version, size=5) for version in ("1", "2")]
    before, after = (
        [
            Content(
                id=f"cell-{python}",
                base="miniforge",
                artifacts=frozenset(
                    list_artifacts(
                        make_environment(conda=make_python(python), pip=[nvidia, tool]), index="cu126", neutral=True
                    )
                ),
                axes=(("image", "pytorch"), ("python", python)),
            )
            for python in ("3.10.16", "3.11.9")
        ]
        for tool in tools
    )
    return plan_cells(after, previous=plan_cells(before).published)


def test_plan_comes_back_from_its_file(tmp_path: Path) -> None:
    plan = make_plan()
    assert any(layer.replaced for layer in plan.layers)
    write_plan(plan, tmp_path / "plan")
    assert read_plan(tmp_path / "plan") == plan.published
    found = {layer.id: layer for layer in plan.layers}
    read = read_plan(tmp_path / "plan")
    assert read is not None
    for chain in read.chains.values():
        for layer in chain:
            assert [repr(it) for it in layer.artifacts] == [repr(it) for it in found[layer.id].artifacts]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(matrices())
def test_any_plan_comes_back(tmp_path: Path, cells: list[Content]) -> None:
    plan = plan_cells(cells)
    write_plan(plan, tmp_path / "plan")
    assert read_plan(tmp_path / "plan") == plan.published


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(matrices(), st.lists(st.sampled_from(["image", "python", "cuda", "torch", "size"]), unique=True))
def test_what_cells_install_comes_back_with_all_their_axes(
    tmp_path: Path, cells: list[Content], axes: list[str]
) -> None:
    told = [replace(cell, axes=tuple((axis, f"{cell.id}'s {axis}") for axis in axes)) for cell in cells]
    write_plan(plan_cells(told), tmp_path / "plan")
    read = read_plan(tmp_path / "plan")
    assert read is not None
    assert read.contents == tuple(sorted(told, key=lambda it: it.id))


def test_axes_stand_where_they_did_so_that_committed_plans_stay_as_they_are() -> None:
    (cell, *_) = describe_plan(make_plan())["cells"]
    assert list(cell) == ["id", "base", "image", "python", "bytes", "layers"]


def test_no_file_is_no_plan(tmp_path: Path) -> None:
    assert read_plan(tmp_path / "plan") is None


def test_figures_stand_at_the_top() -> None:
    plan = plan_cells(make_matrix())
    described = describe_plan(plan)
    assert described["naive_bytes"] == 6 * 1_646_020_000
    assert described["unique_bytes"] == described["registry_bytes"] == plan.unique_bytes
    assert described["disk_bytes"] == plan.disk_bytes
    assert described["ratio"] == described["registry_bytes"] / described["unique_bytes"] == 1.0
    cell = described["cells"][0]
    assert cell["id"] == "py3.10-cu11.8"
    assert cell["layers"][0] == {
        "id": plan.cells[0].layers[0].id,
        "title": "every cell: libgcc",
        "packages": 1,
        "bytes": 8_000_000,
        "shared_by": 6,
    }


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda text: text[: len(text) // 2], "not a plan that imgbuild wrote"),
        (lambda text: text.replace('"version": 1', '"version": 9', 1), "plan version 9"),
        (lambda text: text.replace('"layers"', '"players"'), "not a plan that imgbuild wrote"),
        (lambda text: text.replace('"name": "tqdm"', '"name": "tqdn"').replace("tqdm-2", "tqdm-3"), "not a plan"),
        (lambda _: "[]", "not a plan that imgbuild wrote"),
        (lambda _: "", "not a plan that imgbuild wrote"),
    ],
)
def test_broken_file_is_said_with_its_place(tmp_path: Path, spoil: object, words: str) -> None:
    path = tmp_path / "plan"
    write_plan(make_plan(), path)
    path.write_text(spoil(path.read_text()))
    with pytest.raises(LockError, match=words) as caught:
        read_plan(path)
    assert caught.value.path == path
    assert caught.value.hint


@pytest.mark.parametrize(
    "change",
    [
        {"max_layers": "14"},
        {"max_layers": 0},
        {"max_layers": None},
        {"max_layers": [1]},
    ],
)
def test_budget_that_can_be_none_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "imgbuild.plan"
    path.write_text(json.dumps(describe_plan(make_plan()) | change))
    with pytest.raises(LockError, match="not a plan that imgbuild wrote"):
        read_plan(path)


def test_layers_that_cannot_be_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "imgbuild.plan"
    for spoil in ("bytes", "twice", "deep"):
        data = describe_plan(make_plan())
        if spoil == "bytes":
            next(iter(data["layers"].values()))["bytes"] = -5
        data["cells"][0]["layers"] *= 2 if spoil == "twice" else 1
        path.write_text("[" * 100_000 if spoil == "deep" else json.dumps(data))
        with pytest.raises(LockError, match="not a plan that imgbuild wrote"):
            read_plan(path)


def test_same_plan_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "plan"
    write_plan(make_plan(), path)
    before = path.stat().st_ino
    write_plan(make_plan(), path)
    assert path.stat().st_ino == before
    write_plan(plan_cells(make_matrix()), path)
    assert path.stat().st_ino != before


def test_unknown_sizes_are_counted() -> None:
    cells = [
        replace(cell, artifacts=frozenset(replace(it, size=None) if it.name == "six" else it for it in cell.artifacts))
        for cell in make_matrix()
    ]
    assert describe_plan(plan_cells(cells))["unknown_sizes"] == 3


def test_file_is_json_that_others_can_read(tmp_path: Path) -> None:
    write_plan(make_plan(), tmp_path / "plan")
    data = json.loads((tmp_path / "plan").read_text())
    assert set(data["layers"]) == {layer["id"] for cell in data["cells"] for layer in cell["layers"]}
