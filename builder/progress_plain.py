"""Progress as plain lines, for logs: told once, in the order in which it happens."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TextIO

from builder.events import Log, Notice, Step
from builder.progress_text import format_seconds, headline, is_internal
from builder.summary import draw_summary
from builder.work import Ended, Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from builder.summary import Summary
    from builder.work import CellEvent, CellWork


_BRIEF = 1.0


class PlainDisplay:
    """One line when a step starts to run, ends, or writes something.

    Steps have numbers. Of many cells, a step that several wait for is told for the first, and cached ones not at all.
    `guard` goes over all that is printed: it may be no command to who reads the log.
    """

    def __init__(self, redact: Callable[[str], str], out: TextIO, *, guard: Callable[[str], str] = str) -> None:
        self._redact = redact
        self._out = out
        self._guard = guard
        self._many = False
        self._steps: dict[str, Step] = {}
        self._over: set[tuple[str, float | None]] = set()
        self._owners: dict[str, str] = {}
        self._shared: set[tuple[str, str]] = set()
        self._numbers: dict[str, int] = {}
        self._partial: dict[str, str] = {}
        self._warned: set[str] = set()
        self._began = time.monotonic()

    def start(self) -> None:
        """Do nothing: lines need no preparation."""

    def stop(self) -> None:
        """Leave nothing unsaid."""
        self._out.flush()

    def refresh(self) -> None:
        """Do nothing: lines that were said stay."""

    def plan(self, works: Sequence[CellWork]) -> None:
        """Begin the lines with the cell, when there are many."""
        self._many = len(works) > 1

    def stage(self, text: str) -> None:
        """Say that a stage outside the engine began."""
        self._say(text)

    def note(self, text: str) -> None:
        """Say something on the way."""
        self._say(text)

    def done(self, text: str) -> None:
        """Say a result."""
        self._say(text)

    def summary(self, summary: Summary) -> None:
        """Say how all cells ended."""
        for line in draw_summary(summary):
            self._say(line)

    def event(self, name: str, event: CellEvent) -> None:
        """Take in what happened to a cell."""
        match event:
            case Step() if not is_internal(event.name):
                self._step(name, event)
            case Log() if self._owners.setdefault(event.step, name) == name:
                text = self._partial.pop(event.step, "") + event.text
                *lines, rest = text.split("\n")
                if rest:
                    self._partial[event.step] = rest
                for line in lines:
                    self._tell(name, event.step, self._redact(line.rstrip()))
            case Notice() if event.text not in self._warned:
                self._warned.add(event.text)
                self._trouble("warning", name, event.step, event.text)
            case Phase():
                self._begin_phase(name, event.text)
            case Ended():
                self._end(name, event)

    def _begin_phase(self, name: str, text: str) -> None:
        self._say(f"{name}: {text}", name)

    def _end(self, name: str, ended: Ended) -> None:
        # What it still shared with others is theirs from here on.
        self._owners = {digest: owner for digest, owner in self._owners.items() if owner != name}
        good = ended.state in ("built", "up to date")
        if self._many:
            said = ended.text if good else f"{ended.state}: {ended.text}".removesuffix(": ")
            self.done(f"{name}: {said} ({format_seconds(ended.seconds)})")
        elif good:
            self.done(ended.text)

    def _step(self, name: str, step: Step) -> None:
        if not step.started or (step.cached and self._many) or step.run in self._over:
            return
        before = self._steps.get(step.digest)
        # A step that failed or was lost may run again in a later build, at another time.
        again = before is None or before.started != step.started
        self._steps[step.digest] = step
        if again:
            self._owners[step.digest] = name
            if not (self._many and _is_brief(step)):
                self._tell(name, step.digest, headline(step.name) if self._many else f"{name}: {headline(step.name)}")
        elif not step.completed:
            self._share(name, step.digest)
        if step.completed:
            self._over.add(step.run)
            self._complete(self._owners.get(step.digest, name), step)

    def _share(self, name: str, digest: str) -> None:
        owner = self._owners.setdefault(digest, name)
        if owner != name and (name, digest) not in self._shared:
            self._shared.add((name, digest))
            self._tell(name, digest, f"waits for this step of {owner}")

    def _complete(self, name: str, step: Step) -> None:
        if rest := self._partial.pop(step.digest, ""):
            self._tell(name, step.digest, self._redact(rest))
        if step.cancelled:
            self._tell(name, step.digest, "cancelled")
        elif step.error:
            self._trouble("failed", name, step.digest, step.error)
        elif step.cached:
            self._tell(name, step.digest, "cached")
        else:
            seconds = (step.completed or 0) - (step.started or 0)
            if not (self._many and _is_brief(step)):
                self._tell(name, step.digest, f"done in {seconds:.1f} s")
            elif seconds >= _BRIEF:
                self._tell(name, step.digest, f"{headline(step.name)}: done in {seconds:.1f} s")

    def _trouble(self, kind: str, name: str, digest: str, text: str) -> None:
        self._tell(name, digest, f"{kind}: {self._redact(text)}")

    def _tell(self, name: str, digest: str, text: str) -> None:
        self._say(f"{self._prefix(name)}{self._tag(digest)} {text}", name)

    def _prefix(self, name: str) -> str:
        return f"{name} " if self._many else ""

    def _tag(self, digest: str) -> str:
        return f"#{self._numbers.setdefault(digest, len(self._numbers) + 1)}"

    def _say(self, text: str, name: str = "") -> None:
        """Print a line, which belongs to the cell `name` or to none."""
        self._print(f"[{time.monotonic() - self._began:6.1f}] {text}", name)

    def _print(self, line: str, name: str) -> None:  # noqa: ARG002 (for those who keep cells apart)
        print(self._guard(line), file=self._out, flush=True)


class QuietDisplay(PlainDisplay):
    """Nothing but results, and what failed."""

    def stage(self, text: str) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def event(self, name: str, event: CellEvent) -> None:  # noqa: ARG002 (the refs name the cells)
        """Say how a cell ended."""
        if isinstance(event, Ended) and event.state in ("built", "up to date"):
            self.done(event.text)

    def summary(self, summary: Summary) -> None:
        """Say what failed."""
        if summary.failures:
            super().summary(summary)


def _is_brief(step: Step) -> bool:
    """Return whether a step mostly takes no time: base images and exports, which of many cells are told if they do."""
    return "RUN " not in step.name
