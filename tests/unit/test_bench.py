"""Figures, their intervals, and when one is slower than its baseline."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

import builder.bench
from builder.bench.figures import (
    Figure,
    Measurement,
    compare_figures,
    find_interval,
    read_measurement,
    write_measurement,
)
from builder.bench.picture import arrange, draw_heat_map
from builder.errors import ImgbuildError
from tests.unit.host_scripts import load_script

if TYPE_CHECKING:
    from types import ModuleType

    from tests.unit.conftest import Run

SCRIPT = Path(builder.bench.__file__).parent / "scripts" / "throughput.py"
speeds = st.lists(st.floats(min_value=1.0, max_value=1e9), min_size=1, max_size=9)


def make_figure(*repeats: float, name: str = "matmul float32") -> Figure:
    return Figure(name=name, unit="GFLOP/s", repeats=repeats)


@given(speeds)
def test_interval_holds_the_median(repeats: list[float]) -> None:
    low, high = find_interval(repeats)
    assert min(repeats) <= low <= make_figure(*repeats).median <= high <= max(repeats)


@given(speeds)
def test_what_is_the_same_is_never_slower(repeats: list[float]) -> None:
    (change,) = compare_figures([make_figure(*repeats)], [make_figure(*repeats)])
    assert change.ratio == 1
    assert not change.is_slower


@pytest.mark.parametrize(
    ("now", "before", "slower"),
    [
        ((50, 51, 49, 50), (100, 101, 99, 100), True),
        ((97, 98, 99, 98), (100, 101, 99, 100), False),  # within what the repeats differ by
        ((97.9, 98, 98.1), (99.9, 100, 100.1), True),  # as far apart, and steady
        ((50, 100, 75), (100, 60, 140), False),
        ((200, 201, 202), (100, 101, 99), False),
        ((10, 10, 10, 10, 100), (100, 100, 100, 100, 100), True),  # one good repeat hides nothing
        ((10, 10, 10, 10, 10), (10, 100, 100, 100, 100), True),
        ((100, 100, 60, 60, 60), (100, 100, 100, 60, 60), False),  # two modes, and the median at the other
        ((10,), (100,), False),  # one repeat says nothing
    ],
)
def test_slower_is_what_the_noise_does_not_explain(
    now: tuple[float, ...], before: tuple[float, ...], *, slower: bool
) -> None:
    (change,) = compare_figures([make_figure(*now)], [make_figure(*before)])
    assert change.is_slower is slower


@pytest.mark.parametrize(
    ("now", "before", "unclear"),
    [
        ((10, 10, 100), (100, 100, 100), True),
        ((50, 100, 75), (100, 60, 140), True),
        ((10, 10, 10, 10, 100), (100, 100, 100, 100, 100), False),
        ((97, 98, 99, 98), (100, 101, 99, 100), False),
    ],
)
def test_what_is_too_noisy_to_tell_is_said(
    now: tuple[float, ...], before: tuple[float, ...], *, unclear: bool
) -> None:
    (change,) = compare_figures([make_figure(*now)], [make_figure(*before)])
    assert change.is_unclear is unclear


@given(st.lists(st.floats(min_value=50, max_value=99), min_size=5, max_size=5), st.floats(min_value=1, max_value=1e6))
def test_chance_is_of_ranks_and_noise_of_no_unit(lower: list[float], scale: float) -> None:
    higher = [value + 50 for value in lower]
    (change,) = compare_figures([make_figure(*lower)], [make_figure(*higher)])
    assert change.chance == 1 / 252  # one of the ways to choose five of ten
    (scaled,) = compare_figures(
        [make_figure(*(value * scale for value in lower))], [make_figure(*(value * scale for value in higher))]
    )
    assert scaled.noise == pytest.approx(change.noise)


def test_figure_that_is_less_steady_than_its_kind_has_its_own_noise() -> None:
    steady = [make_figure(100, 101, 99, 100, 100, name=f"loader {number}") for number in range(5)]
    wild = make_figure(60, 100, 140, 80, 120, name="loader 5")
    *others, own = compare_figures([*steady, wild], [*steady, wild])
    assert own.noise > 5 * max(other.noise for other in others)


def test_figures_of_one_side_alone_are_left_out() -> None:
    assert list(compare_figures([make_figure(1.0, name="new")], [make_figure(1.0, name="old")])) == []


def test_file_gives_back_what_was_written(tmp_path: Path) -> None:
    machine = (("cores", 2), ("cpu", "x"), ("gpu", None), ("torch", "2.7.1"))
    measurement = Measurement(ref="a:1", quick=True, machine=machine, figures=(make_figure(1.5, 2.5),))
    write_measurement(tmp_path / "now.json", measurement)
    assert read_measurement(tmp_path / "now.json") == measurement


MACHINE = {"cores": 2, "cpu": "x", "gpu": None, "torch": "2.7.1"}
FIGURE = {"name": "x", "unit": "y", "repeats": [1.0, 2.0]}
BASELINE: dict[str, object] = {"ref": "a", "quick": False, "machine": MACHINE, "figures": [FIGURE]}


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "\0", "[" * 100_000]
    + [json.dumps(BASELINE).replace("2.0]", f"{value}]") for value in ("NaN", "Infinity", "-1", "0", "1e999")]
    + [json.dumps(BASELINE).replace("2.0]", f"{value}]") for value in ("1" + "0" * 400, "true", '"1"', "null")]
    + [json.dumps({key: value for key, value in BASELINE.items() if key != left}) for left in BASELINE]
    + [json.dumps(BASELINE | {"machine": {}}), json.dumps(BASELINE | {"quick": 1})]
    + [
        json.dumps(BASELINE | {"figures": [FIGURE | wrong]})
        for wrong in ({"name": ["x"]}, {"name": None}, {"unit": 1}, {"repeats": "123"}, {"repeats": [1.0]})
    ],
)
def test_file_that_is_no_baseline_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(json.dumps(BASELINE))
    assert read_measurement(path)
    path.write_text(text)
    with pytest.raises(ImgbuildError, match="is no baseline"):
        read_measurement(path)


@pytest.mark.parametrize(("quick", "words"), [(True, "was measured with --quick"), (False, "without --quick")])
def test_quick_measurement_and_another_are_not_compared(quick: bool, words: str, tmp_path: Path, run: Run) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(json.dumps(BASELINE | {"quick": quick}))
    code, _, err = run("bench", "a:1", "--baseline", str(path), *([] if quick else ["--quick"]))
    assert code == 1
    assert words in err


def test_many_figures_that_differ_by_noise_alone_are_not_slower() -> None:
    """In 40 runs of 47 figures: by the noise of each figure alone, 7 have one that is."""
    draw = random.Random(1)
    for _ in range(40):
        now, before = (
            [make_figure(*(draw.gauss(100, 2) for _ in range(5)), name=f"{kind} {number}") for kind, number in FULL]
            for _ in range(2)
        )
        assert not [change for change in compare_figures(now, before) if change.is_slower]


FULL = [(kind, number) for kind, count in (("loader", 42), ("matmul", 3), ("train", 2)) for number in range(count)]


def test_loss_of_one_figure_among_many_is_found() -> None:
    draw = random.Random(2)
    before, now = (
        [make_figure(*(draw.gauss(100, 2) for _ in range(5)), name=f"{kind} {number}") for kind, number in FULL]
        for _ in range(2)
    )
    now[0] = make_figure(*(0.8 * value for value in now[0].repeats), name=now[0].name)
    assert [change.name for change in compare_figures(now, before) if change.is_slower] == [now[0].name]


def test_image_without_a_name_is_a_wrong_argument(run: Run) -> None:
    code, _, err = run("bench", "")
    assert code == 2
    assert "REF" in err


LOADERS = tuple(
    make_figure(float(100 * batch + workers), name=f"loader batch={batch} workers={workers} pin=0 prefetch={prefetch}")
    for batch in (16, 64)
    for workers, prefetch in ((0, 0), (1, 2), (1, 4))
)


def test_loaders_are_arranged_by_batch_and_workers() -> None:
    grids = arrange([*LOADERS, make_figure(1.0)])
    assert sorted(grids) == ["pageable memory, prefetch 2", "pageable memory, prefetch 4"]
    assert sorted(grids["pageable memory, prefetch 4"]) == [(16, 0), (16, 1), (64, 0), (64, 1)]
    assert grids["pageable memory, prefetch 4"][64, 1] == 6401


def test_heat_map_is_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw_heat_map(LOADERS, tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ImgbuildError, match="no DataLoader was measured"):
        draw_heat_map([make_figure(1.0)], tmp_path / "none.png")


@pytest.fixture(scope="module")
def throughput() -> ModuleType:
    """The script that measures in an image."""
    return load_script(SCRIPT)


@pytest.mark.parametrize(("capability", "has"), [((7, 5), False), ((8, 0), True), ((12, 0), True)])
def test_bfloat16_is_measured_where_the_gpu_has_it(
    capability: tuple[int, int], has: bool, throughput: ModuleType
) -> None:
    torch = SimpleNamespace(cuda=SimpleNamespace(get_device_capability=lambda: capability))
    assert ("bfloat16" in throughput.list_kinds(torch, "cuda")) is has
    assert throughput.list_kinds(torch, "cpu") == ["float32", "bfloat16"]


def test_products_are_made_until_a_gpu_is_warm(throughput: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    class Matrix:
        def to(self, _kind: str) -> Matrix:
            return self

        def __matmul__(self, _: Matrix) -> None:
            made.append(1)

    monkeypatch.setattr(throughput.time, "perf_counter", lambda: len(made) * throughput.MULTIPLYING / 25)
    torch = SimpleNamespace(randn=lambda *_, **__: Matrix())
    found = throughput.multiply(torch, "cpu", "float32")
    assert len(made) == 30
    assert found == pytest.approx(2 * 1024**3 * 25 / throughput.MULTIPLYING / 1e9)


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_are_forked_whatever_this_python_does(
    workers: int, throughput: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, object] = {}

    def load(_: object, **options: object) -> tuple[()]:
        asked.update(options)
        return ()

    monkeypatch.setattr(throughput, "Pictures", lambda *_: None)
    torch = SimpleNamespace(utils=SimpleNamespace(data=SimpleNamespace(DataLoader=load)))
    throughput.load(torch, "cpu", 8, 4, workers, False, 2 if workers else None)
    assert asked.get("multiprocessing_context") == ("fork" if workers else None)
    assert asked.get("prefetch_factor") == (2 if workers else None)
