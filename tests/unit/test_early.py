"""Lower layers are exported beside the build of the whole: in order, once, and never in its way."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from builder import early
from builder.early import EarlyImages, list_lower
from builder.errors import BuildError, EngineError
from builder.layers import Layer
from builder.pipeline import render_cell
from builder.project import load_project
from tests.samples import PROJECT, make_environment, make_job, make_locked, make_wheel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.locked import LockedCell


def make_cell(sizes: Sequence[int], python: str = "3.10") -> LockedCell:
    (locked,) = make_locked((make_job(python), make_environment()))
    layers = (Layer(base="b", artifacts=(), size=size, replaced=(str(index),)) for index, size in enumerate(sizes))
    return replace(locked, layers=tuple(layers))


@pytest.fixture(autouse=True)
def least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early, "LEAST", 100)


class Engine:
    """It notes what begins and ends, and lets builds last until they are told to end."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.begun, self.go = threading.Event(), threading.Event()

    def build(self, lower: LockedCell, locked: LockedCell) -> str:
        count = len(lower.layers)
        self.said.append(f"begin {count} of {len(locked.layers)}")
        self.begun.set()
        assert self.go.wait(10)
        self.said.append(f"end {count}")
        return f"sha256:{count}"

    def remove(self, image_id: str) -> None:
        self.said.append(f"remove {image_id}")


@pytest.mark.parametrize(
    ("sizes", "counts"),
    [
        ([50, 50, 99, 100, 5], [2, 4]),
        ([100, 100, 100], [1, 2]),
        ([99, 100], []),
        ([99, 1, 0], [2]),
        ([1000], []),
        ([], []),
    ],
)
def test_lower_cells_end_where_an_export_is_worth_it(sizes: list[int], counts: list[int]) -> None:
    locked = make_cell(sizes)
    lower = list(list_lower(locked))
    assert [cell.layers for cell in lower] == [locked.layers[:count] for count in counts]


def test_lower_image_has_the_same_steps_and_claims_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early, "LEAST", 1)
    (whole,) = make_locked((make_job(), make_environment(pip=[make_wheel("tqdm")])))
    project = load_project(PROJECT)
    *_, lower = list_lower(whole)

    def read(locked: LockedCell) -> tuple[list[str], list[str], bytes]:
        files = {file.path: file.data for file in render_cell(project, locked).files}
        dockerfile = files["Dockerfile"].decode()
        steps = [part.partition("\n\n")[0] for part in dockerfile.split("\nRUN ")[1:]]
        return steps, [line for line in dockerfile.splitlines() if ".packages=" in line], files["cell/constraints.txt"]

    steps, labels, pins = read(lower)
    all_steps, all_labels, all_pins = read(whole)
    assert len(lower.layers) < len(whole.layers)
    assert steps == all_steps[: len(steps)]
    assert len(steps) == len(all_steps) - (len(whole.layers) - len(lower.layers))
    assert labels != all_labels
    assert b"numpy" in all_pins
    assert b"numpy" not in pins


def test_higher_image_waits_for_the_lower_and_all_are_removed() -> None:
    engine = Engine()
    with EarlyImages(build=engine.build, remove=engine.remove) as images:
        with images.beside(make_cell([100, 100, 1])):
            engine.go.set()
            images._threads[max(images._threads, key=len)].join()
        assert engine.said == ["begin 1 of 3", "end 1", "begin 2 of 3", "end 2"]
    assert engine.said[4:] == ["remove sha256:1", "remove sha256:2"]


def test_cells_with_the_same_lower_layers_have_one_image_of_them() -> None:
    engine = Engine()
    engine.go.set()
    with (
        EarlyImages(build=engine.build, remove=engine.remove) as images,
        images.beside(make_cell([100, 1])),
        images.beside(make_cell([100, 2, 3], python="3.11")),
    ):
        assert engine.begun.wait(10)
    assert engine.said == ["begin 1 of 2", "end 1", "remove sha256:1"]


def test_what_a_built_cell_would_have_been_spared_is_not_begun() -> None:
    engine = Engine()
    with EarlyImages(build=engine.build, remove=engine.remove) as images:
        with images.beside(make_cell([100, 100, 1])):
            assert engine.begun.wait(10)
        engine.go.set()
    assert engine.said == ["begin 1 of 3", "end 1", "remove sha256:1"]


def test_failure_is_left_to_the_cell() -> None:
    def build(lower: LockedCell, _locked: LockedCell) -> str:
        if len(lower.layers) == 1:
            raise BuildError("a step failed")
        return "sha256:2"

    def remove(_image_id: str) -> None:
        raise EngineError("the connection broke")

    with EarlyImages(build=build, remove=remove) as images, images.beside(make_cell([100, 100, 1])):
        images._threads[max(images._threads, key=len)].join()
        assert images._built == ["sha256:2"]
