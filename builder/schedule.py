"""Run tasks on a few threads: failures stop nobody else, a lost engine or a signal stops all.

It knows nothing of images: a task is a function without arguments, and how it is made to stop is the caller's.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Generic, TypeVar

from builder.errors import Cancelled, EngineError, ImgbuildError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from builder.work import CellWork, LayerWork

Value = TypeVar("Value")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_MOST = 4
_BLINK = 0.1  # seconds until a signal is noticed that the kernel gave to another thread


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Generic[Value]):
    """How one task ended, and after how many seconds: with a value, or with an error.

    A task that was stopped, or that never began because all were stopped, has Cancelled for its error.
    """

    name: str
    value: Value | None = None
    error: ImgbuildError | None = None
    began: bool = True
    seconds: float = 0.0


def count_workers() -> int:
    """Return how many cells are built at once unless somebody says: one per core of this machine, 2 to 4.

    Downloading and unpacking overlap even on one core; beyond four, the engine's disk is what they wait for.
    """
    return min(_MOST, max(2, len(os.sched_getaffinity(0))))


def order_cells(works: Sequence[CellWork]) -> tuple[CellWork, ...]:
    """Return the cells in the order to begin them: next is always who brings the most bytes that nobody before has.

    So cells that run at the same time work on different layers, the layers that many cells share are built early, and
    those that only wait for others come last. Between equals the order stays.
    """
    left = list(works)
    taken: set[LayerWork] = set()
    ordered: list[CellWork] = []
    while left:
        best = max(left, key=lambda work: sum(layer.size for layer in work.layers if layer not in taken))
        left.remove(best)
        taken.update(best.layers)
        ordered.append(best)
    return tuple(ordered)


def sort_named(pairs: Iterable[tuple[str, Value]], names: Iterable[str]) -> Iterator[Value]:
    """Yield values in the order of their names, each as soon as it and all before it are there."""
    there: dict[str, Value] = {}
    left = deque(names)
    for name, value in pairs:
        there[name] = value
        while left and left[0] in there:
            yield there.pop(left.popleft())


def run_tasks(
    tasks: Mapping[str, Callable[[], Value]], *, workers: int, cancel: Callable[[], None]
) -> Iterator[Outcome[Value]]:
    """Yield how each task ended, as soon as it did; tasks begin in the order given, `workers` at once.

    An ImgbuildError ends its task alone. An EngineError, SIGINT or SIGTERM ends all: `cancel` is called once, in the
    caller's thread; it has to make the running tasks raise Cancelled, and these are waited for. A second signal raises
    KeyboardInterrupt at once. Any other exception of a task is a defect: it ends all, and is raised here.
    Call it from the main thread, for only that one can take signals.
    """
    waiting = deque(tasks.items())
    # None is a signal. Signal handlers may put into this kind of queue whatever they have interrupted.
    reports: SimpleQueue[Outcome[Value] | BaseException | None] = SimpleQueue()
    threads = [
        threading.Thread(target=_work, args=(waiting, reports), daemon=True, name=f"imgbuild-{number}")
        for number in range(min(workers, len(tasks)))
    ]
    left = set(tasks)
    stopped = False

    def stop() -> tuple[Outcome[Value], ...]:
        nonlocal stopped
        if stopped:
            return ()
        stopped = True
        never: tuple[Outcome[Value], ...] = tuple(
            Outcome(name=name, error=Cancelled("not started"), began=False) for name, _ in _drain(waiting)
        )
        cancel()
        left.difference_update(outcome.name for outcome in never)
        return never

    with _catch_signals(lambda: reports.put(None)):
        try:
            for thread in threads:
                thread.start()
            while left:
                match _take(reports):
                    case None:
                        yield from stop()
                    case Outcome() as outcome:
                        left.discard(outcome.name)
                        yield outcome
                        if isinstance(outcome.error, EngineError):
                            yield from stop()
                    case BaseException() as defect:
                        raise defect
        finally:
            if left:
                stop()


def _take(reports: SimpleQueue[Value]) -> Value:
    # Python runs signal handlers in the main thread alone. A signal that the kernel gives to another thread does not
    # end the main thread's wait, however long that is.
    while True:
        with contextlib.suppress(Empty):
            return reports.get(timeout=_BLINK)


def _work(
    waiting: deque[tuple[str, Callable[[], Value]]], reports: SimpleQueue[Outcome[Value] | BaseException | None]
) -> None:
    for name, task in _drain(waiting):
        began = time.monotonic()
        try:
            outcome = Outcome(name=name, value=task())
        except ImgbuildError as error:
            outcome = Outcome(name=name, error=error)
        except BaseException as defect:
            reports.put(defect)
            return
        reports.put(replace(outcome, seconds=time.monotonic() - began))
        if isinstance(outcome.error, EngineError):
            return


def _drain(waiting: deque[tuple[str, Callable[[], Value]]]) -> Iterator[tuple[str, Callable[[], Value]]]:
    # Several threads take from it; asking first whether something is left would be a race.
    with contextlib.suppress(IndexError):
        while True:
            yield waiting.popleft()


@contextlib.contextmanager
def _catch_signals(report: Callable[[], None]) -> Iterator[None]:
    seen = False

    def handle(number: int, frame: object) -> None:  # noqa: ARG001 (what Python calls it with)
        nonlocal seen
        if seen:
            raise KeyboardInterrupt
        seen = True
        report()

    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
