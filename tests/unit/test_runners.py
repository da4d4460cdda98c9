"""Cells that share layers share a runner, and no runner has more than it can hold."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.artifacts import Artifact, Kind, Need
from builder.errors import ImgbuildError
from builder.layers import Layer, make_layer
from builder.ordering import measure_tree
from builder.plan import Content, PlannedCell
from builder.runners import BASE, MOST, ON_DISK, Runner, share_cells

if TYPE_CHECKING:
    import random

MB = 1_000_000
PLENTY = 10**15


def make(name: str, size: int = 100 * MB) -> Layer:
    url = f"https://conda.example/{name}"
    artifact = Artifact(kind=Kind.CONDA, need=Need.NONE, name=name, version="1", url=url, digest="0", size=size)
    return make_layer("miniforge", [artifact], 0)


def cell(id_: str, *layers: Layer) -> PlannedCell:
    artifacts = frozenset(artifact for layer in layers for artifact in layer.artifacts)
    return PlannedCell(content=Content(id=id_, base="miniforge", artifacts=artifacts), layers=layers)


def disk_for(packages: int) -> int:
    return BASE + ON_DISK * packages


def groups(runners: tuple[Runner, ...]) -> list[tuple[str, ...]]:
    return [runner.cells for runner in runners]


@st.composite
def matrices(draw: st.DrawFn) -> list[PlannedCell]:
    """Up to a dozen cells; layers come at one depth each, so chains begin alike and part."""
    pool = [
        [make(f"d{depth}n{number}", draw(st.sampled_from([0, 1, 7, 40, 300])) * MB) for number in range(3)]
        for depth in range(4)
    ]
    cells = []
    for number in range(draw(st.integers(1, 12))):
        depth = draw(st.integers(0, 4))
        cells.append(cell(f"c{number:02}", *(draw(st.sampled_from(pool[level])) for level in range(depth))))
    return cells


disks = st.integers(disk_for(0), disk_for(1500 * MB))
counts = st.integers(1, 15)


def measure(cells: list[PlannedCell], runner: Runner) -> int:
    return measure_tree([it.layers for it in cells if it.id in runner.cells])


@given(matrices(), disks)
def test_each_cell_has_one_runner_that_can_hold_it(cells: list[PlannedCell], disk: int) -> None:
    runners = share_cells(cells, disk=disk)
    assert sorted(name for runner in runners for name in runner.cells) == [it.id for it in cells]
    for runner in runners:
        assert runner.disk == disk_for(measure(cells, runner))
        biggest = max(measure_tree([it.layers]) for it in cells if it.id in runner.cells)
        assert runner.disk <= max(disk, disk_for(biggest))


@given(matrices(), disks)
def test_cell_too_big_for_a_disk_has_a_runner_beside_which_nothing_is_built(
    cells: list[PlannedCell], disk: int
) -> None:
    for runner in share_cells(cells, disk=disk):
        if runner.disk > disk:
            assert len({it.layers for it in cells if it.id in runner.cells if is_leaf(it, cells)}) == 1


def is_leaf(one: PlannedCell, cells: list[PlannedCell]) -> bool:
    return not any(it.layers != one.layers and it.layers[: len(one.layers)] == one.layers for it in cells)


@given(matrices(), counts, disks, st.randoms(use_true_random=False))
def test_runners_do_not_depend_on_the_order_of_the_cells(
    cells: list[PlannedCell], most: int, disk: int, chance: random.Random
) -> None:
    def share(chosen: list[PlannedCell]) -> tuple[Runner, ...] | str:
        try:
            return share_cells(chosen, most=most, disk=disk)
        except ImgbuildError as error:
            return str(error)

    assert share(chance.sample(cells, len(cells))) == share(cells)


@given(matrices(), counts)
def test_there_are_at_most_as_many_runners_as_asked_for_and_they_are_even(cells: list[PlannedCell], most: int) -> None:
    runners = share_cells(cells, most=most, disk=PLENTY)
    assert len(runners) <= most
    sizes = [measure_tree([it.layers]) for it in cells]
    fullest = max(measure(cells, runner) for runner in runners)
    assert fullest <= sum(sizes) / most + max(sizes)


@given(matrices(), counts, disks)
def test_more_disk_or_more_runners_never_fill_the_fullest_further(
    cells: list[PlannedCell], most: int, disk: int
) -> None:
    try:
        few = share_cells(cells, most=most, disk=disk)
    except ImgbuildError:
        return
    for more in (share_cells(cells, most=most + 1, disk=disk), share_cells(cells, most=most, disk=disk + 100 * MB)):
        assert max(runner.disk for runner in more) <= max(runner.disk for runner in few)


@given(matrices(), counts)
def test_cell_that_adds_nothing_to_another_shares_its_runner(cells: list[PlannedCell], most: int) -> None:
    runners = share_cells(cells, most=most, disk=PLENTY)
    for one in cells:
        (home,) = (runner for runner in runners if one.id in runner.cells)
        around = [it for it in cells if it.layers[: len(one.layers)] == one.layers and it.id != one.id]
        assert not around or any(it.id in home.cells for it in around)


def test_what_fits_one_disk_is_one_runner_unless_more_are_asked_for() -> None:
    python = make("python")
    cells = [cell(f"c{number}", python, make(f"own{number}")) for number in range(4)]
    assert groups(share_cells(cells, disk=disk_for(500 * MB))) == [("c0", "c1", "c2", "c3")]
    assert [len(runner.cells) for runner in share_cells(cells, most=2, disk=PLENTY)] == [2, 2]
    assert [len(runner.cells) for runner in share_cells(cells, most=9, disk=PLENTY)] == [1, 1, 1, 1]


def test_cells_are_parted_where_they_share_least() -> None:
    cuda = {name: make(f"cuda-{name}", 2000 * MB) for name in ("11.8", "12.6")}
    cells = [cell(f"{name}-{n}", cuda[name], make(f"{name}-{n}", 100 * MB)) for name in cuda for n in range(3)]
    shared = groups(share_cells(cells, disk=disk_for(2300 * MB)))
    assert shared == [("11.8-0", "11.8-1", "11.8-2"), ("12.6-0", "12.6-1", "12.6-2")]


def test_more_runners_than_there_may_be_are_told() -> None:
    cells = [cell(f"c{number}", make(f"own{number}", 4000 * MB)) for number in range(MOST + 1)]
    with pytest.raises(ImgbuildError, match=r"257 runners are needed, with 14\.0 GB of disk each; there may be 256"):
        share_cells(cells)
    assert len(share_cells(cells[1:])) == MOST


def test_name_of_a_runner_says_what_is_on_it() -> None:
    cells = [cell(f"c{number}", make("python")) for number in range(3)]
    assert [runner.name for runner in share_cells(cells)] == ["c0 and 2 more"]
    assert [runner.name for runner in share_cells(cells[:1])] == ["c0"]


def test_no_cells_need_no_runner() -> None:
    assert share_cells([]) == ()


def test_a_thousand_cells_are_shared_in_seconds() -> None:
    cells = [cell(f"c{n:04}", make(f"a{n % 7}"), make(f"b{n % 50}"), make(f"c{n}", n * MB)) for n in range(1000)]
    began = time.process_time()
    share_cells(cells, most=100, disk=PLENTY)
    assert time.process_time() - began < 60
