"""What is known of many cells while they are built: events in, answers for a live display out. No drawing."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from builder.events import Log, Step, Transfer
from builder.progress_text import headline, is_internal
from builder.work import Ended, Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from builder.work import CellEvent, CellWork, LayerWork

_SOURCE = re.compile(r"source=(?:layers/)?([^,\s]+),target=/build\b")
_MIN_SECONDS = 5.0
_MIN_SHARE = 0.02


@dataclass(slots=True, kw_only=True)
class RunningStep:
    """A step that runs, once however many cells report it; the first of `cells` is the one whose words count."""

    step: Step
    title: str
    layer: LayerWork | None
    began: float
    cells: list[str] = field(default_factory=list)
    transfer: Transfer | None = None


@dataclass(slots=True, kw_only=True)
class CellState:
    """A cell: waiting before `began`, over when it `ended`."""

    work: CellWork
    began: float | None = None
    ended: Ended | None = None
    phase: str = ""
    layers: set[LayerWork] = field(default_factory=set)
    """Layers that are there: installed, or found in the engine's cache."""

    @property
    def done(self) -> int:
        """Bytes of the layers that are there."""
        return sum(layer.size for layer in self.layers)


class Board:
    """The state of all cells. `clock` gives seconds that only ever grow."""

    def __init__(self, works: Sequence[CellWork], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.cells = {work.cell: CellState(work=work) for work in works}
        self.steps: dict[str, RunningStep] = {}
        self._over: set[tuple[str, float | None]] = set()
        self._installed: set[LayerWork] = set()
        self._first: float | None = None
        self._last = 0.0

    def take(self, name: str, event: CellEvent) -> None:
        """Take in what happened to a cell of the plan."""
        cell = self.cells[name]
        if cell.began is None:
            cell.began = self._clock()
        match event:
            case Step() if not is_internal(event.name):
                self._step(cell, event)
            case Transfer() if event.step in self.steps:
                self.steps[event.step].transfer = event
            case Phase():
                cell.phase = event.text
            case Ended():
                self._end(cell, event)

    def owns(self, name: str, log: Log) -> bool:
        """Return whether a cell is the one whose words of a step count: all that wait for it report the same."""
        running = self.steps.get(log.step)
        return running is not None and running.cells[0] == name

    def find_ended(self, step: Step) -> RunningStep | None:
        """Return the step that this report says has ended; None where that is no news, or it was never seen to run."""
        running = self.steps.get(step.digest)
        return running if step.completed and running and running.step.run == step.run else None

    def find_step(self, name: str) -> RunningStep | None:
        """Return what a cell works on, or waits for."""
        return next((running for running in self.steps.values() if name in running.cells), None)

    @property
    def running(self) -> list[CellState]:
        """The cells that began and have not ended."""
        return [cell for cell in self.cells.values() if cell.began is not None and cell.ended is None]

    @property
    def waiting(self) -> list[CellState]:
        """The cells that have not begun."""
        return [cell for cell in self.cells.values() if cell.began is None and cell.ended is None]

    @property
    def bytes(self) -> tuple[int, int]:
        """Bytes that are done, and all that will be, each layer once; what failed cells leave undone is in neither."""
        done = _sum(layer for cell in self.cells.values() for layer in cell.layers)
        return done, done + self._left

    @property
    def eta(self) -> float | None:
        """Seconds until the rest is installed, if it goes as fast as so far; None while that means little."""
        if self._first is None or not self._left:
            return None
        installed, seconds = _sum(self._installed), self._last - self._first
        if seconds < _MIN_SECONDS or installed < _MIN_SHARE * self._left:
            return None
        left = self._left * seconds / installed - (self._clock() - self._last)
        return left if left > 0 else None

    @property
    def _left(self) -> int:
        there = {layer for cell in self.cells.values() for layer in cell.layers}
        live = [cell for cell in self.cells.values() if cell.ended is None]
        return _sum(layer for cell in live for layer in cell.work.layers if layer not in there)

    def _step(self, cell: CellState, step: Step) -> None:
        name = cell.work.cell
        layer = _find_layer(cell.work, step)
        if step.completed:
            if self.find_ended(step):
                del self.steps[step.digest]
            if not step.error:  # else it may go on for other cells: it was only cancelled for this one
                self._over.add(step.run)
            if layer and not step.error:
                cell.layers.add(layer)
                if not step.cached and layer not in self._installed:
                    self._installed.add(layer)
                    self._last = self._clock()
        elif step.started and step.run not in self._over:
            running = self.steps.get(step.digest)
            if layer and self._first is None:
                self._first = self._clock()
            if running is None:
                title = layer.title if layer else headline(step.name)
                running = RunningStep(step=step, title=title, layer=layer, began=self._clock())
                self.steps[step.digest] = running
            if name not in running.cells:
                running.cells.append(name)

    def _end(self, cell: CellState, ended: Ended) -> None:
        cell.ended = ended
        if ended.state in ("built", "up to date"):
            cell.layers.update(cell.work.layers)
        for digest, running in tuple(self.steps.items()):
            if cell.work.cell in running.cells:
                running.cells.remove(cell.work.cell)
                if not running.cells:
                    del self.steps[digest]


def _find_layer(work: CellWork, step: Step) -> LayerWork | None:
    found = _SOURCE.search(step.name)
    return next((layer for layer in work.layers if found and layer.id == found[1]), None)


def _sum(layers: Iterable[LayerWork]) -> int:
    return sum(layer.size for layer in set(layers))
