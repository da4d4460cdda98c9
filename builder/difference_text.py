"""Draw what differs between two images: for a terminal, or as Markdown for a pull request.

Markdown is GitHub's (github.github.com/gfm): whatever comes from an image stands in a code span of a table's cell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.difference import sum_bytes
from builder.progress_text import shorten
from builder.render import LABEL
from builder.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from builder.difference import Difference, Side

_WIDTH = 80  # characters of a label
Row = tuple[str, ...]


def draw_difference(difference: Difference, *, markdown: bool) -> str:
    """Return a text of several tables, ending in a line break."""
    draw = _draw_markdown if markdown else _draw_plain
    parts = [*draw("", _list_figures(difference)), *_list_notes(difference)]
    for title, rows in _list_tables(difference):
        parts += ["", *draw(title, rows)]
    return "\n".join(parts) + "\n"


def _list_figures(it: Difference) -> list[Row]:
    sides = (it.before, it.now)
    more = it.now.image.compressed - it.before.image.compressed
    return [
        ("", "before", "now", "change"),
        ("image", *(side.ref for side in sides), ""),
        ("digest", *(side.image.digest.removeprefix("sha256:")[:12] for side in sides), ""),
        ("size", *(format_bytes(side.image.compressed) for side in sides), _sign(more)),
        ("layers", *(str(len(side.image.layers)) for side in sides), f"{len(it.shared)} shared"),
        ("packages", *map(_count_packages, sides), _count_changes(it)),
    ]


def _list_notes(it: Difference) -> Iterator[str]:
    yield ""
    if it.is_empty:
        yield "Both are the same image."
        return
    count = f"{len(it.fresh)} layer" if len(it.fresh) == 1 else f"{len(it.fresh)} layers"
    yield f"Whoever has the first pulls {format_bytes(sum_bytes(it.fresh))} in {count} for the second."
    unknown = [name for name, side in (("first", it.before), ("second", it.now)) if side.contents is None]
    if unknown:
        whose = " and the ".join(unknown)
        yield f"The packages of the {whose} are unknown: no lock and no bill of materials tells them."
    elif not it.packages and any(key == f"{LABEL}.packages" for key, *_ in it.labels):
        yield "The packages have the same versions, and some of them other builds."


def _list_tables(it: Difference) -> Iterator[tuple[str, list[Row]]]:
    if it.packages:
        rows = [(change.name, change.kind, change.before or "—", change.now or "—") for change in it.packages]
        yield f"Packages: {_count_changes(it)}", [("package", "from", "before", "now"), *rows]
    if it.labels:
        labels = [(key, *(shorten(value, _WIDTH) if value else "—" for value in values)) for key, *values in it.labels]
        yield "Labels", [("label", "before", "now"), *labels]


def _count_packages(side: Side) -> str:
    return str(len(side.contents.packages)) if side.contents else "unknown"


def _count_changes(it: Difference) -> str:
    if it.packages is None:
        return ""
    added = sum(change.before is None for change in it.packages)
    removed = sum(change.now is None for change in it.packages)
    counts = ((added, "added"), (removed, "removed"), (len(it.packages) - added - removed, "changed"))
    return ", ".join(f"{count} {word}" for count, word in counts if count) or "none changed"


def _sign(size: int) -> str:
    return f"{'+' if size >= 0 else '-'}{format_bytes(abs(size))}" if size else "none"


def _draw_plain(title: str, rows: Sequence[Row]) -> Iterator[str]:
    if title:
        yield title
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def _draw_markdown(title: str, rows: Sequence[Row]) -> Iterator[str]:
    if title:
        yield f"#### {title}"
        yield ""
    head, *body = rows
    yield _join(head)
    yield _join(["---"] * len(head))
    for row in body:
        first = _quote(row[0]) if title else row[0]
        yield _join([first, *map(_quote, row[1:])])


def _join(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _quote(text: str) -> str:
    # A backslash keeps a | from ending the cell, also in a code span; a backtick would end the span.
    return f"`{text.replace('`', chr(39)).replace('|', chr(92) + '|')}`" if text else ""
