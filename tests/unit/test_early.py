"""Lower layers are exported beside the build of the whole: in order, once, and never in its way."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from builder import early
from builder.context import Context, ContextFile
from builder.early import EarlyImages, list_lower, list_steps
from builder.errors import BuildError, Cancelled, EngineError
from builder.layers import Layer
from builder.pipeline import render_cell
from builder.project import load_project
from tests.samples import PROJECT, make_environment, make_job, make_locked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from builder.locked import LockedCell

WAIT = 120


@pytest.fixture(autouse=True)
def least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early, "LEAST", 100)


def make_cell(sizes: Sequence[int], *, apt: str = "") -> tuple[LockedCell, Context]:
    """Return a cell with layers of these sizes, and a context that says of its steps what matters here."""
    (locked,) = make_locked((make_job(), make_environment()))
    layers = [Layer(base="b", artifacts=(), size=size, replaced=(str(index),)) for index, size in enumerate(sizes)]
    steps = [f"RUN --mount=type=bind,source=layers/{layer.id},target=/build install\n" for layer in layers]
    dockerfile = "".join((f"# {locked.id}\nFROM base\nRUN apt {apt}\n", *steps, "LABEL whole=yes\n"))
    context = Context(files=(ContextFile(path="Dockerfile", data=dockerfile.encode()),))
    return replace(locked, layers=tuple(layers)), context


def count_steps(context: Context) -> int:
    return sum(b"layers/" in line for line in list_steps(context))


class Engine:
    """It notes what befalls it; builds last until they may end, or are cancelled."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.faults: dict[int, Exception] = {}
        self.begun, self.may_end, self.built, self.cancelled = (threading.Event() for _ in range(4))

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.said.append("closed")

    def images(self) -> EarlyImages:
        return EarlyImages(cast("Any", lambda: self))

    def build(self, engine: Any, context: Context) -> str:
        assert engine is self
        count = count_steps(context)
        self.said.append(f"build {count}")
        self.begun.set()
        while not self.may_end.wait(0.01):
            if self.cancelled.is_set():
                raise Cancelled("cancelled")
        if count in self.faults:
            raise self.faults[count]
        if count == 2:
            self.built.set()
        return f"sha256:{count}"

    def cancel(self) -> None:
        self.cancelled.set()

    def remove(self, image_id: str) -> None:
        self.said.append(f"remove {image_id}")
        if 0 in self.faults:
            raise self.faults[0]


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine()
    yield made
    made.may_end.set()


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
def test_lower_layers_end_where_an_export_is_worth_it(sizes: list[int], counts: list[int]) -> None:
    assert [count_steps(context) for context in list_lower(*make_cell(sizes))] == counts


def test_lower_image_has_the_steps_of_the_whole_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early, "LEAST", 1)
    (locked,) = make_locked((make_job(apt=("git",)), make_environment()))
    whole = render_cell(load_project(PROJECT), locked)
    *_, lower = list_lower(locked, whole)
    assert list_steps(lower) == list_steps(whole)[: len(list_steps(lower))]
    assert sum(b"source=layers/" in line for line in list_steps(lower)) == len(locked.layers) - 1
    text = b"\n".join(list_steps(lower))
    assert b"apt-get install --yes --no-install-recommends git" in text
    for word in (b"LABEL", b"COPY cell/", b"ENTRYPOINT"):
        assert word not in text
    assert [file for file in lower.files if file.path != "Dockerfile"] == [
        file for file in whole.files if file.path != "Dockerfile"
    ]


def test_template_with_other_steps_for_layers_has_no_lower_images() -> None:
    locked, _ = make_cell([100, 100])
    context = Context(files=(ContextFile(path="Dockerfile", data=b"FROM base\nRUN install everything\n"),))
    assert list(list_lower(locked, context)) == []


