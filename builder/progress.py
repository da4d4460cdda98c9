"""Draw what happens: rich on a terminal, plain lines elsewhere, folds and annotations on GitHub Actions.

Everything goes to stderr; stdout belongs to refs and JSON.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Protocol

from builder.workflow_commands import defuse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from builder.summary import Summary
    from builder.work import CellEvent, CellWork

_REDRAWN = 0.125
"""Seconds between two drawings of a live display."""


class Display(Protocol):
    """What draws, told by one thread at a time."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End, and leave the terminal as it was."""

    def refresh(self) -> None:
        """Draw again what shows times, if anything does."""

    def plan(self, works: Sequence[CellWork]) -> None:
        """Take in what will be built."""

    def stage(self, text: str) -> None:
        """Say that a stage outside the engine began."""

    def note(self, text: str) -> None:
        """Say something on the way that stays on the screen and is no result."""

    def event(self, name: str, event: CellEvent) -> None:
        """Take in what happened to a cell."""

    def done(self, text: str) -> None:
        """Say a result that stays on the screen."""

    def summary(self, summary: Summary) -> None:
        """Say how all cells ended; it is the last that is said."""


class Progress:
    """A context manager that hands what any thread tells to one display, one call at a time."""

    def __init__(self, display: Display) -> None:
        self.display = display
        # Not rich's own thread: it would read what another thread is just changing.
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True, name="imgbuild-progress")

    def __enter__(self) -> Progress:
        self.display.start()
        self._ticker.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._ticker.join()
        with self._lock:
            self.display.stop()

    def plan(self, works: Sequence[CellWork]) -> None:
        """Take in what will be built, before the first event."""
        with self._lock:
            self.display.plan(works)

    def stage(self, text: str) -> None:
        """Say that a stage outside the engine began."""
        with self._lock:
            self.display.stage(text)

    def note(self, text: str) -> None:
        """Say something on the way that stays on the screen and is no result."""
        with self._lock:
            self.display.note(text)

    def event(self, name: str, event: CellEvent) -> None:
        """Take in what happened to the cell `name`."""
        with self._lock:
            self.display.event(name, event)

    def done(self, text: str) -> None:
        """Say a result that stays on the screen."""
        with self._lock:
            self.display.done(text)

    def summary(self, summary: Summary) -> None:
        """Say how all cells ended."""
        with self._lock:
            self.display.summary(summary)

    def _tick(self) -> None:
        while not self._ended.wait(_REDRAWN):
            with self._lock:
                self.display.refresh()


def choose_progress(style: str, redact: Callable[[str], str], *, cells: int = 1) -> Progress:
    """Return the progress for a style; `auto` looks at the environment. `redact` goes over all that steps wrote.

    On GitHub Actions none of it is a command to the runner; `rich` is for terminals, which take none.
    """
    on_github = os.environ.get("GITHUB_ACTIONS") == "true"
    if style == "auto":
        style = "github" if on_github else "rich" if sys.stderr.isatty() else "plain"
    return Progress(_choose_display(style, redact, cells, defuse if on_github else str))


def _choose_display(style: str, redact: Callable[[str], str], cells: int, guard: Callable[[str], str]) -> Display:
    match style:
        case "rich" if cells > 1:
            from builder.progress_matrix import MatrixDisplay

            return MatrixDisplay(redact)
        case "rich":
            from builder.progress_rich import RichDisplay

            return RichDisplay(redact)
        case "github":
            from builder.progress_github import GithubDisplay

            return GithubDisplay(redact, sys.stderr)
        case "quiet":
            from builder.progress_plain import QuietDisplay

            return QuietDisplay(redact, sys.stderr, guard=guard)
        case _:
            from builder.progress_plain import PlainDisplay

            return PlainDisplay(redact, sys.stderr, guard=guard)
