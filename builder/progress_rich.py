"""Progress on a terminal: one line per running step with its time and bytes, the last words of each below it."""

from __future__ import annotations

import re
import sys
import time
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from builder.events import Log, Notice, Step, Transfer
from builder.progress_text import headline, is_internal
from builder.summary import draw_summary
from builder.work import Ended, Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import RenderableType

    from builder.summary import Summary
    from builder.work import CellEvent, CellWork


class RichDisplay:
    """A live block of what runs now; what is finished scrolls away above it as plain lines."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact
        self._console = Console(stderr=True, highlight=False)
        self._stage: str | None = None
        self._running: dict[str, Step] = {}
        self._finished: set[str] = set()
        self._partial: dict[str, str] = {}
        self._words: dict[str, str] = {}
        self._transfers: dict[str, Transfer] = {}
        self._began = time.monotonic()
        self._live = Live(
            get_renderable=self._draw,
            console=self._console,
            transient=True,
            auto_refresh=False,
            redirect_stdout=sys.stdout.isatty(),  # refs that go to a pipe are no part of the terminal
        )

    def start(self) -> None:
        """Begin to draw."""
        self._live.start()

    def stop(self) -> None:
        """Leave nothing of the live block."""
        self._stage = None
        self._running.clear()
        self._live.stop()

    def refresh(self) -> None:
        """Draw the live block again."""
        self._live.refresh()

    def plan(self, works: Sequence[CellWork]) -> None:
        """Do nothing: a single cell is drawn by its steps."""

    def stage(self, text: str) -> None:
        """Show a stage outside the engine, until the next one."""
        self._stage = text
        self._began = time.monotonic()

    def note(self, text: str) -> None:
        """Say something on the way, above the live block."""
        self._print("· ", "dim", text)

    def done(self, text: str) -> None:
        """Say a result that stays on the screen."""
        self._stage = None
        self._print("✓ ", "green", text)

    def summary(self, summary: Summary) -> None:
        """Say how all cells ended."""
        for line in draw_summary(summary):
            self._console.print(Text(line))

    def event(self, name: str, event: CellEvent) -> None:
        """Take in what happened to a cell."""
        match event:
            case Step() if not is_internal(event.name):
                self._step(name, event)
            case Log():
                self._log(event)
            case Transfer():
                self._transfers[event.step] = event
            case Notice():
                self._print("! ", "yellow", self._redact(event.text))
            case Phase():
                self.stage(f"{name}: {event.text}")
            case Ended() if event.state in ("built", "up to date"):
                self.done(event.text)

    def _print(self, sign: str, style: str, text: str) -> None:
        self._console.print(Text.assemble((sign, style), text))

    def _log(self, event: Log) -> None:
        # Only whole lines are shown: the start of a secret is none that could be redacted.
        text = self._partial.get(event.step, "") + event.text
        *lines, self._partial[event.step] = re.split(r"[\r\n]", text)
        words = [line for line in lines if line.strip()]
        if words:
            self._words[event.step] = self._redact(words[-1]).strip()

    def _step(self, name: str, step: Step) -> None:
        if step.completed:
            self._running.pop(step.digest, None)
            self._partial.pop(step.digest, None)
            if step.digest not in self._finished and not step.cancelled:
                self._finished.add(step.digest)
                self._console.print(self._finished_line(name, step), no_wrap=True, overflow="ellipsis")
        elif step.started:
            self._stage = None
            self._running[step.digest] = step

    def _finished_line(self, name: str, step: Step) -> Text:
        seconds = (step.completed or 0) - (step.started or step.completed or 0)
        state, style = ("✗ ", "red") if step.error else ("· ", "dim") if step.cached else ("✓ ", "green")
        when = "cached" if step.cached else f"{seconds:.1f} s"
        return Text.assemble((state, style), (f"{name} ", "bold"), headline(step.name), (f"  {when}", "dim"))

    def _draw(self) -> RenderableType:
        lines = self._draw_stage()
        for digest, step in self._running.items():
            seconds = time.time() - (step.started or time.time())
            line = Text.assemble(("… ", "cyan"), headline(step.name), (f"  {seconds:.0f} s", "dim"))
            lines.append(self._add_bytes(line, self._transfers.get(digest)))
            lines += self._draw_words(digest)
        return Group(*lines)

    def _draw_stage(self) -> list[Text]:
        if not self._stage:
            return []
        seconds = f"  {time.monotonic() - self._began:.0f} s"
        return [Text.assemble(("… ", "cyan"), self._stage, (seconds, "dim"))]

    def _draw_words(self, digest: str) -> list[Text]:
        if digest not in self._words:
            return []
        return [Text(f"    {self._words[digest]}", style="dim", no_wrap=True, overflow="ellipsis")]

    def _add_bytes(self, line: Text, transfer: Transfer | None) -> Text:
        if transfer and transfer.total and not transfer.completed:
            line.append(f"  {transfer.current / 1e6:.0f} of {transfer.total / 1e6:.0f} MB", style="cyan")
        return line
