"""Progress of many cells on a terminal: a line per cell, each step that several wait for once, a bar of all bytes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from builder.board import Board
from builder.events import Log, Notice, Step
from builder.progress_rich import RichDisplay
from builder.progress_text import format_seconds
from builder.units import format_bytes
from builder.work import Ended

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import RenderableType

    from builder.board import CellState, RunningStep
    from builder.summary import Summary
    from builder.work import CellEvent, CellWork, State

_BAR = 30
_STYLES: dict[State, tuple[str, str]] = {
    "built": ("✓ ", "green"),
    "up to date": ("✓ ", "dim"),
    "failed": ("✗ ", "red"),
    "cancelled": ("· ", "yellow"),
    "not started": ("· ", "dim"),
}


class MatrixDisplay(RichDisplay):
    """Cells that run have a line each; those that ended scroll away above, those that wait are counted."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._board: Board | None = None
        self._warned: set[str] = set()
        super().__init__(redact)

    def plan(self, works: Sequence[CellWork]) -> None:
        """Begin with the cells."""
        self._stage = None
        self._board = Board(works)

    def stop(self) -> None:
        """Leave nothing of the live block."""
        self._board = None
        super().stop()

    def summary(self, summary: Summary) -> None:
        """Say how all cells ended, in the place of the live block."""
        self._board = None
        self.refresh()
        super().summary(summary)

    def event(self, name: str, event: CellEvent) -> None:
        """Take in what happened to a cell."""
        if not self._board:
            return
        match event:
            case Log():
                if self._board.owns(name, event):
                    self._log(event)
            case Notice():
                if event.text not in self._warned:
                    self._warned.add(event.text)
                    super().event(name, event)
            case Step() if event.completed and not event.cached and not event.error:
                running = self._board.find_ended(event)
                if running and running.layer:
                    self._tell_step(running, event)
            case Ended():
                self._tell_end(name, event)
        self._board.take(name, event)

    def _tell_step(self, running: RunningStep, step: Step) -> None:
        when = format_seconds((step.completed or 0) - (step.started or step.completed or 0))
        line = Text.assemble(("✓ ", "green"), running.title, (f"  {when}  {', '.join(running.cells)}", "dim"))
        self._console.print(line, no_wrap=True, overflow="ellipsis")

    def _tell_end(self, name: str, ended: Ended) -> None:
        if ended.state != "not started":
            when = format_seconds(ended.seconds)
            said = ended.text or ended.state
            self._console.print(Text.assemble(_STYLES[ended.state], (f"{name}  ", "bold"), said, (f"  {when}", "dim")))

    def _draw(self) -> RenderableType:
        if not self._board:
            return Group(*self._draw_stage())
        cells = Table.grid(padding=(0, 2))
        for _ in range(4):
            cells.add_column(no_wrap=True)
        cells.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        for cell in self._board.running:
            cells.add_row(*self._draw_cell(self._board, cell))
        shared = [(digest, step) for digest, step in self._board.steps.items() if len(step.cells) > 1]
        lines = [line for digest, step in shared for line in (self._draw_shared(step), *self._draw_words(digest))]
        return Group(*self._draw_stage(), cells, *lines, self._draw_total(self._board))

    def _draw_cell(self, board: Board, cell: CellState) -> tuple[Text, ...]:
        running = board.find_step(cell.work.cell)
        now = cell.phase or (running.title if running else "")
        if running and len(running.cells) > 1:
            now = f"↓ {now}"
        seconds = time.monotonic() - (cell.began or time.monotonic())
        return (
            Text.assemble(("… ", "cyan"), (cell.work.cell, "bold")),
            Text(format_seconds(seconds), style="dim", justify="right"),
            Text(f"{len(cell.layers)} of {len(cell.work.layers)} layers", style="dim"),
            Text(f"{format_bytes(cell.done)} of {format_bytes(cell.work.size)}", style="cyan"),
            Text(now),
        )

    def _draw_shared(self, running: RunningStep) -> Text:
        when = format_seconds(time.monotonic() - running.began)
        line = Text.assemble(("↓ ", "cyan"), running.title, f"  for {len(running.cells)} cells", (f"  {when}", "dim"))
        return self._add_bytes(line, running.transfer)

    def _draw_total(self, board: Board) -> RenderableType:
        done, total = board.bytes
        waiting = len(board.waiting)
        ended = len(board.cells) - waiting - len(board.running)
        eta = board.eta
        line = Table.grid(padding=(0, 2))
        line.add_row(
            ProgressBar(total=max(total, 1), completed=done, width=_BAR),
            Text(f"{format_bytes(done)} of {format_bytes(total)}", style="cyan"),
            Text(f"{ended} of {len(board.cells)} cells" + (f", {waiting} wait" if waiting else ""), style="dim"),
            Text(f"about {format_seconds(round(eta))} left" if eta else "", style="dim"),
        )
        return line
