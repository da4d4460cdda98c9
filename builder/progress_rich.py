"""Progress on a terminal: one line per running step with its time and bytes, the last words of each below it."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from builder.events import Log, Notice, Step, Transfer
from builder.progress import Progress, headline

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

    from builder.events import Event


class RichProgress:
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
        # Live draws as soon as it exists, so it comes last.
        self._live = Live(get_renderable=self._draw, console=self._console, transient=True, refresh_per_second=8)

    def __enter__(self) -> Progress:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stage = None
        self._running.clear()
        self._live.stop()

    def stage(self, text: str) -> None:
        """Show a stage outside the engine, until the next one."""
        self._stage = text
        self._began = time.monotonic()

    def note(self, text: str) -> None:
        """Say something on the way, above the live block."""
        self._console.print(Text.assemble(("· ", "dim"), text))

    def done(self, text: str) -> None:
        """Say a result that stays on the screen."""
        self._stage = None
        self._console.print(Text.assemble(("✓ ", "green"), text))

    def event(self, name: str, event: Event) -> None:
        """Take in one event of a build."""
        match event:
            case Step():
                self._step(name, event)
            case Log():
                self._log(event)
            case Transfer():
                self._transfers[event.step] = event
            case Notice():
                self._console.print(Text.assemble(("! ", "yellow"), self._redact(event.text)))

    def _log(self, event: Log) -> None:
        # Only whole lines are shown: the start of a secret is none that could be redacted.
        text = self._partial.get(event.step, "") + event.text
        *lines, self._partial[event.step] = re.split(r"[\r\n]", text)
        words = [line for line in lines if line.strip()]
        if words:
            self._words[event.step] = self._redact(words[-1]).strip()

    def _step(self, name: str, step: Step) -> None:
        if step.name.startswith("[internal]") or step.name == "copy /context /":
            return
        if step.completed:
            self._running.pop(step.digest, None)
            self._partial.pop(step.digest, None)
            if step.digest not in self._finished:
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
        lines = []
        if self._stage:
            lines.append(
                Text.assemble(("… ", "cyan"), self._stage, (f"  {time.monotonic() - self._began:.0f} s", "dim"))
            )
        for digest, step in self._running.items():
            seconds = time.time() - (step.started or time.time())
            line = Text.assemble(("… ", "cyan"), headline(step.name), (f"  {seconds:.0f} s", "dim"))
            transfer = self._transfers.get(digest)
            if transfer and transfer.total and not transfer.completed:
                line.append(f"  {transfer.current / 1e6:.0f} of {transfer.total / 1e6:.0f} MB", style="cyan")
            lines.append(line)
            if digest in self._words:
                lines.append(Text(f"    {self._words[digest]}", style="dim", no_wrap=True, overflow="ellipsis"))
        return Group(*lines)
