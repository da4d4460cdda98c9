from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from builder.errors import BuildError, Cancelled, EngineError
from builder.schedule import Outcome, count_workers, order_cells, run_tasks, sort_named
from builder.work import CellWork, LayerWork

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 30


class Bench:
    """Tasks that do as they are told, and a record of what they did."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.cancelled = threading.Event()
        self.cancellers: list[threading.Thread] = []

    def cancel(self) -> None:
        self.cancellers.append(threading.current_thread())
        self.cancelled.set()

    def works(self, name: str) -> Callable[[], str]:
        def task() -> str:
            self.began.append(name)
            return name.upper()

        return task

    def fails(self, name: str, error: BaseException) -> Callable[[], str]:
        def task() -> str:
            self.began.append(name)
            raise error

        return task

    def hangs(self, name: str, then: Callable[[], object] = lambda: None) -> Callable[[], str]:
        """Do something, then wait to be cancelled."""

        def task() -> str:
            self.began.append(name)
            then()
            assert self.cancelled.wait(PATIENCE)
            raise Cancelled("cancelled")

        return task

    def run(self, workers: int, **tasks: Callable[[], str]) -> dict[str, Outcome[str]]:
        return {outcome.name: outcome for outcome in run_tasks(tasks, workers=workers, cancel=self.cancel)}


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_one_worker_keeps_the_order(bench: Bench) -> None:
    names = list("cabd")
    found = bench.run(1, **{name: bench.works(name) for name in names})
    assert bench.began == list(found) == names
    assert [outcome.value for outcome in found.values()] == ["C", "A", "B", "D"]
    assert bench.cancellers == []


def test_workers_work_at_the_same_time(bench: Bench) -> None:
    meeting = threading.Barrier(3, timeout=PATIENCE)
    tasks = {name: lambda: str(meeting.wait()) for name in "abc"}
    assert {outcome.value for outcome in bench.run(3, **tasks).values()} == {"0", "1", "2"}


def test_failure_stops_nobody_else(bench: Bench) -> None:
    error = BuildError("step failed")
    found = bench.run(1, a=bench.works("a"), b=bench.fails("b", error), c=bench.works("c"))
    assert found["b"].error is error
    assert (found["a"].value, found["c"].value) == ("A", "C")
    assert bench.cancellers == []


def test_lost_engine_stops_all(bench: Bench) -> None:
    meeting = threading.Barrier(2, timeout=PATIENCE)

    def lose() -> str:
        meeting.wait()
        raise EngineError("gone")

    found = bench.run(2, a=lose, b=bench.hangs("b", meeting.wait), c=bench.works("c"))
    assert isinstance(found["a"].error, EngineError)
    assert isinstance(found["b"].error, Cancelled)
    assert found["b"].began
    assert isinstance(found["c"].error, Cancelled)
    assert not found["c"].began
    assert bench.began == ["b"]
    assert bench.cancellers == [threading.main_thread()]


def test_two_engine_errors_cancel_once(bench: Bench) -> None:
    meeting = threading.Barrier(2, timeout=PATIENCE)

    def lose() -> str:
        meeting.wait()
        raise EngineError("gone")

    found = bench.run(2, a=lose, b=lose)
    assert all(isinstance(outcome.error, EngineError) for outcome in found.values())
    assert len(bench.cancellers) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_cancels_what_runs_and_begins_nothing_more(number: signal.Signals, bench: Bench) -> None:
    before = [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)]
    found = bench.run(1, a=bench.hangs("a", lambda: os.kill(os.getpid(), number)), b=bench.works("b"))
    assert isinstance(found["a"].error, Cancelled)
    assert isinstance(found["b"].error, Cancelled)
    assert bench.began == ["a"]
    assert bench.cancellers == [threading.main_thread()]
    assert [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)] == before


def test_second_signal_ends_at_once() -> None:
    stubborn = threading.Event()

    def cancel() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    def task() -> str:
        os.kill(os.getpid(), signal.SIGINT)
        assert stubborn.wait(PATIENCE)
        return "late"

    with pytest.raises(KeyboardInterrupt):
        list(run_tasks({"a": task}, workers=1, cancel=cancel))
    stubborn.set()


def test_defect_of_a_task_is_raised_and_ends_all(bench: Bench) -> None:
    meeting = threading.Barrier(2, timeout=PATIENCE)

    def defect() -> str:
        meeting.wait()
        raise LookupError("a bug")

    with pytest.raises(LookupError, match="a bug"):
        bench.run(2, a=defect, b=bench.hangs("b", meeting.wait), c=bench.works("c"))
    assert len(bench.cancellers) == 1
    assert bench.began == ["b"]


def test_caller_that_goes_away_ends_all(bench: Bench) -> None:
    outcomes = run_tasks({"a": bench.works("a"), "b": bench.hangs("b")}, workers=1, cancel=bench.cancel)
    assert next(outcomes).value == "A"
    outcomes.close()  # type: ignore[attr-defined]
    assert len(bench.cancellers) == 1


def test_time_is_that_of_the_task(bench: Bench) -> None:
    began = time.monotonic()
    found = bench.run(1, a=lambda: str(threading.Event().wait(0.2)), b=bench.works("b"))
    assert found["a"].seconds >= 0.2
    assert found["b"].seconds <= time.monotonic() - began - 0.2


def test_values_come_in_order_and_none_waits_without_need() -> None:
    said = []

    def arrive() -> Iterator[tuple[str, str]]:
        for name in "bacd":
            said.append(name)
            yield name, name.upper()

    values = sort_named(arrive(), "abcd")
    assert next(values) == "A"
    assert said == ["b", "a"]
    assert list(values) == ["B", "C", "D"]


def test_workers_are_two_to_four(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, workers in ((1, 2), (3, 3), (64, 4)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        assert count_workers() == workers


def work(cell: str, **layers: int) -> CellWork:
    return CellWork(cell=cell, layers=tuple(LayerWork(id=key, title=key, size=size) for key, size in layers.items()))


def test_cells_with_the_most_new_bytes_begin_first() -> None:
    cells = [
        work("small", base=10, own1=1),
        work("large", base=10, cuda=100, own2=5),
        work("twin", base=10, cuda=100, own3=4),
        work("other", base=10, rocm=50),
    ]
    assert [found.cell for found in order_cells(cells)] == ["large", "other", "twin", "small"]


def test_order_of_equals_stays() -> None:
    cells = [work(name, base=10) for name in "cab"]
    assert [found.cell for found in order_cells(cells)] == ["c", "a", "b"]
    assert order_cells([]) == ()
