"""Draw what a build reports: rich on a terminal, plain lines elsewhere, groups and annotations on GitHub Actions.

Everything goes to stderr; stdout belongs to refs and JSON.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Protocol, TextIO

from builder.events import Log, Notice, Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from builder.events import Event

_TAIL = 12


class Progress(Protocol):
    """What draws. `name` is the cell that an event belongs to."""

    def __enter__(self) -> Progress: ...

    def __exit__(self, *error: object) -> None: ...

    def stage(self, text: str) -> None:
        """Say that a stage outside the engine began."""

    def note(self, text: str) -> None:
        """Say something on the way that stays on the screen and is no result."""

    def event(self, name: str, event: Event) -> None:
        """Take in one event of a build."""

    def done(self, text: str) -> None:
        """Say a result that stays on the screen."""


def choose_progress(style: str, redact: Callable[[str], str]) -> Progress:
    """Return the progress for a style; `auto` looks at the environment. `redact` goes over all that steps wrote."""
    if style == "auto":
        on_github = os.environ.get("GITHUB_ACTIONS") == "true"
        style = "github" if on_github else "rich" if sys.stderr.isatty() else "plain"
    match style:
        case "rich":
            from builder.progress_rich import RichProgress

            return RichProgress(redact)
        case "github":
            return GithubProgress(redact, sys.stderr)
        case "quiet":
            return QuietProgress(redact, sys.stderr)
        case _:
            return PlainProgress(redact, sys.stderr)


class PlainProgress:
    """One line when a step starts to run, ends, or writes something; cached steps are told once."""

    def __init__(self, redact: Callable[[str], str], out: TextIO) -> None:
        self._redact = redact
        self._out = out
        self._steps: dict[str, Step] = {}
        self._numbers: dict[str, int] = {}
        self._partial: dict[str, str] = {}
        self._began = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self._out.flush()

    def stage(self, text: str) -> None:
        """Say that a stage outside the engine began."""
        self._line(text)

    def note(self, text: str) -> None:
        """Say something on the way."""
        self._line(text)

    def done(self, text: str) -> None:
        """Say a result."""
        self._line(text)

    def event(self, name: str, event: Event) -> None:
        """Take in one event of a build."""
        match event:
            case Step():
                self._step(name, event)
            case Log():
                text = self._partial.pop(event.step, "") + event.text
                *lines, rest = text.split("\n")
                if rest:
                    self._partial[event.step] = rest
                for line in lines:
                    self._line(f"{self._tag(event.step)} {self._redact(line.rstrip())}")
            case Notice():
                self._trouble("warning", event.step, event.text)

    def _step(self, name: str, step: Step) -> None:
        before = self._steps.get(step.digest)
        self._steps[step.digest] = step
        if step.name.startswith("[internal]") or step.name == "copy /context /":
            return
        if step.started and not (before and before.started):
            self._line(f"{self._tag(step.digest)} {name}: {headline(step.name)}")
        if step.completed and not (before and before.completed):
            if rest := self._partial.pop(step.digest, ""):
                self._line(f"{self._tag(step.digest)} {self._redact(rest)}")
            if step.error:
                self._trouble("failed", step.digest, step.error)
            elif step.cached:
                self._line(f"{self._tag(step.digest)} cached")
            elif step.started:
                self._line(f"{self._tag(step.digest)} done in {step.completed - step.started:.1f} s")

    def _trouble(self, kind: str, digest: str, text: str) -> None:
        self._line(f"{self._tag(digest)} {kind}: {self._redact(text)}")

    def _tag(self, digest: str) -> str:
        return f"#{self._numbers.setdefault(digest, len(self._numbers) + 1)}"

    def _line(self, text: str) -> None:
        print(f"[{time.monotonic() - self._began:6.1f}] {text}", file=self._out, flush=True)


class GithubProgress(PlainProgress):
    """Plain lines, with each stage and each cell's build a fold of the log; warnings and failures are annotations."""

    _open = False
    _building: str | None = None

    def stage(self, text: str) -> None:
        """Begin a fold."""
        self._close()
        print(f"::group::{text}", file=self._out, flush=True)
        self._open = True

    def note(self, text: str) -> None:
        """Say something outside the folds."""
        self._close()
        super().note(text)

    def done(self, text: str) -> None:
        """Say a result outside the folds."""
        self._close()
        self._building = None
        super().done(text)

    def event(self, name: str, event: Event) -> None:
        """Take in one event of a build; the first of a cell begins its fold."""
        if name != self._building:
            self.stage(f"{name}: building")
            self._building = name
        super().event(name, event)

    def __exit__(self, *error: object) -> None:
        self._close()

    def _trouble(self, kind: str, digest: str, text: str) -> None:
        command = "error" if kind == "failed" else kind
        said = self._redact(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
        print(f"::{command} title={self._building} {self._tag(digest)}::{said}", file=self._out, flush=True)

    def _close(self) -> None:
        if self._open:
            print("::endgroup::", file=self._out, flush=True)
        self._open = False


class QuietProgress(PlainProgress):
    """Nothing but results."""

    def stage(self, text: str) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def event(self, name: str, event: Event) -> None:
        """Draw nothing."""


def headline(name: str) -> str:
    """Return a step's name in one short line: `[2/3] RUN conda create …` without the mounts."""
    prefix, _, rest = name.partition("RUN ")
    if rest:
        words = [word for word in rest.split() if not word.startswith("--mount") and word != "\\"]
        text = " ".join(words).removeprefix(". /host/settings").lstrip(" &")
        name = f"{prefix}RUN {text}"
    return name if len(name) <= 100 else f"{name[:99]}…"


def tail(lines: list[str]) -> str:
    """Return the last lines that a failed step wrote, as they are shown under its error."""
    return "\n".join(f"    {line}" for line in lines[-_TAIL:])
