"""Progress in the log of a GitHub Actions job: folds, annotations, and a table on the job's page."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from builder.events import Step
from builder.progress_plain import PlainDisplay
from builder.summary import draw_markdown
from builder.work import Ended
from builder.workflow_commands import defuse, write_command

if TYPE_CHECKING:
    from collections.abc import Callable

    from builder.summary import Summary
    from builder.work import CellEvent


class GithubDisplay(PlainDisplay):
    """Plain lines in folds; warnings and failures are annotations.

    Folds cannot lie side by side. So of many cells the lines of each are kept back, and its fold comes when it ended.
    """

    def __init__(self, redact: Callable[[str], str], out: TextIO) -> None:
        super().__init__(redact, out, guard=defuse)
        self._open = False
        self._building: str | None = None
        self._kept: dict[str, list[str]] = defaultdict(list)
        self._explained: set[str] = set()

    def stage(self, text: str) -> None:
        """Begin a fold."""
        self._close()
        self._command("group", text)
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

    def event(self, name: str, event: CellEvent) -> None:
        """Take in what happened to a cell; the first of a single cell begins its fold."""
        if name != self._building and not self._many and not isinstance(event, Ended):
            self.stage(f"{name}: building")
            self._building = name
        if isinstance(event, Step) and event.error and not event.cancelled:
            self._explained.add(name)
        super().event(name, event)

    def summary(self, summary: Summary) -> None:
        """Say how all cells ended, also on the page of the job."""
        self._close()
        super().summary(summary)
        if path := os.environ.get("GITHUB_STEP_SUMMARY"):
            try:
                with Path(path).open("a", encoding="utf-8") as page:
                    page.write(draw_markdown(summary))
            except OSError as error:
                self._command("warning", f"the job's page cannot be written: {error.strerror}")

    def stop(self) -> None:
        """Close the last fold."""
        for name in tuple(self._kept):
            self._unfold(name)
        self._close()
        super().stop()

    def _begin_phase(self, name: str, text: str) -> None:
        if self._many:
            super()._begin_phase(name, text)
        else:
            self.stage(f"{name}: {text}")

    def _end(self, name: str, ended: Ended) -> None:
        if self._many:
            self._unfold(name)
        if ended.state == "failed" and name not in self._explained:
            self._annotate("error", name, ended.text)
        super()._end(name, ended)

    def _prefix(self, name: str) -> str:  # noqa: ARG002 (the fold says it)
        return ""

    def _unfold(self, name: str) -> None:
        lines = self._kept.pop(name, [])
        if lines:
            self.stage(name)
            for line in lines:
                super()._print(line, "")
            self._close()

    def _trouble(self, kind: str, name: str, digest: str, text: str) -> None:
        self._annotate("error" if kind == "failed" else kind, f"{name} {self._tag(digest)}", text)

    def _annotate(self, kind: str, title: str, text: str) -> None:
        self._command(kind, self._redact(text), title=title)

    def _print(self, line: str, name: str) -> None:
        if self._many and name:
            self._kept[name].append(line)
        else:
            super()._print(line, name)

    def _command(self, name: str, text: str = "", *, title: str = "") -> None:
        print(write_command(name, text, title=title), file=self._out, flush=True)

    def _close(self) -> None:
        if self._open:
            self._command("endgroup")
        self._open = False
