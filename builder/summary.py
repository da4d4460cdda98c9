"""How a run of cells went: one row per cell, each failure once with the cells it hit, and the exit code. Pure."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from builder.errors import Cancelled, EngineError
from builder.progress_text import format_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from builder.errors import ImgbuildError
    from builder.work import Ended, State

Fault = TypeVar("Fault", bound=Exception)

_SIGNS: Mapping[State, str] = {"built": "✓", "up to date": "✓", "failed": "✗", "cancelled": "·", "not started": "·"}
_STATES = tuple(_SIGNS)

_MARKUP = re.compile(r"[\\`*_\[\]<>|&~$]")
"""What may mean something to GitHub's Markdown in a cell of a table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What went wrong, and for which cells: a step that several share fails all of them, and is said once."""

    cells: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """How every cell ended, in the order of the matrix; `seconds` is the time of the whole run."""

    rows: tuple[Ended, ...]
    failures: tuple[Failure, ...]
    seconds: float


def summarize(ended: Sequence[Ended], seconds: float, redact: Callable[[str], str]) -> Summary:
    """Return the summary of cells in the order of the matrix; `redact` goes over what failures say."""
    return Summary(rows=tuple(ended), failures=tuple(_group_failures(ended, redact)), seconds=seconds)


def choose_error(errors: Sequence[Fault]) -> Fault | None:
    """Return, of the errors of cells in the order of the matrix, the one whose exit code is that of the run.

    What ended the whole run comes first: the engine, then an interruption. Else it is the first failure in the
    order of the matrix, whenever it happened.
    """
    for kind in (EngineError, Cancelled, Exception):
        for error in errors:
            if isinstance(error, kind):
                return error
    return None


def draw_summary(summary: Summary) -> Iterator[str]:
    """Yield the lines of a summary of many cells: what went wrong, a row for each cell, and the sums.

    There are none for a single cell: its result, or its error, says it all.
    """
    if len(summary.rows) == 1:
        return
    for failure in summary.failures:
        yield f"✗ {', '.join(failure.cells)}: {failure.text}"
    width = max(len(row.cell) for row in summary.rows)
    for row in summary.rows:
        where = f"  {row.text}" if row.state == "failed" else ""
        yield f"{_SIGNS[row.state]} {row.cell:<{width}}  {row.state:<11}  {_format_time(row):>7}{where}".rstrip()
    yield f"{_count(summary)} in {format_seconds(summary.seconds)}"


def draw_markdown(summary: Summary) -> str:
    """Return a summary as a Markdown document with a table."""
    lines = ["### imgbuild", "", "| | Cell | | Time | |", "|---|---|---|---:|---|"]
    for row in summary.rows:
        text = _write_plainly(row.text)
        lines.append(f"| {_SIGNS[row.state]} | `{row.cell}` | {row.state} | {_format_time(row)} | {text} |")
    lines += ["", f"{_count(summary)} in {format_seconds(summary.seconds)}", ""]
    for failure in summary.failures:
        fence = _choose_fence(failure.text)
        lines += [f"**{', '.join(failure.cells)}**", "", fence, failure.text, fence, ""]
    return "\n".join(lines)


def _write_plainly(text: str) -> str:
    """Return a text as one line of Markdown that shows it as it is.

    Numeric references are never structure (spec.commonmark.org, "Entity and numeric character references").
    """
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", " ".join(text.split()))


def _choose_fence(text: str) -> str:
    """Return a fence for a text that none of its lines closes.

    It is longer than any in there (spec.commonmark.org, "Fenced code blocks").
    """
    return "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))


def _count(summary: Summary) -> str:
    counts = Counter(row.state for row in summary.rows)
    parts = [f"{counts[state]} {state}" for state in _STATES if counts[state]]
    return f"{len(summary.rows)} {'cell' if len(summary.rows) == 1 else 'cells'}: {', '.join(parts)}"


def _format_time(row: Ended) -> str:
    return "" if row.state == "not started" else format_seconds(row.seconds)


def _group_failures(ended: Sequence[Ended], redact: Callable[[str], str]) -> Iterator[Failure]:
    told: dict[str, list[str]] = {}
    engine = ""
    for cell in ended:
        match cell.error:
            case None | Cancelled():
                continue
            case EngineError() as error:
                # Builds that a dying engine ended at the same moment say so in different words.
                engine = text = engine or _explain(cell.cell, error)
            case error:
                text = _explain(cell.cell, error)
        told.setdefault(text, []).append(cell.cell)
    for text, cells in told.items():
        yield Failure(cells=tuple(cells), text=redact(text))


def _explain(cell: str, error: ImgbuildError) -> str:
    # Without the name of the cell, the same failure of two cells is the same.
    text = error.message.removeprefix(f"{cell}: ")
    return f"{text}\n  → {error.hint}" if error.hint else text