def test_higher_image_waits_for_the_lower_and_all_are_removed(engine: Engine) -> None:
    with engine.images() as images, images.beside(*make_cell([100, 100, 1]), engine.build):
        assert engine.begun.wait(WAIT)
        assert engine.said == ["build 1"]
        engine.may_end.set()
        assert engine.built.wait(WAIT)
        assert engine.said == ["build 1", "build 2"]
    assert engine.said[2:] == ["remove sha256:1", "remove sha256:2", "closed"]


def test_cells_with_the_same_lower_steps_have_one_image_of_them(engine: Engine) -> None:
    engine.may_end.set()
    with (
        engine.images() as images,
        images.beside(*make_cell([100, 100, 1]), engine.build),
        images.beside(*make_cell([100, 100, 1, 2]), engine.build),
    ):
        assert engine.built.wait(WAIT)
    assert engine.said == ["build 1", "build 2", "remove sha256:1", "remove sha256:2", "closed"]


def test_cells_with_other_steps_below_the_layers_share_no_image() -> None:
    (git,), (curl,) = (list_lower(*make_cell([100, 1], apt=apt)) for apt in ("git", "curl"))
    assert list_steps(git) != list_steps(curl)


def test_end_stops_what_nobody_needs_any_more(engine: Engine) -> None:
    with engine.images() as images, images.beside(*make_cell([100, 100, 1]), engine.build):
        assert engine.begun.wait(WAIT)
    assert engine.cancelled.is_set()
    assert engine.said == ["build 1", "closed"]


def test_what_a_built_cell_would_have_been_spared_is_not_begun(engine: Engine) -> None:
    with engine.images() as images:
        with images.beside(*make_cell([100, 100, 1]), engine.build):
            assert engine.begun.wait(WAIT)
        engine.may_end.set()
        with images.beside(*make_cell([100, 1], apt="git"), engine.build):  # another, to see that time has passed
            pass
    assert "build 2" not in engine.said


def test_cell_without_lower_images_asks_for_no_connection() -> None:
    def connect() -> Any:
        raise AssertionError("connected")

    with EarlyImages(connect) as images, images.beside(*make_cell([99, 1]), Engine().build):
        pass


def test_failure_is_left_to_the_cell_and_nothing_stands_on_it(engine: Engine) -> None:
    engine.faults[1] = BuildError("a step failed")
    engine.may_end.set()
    with engine.images() as images, images.beside(*make_cell([100, 100, 1]), engine.build):
        assert engine.begun.wait(WAIT)
    assert engine.said == ["build 1", "closed"]


def test_lost_engine_at_the_end_is_no_failure(engine: Engine) -> None:
    engine.faults[0] = EngineError("the connection broke")
    engine.may_end.set()
    with engine.images() as images, images.beside(*make_cell([100, 100, 1]), engine.build):
        assert engine.built.wait(WAIT)
    assert engine.said == ["build 1", "build 2", "remove sha256:1", "closed"]


def test_engine_that_cannot_be_reached_is_left_to_the_cell() -> None:
    asked = threading.Event()

    def connect() -> Any:
        asked.set()
        raise EngineError("no engine answers")

    with EarlyImages(connect) as images, images.beside(*make_cell([100, 1]), Engine().build):
        assert asked.wait(WAIT)


def test_defect_is_raised(engine: Engine) -> None:
    engine.faults[1] = ZeroDivisionError()
    engine.may_end.set()
    with (
        pytest.raises(ZeroDivisionError),
        engine.images() as images,
        images.beside(*make_cell([100, 1]), engine.build),
    ):
        assert engine.begun.wait(WAIT)


def test_second_signal_waits_for_nothing(engine: Engine) -> None:
    def interrupt() -> None:
        assert engine.begun.wait(WAIT)
        raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt),
        engine.images() as images,
        images.beside(*make_cell([100, 1]), engine.build),
    ):
        interrupt()
    assert engine.cancelled.is_set()
    assert engine.said == ["build 1", "closed"]
