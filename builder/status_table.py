"""Draw what a registry has of a project."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.status import Status


def draw_status(status: Status) -> str:
    """Return a line for each cell and each tag that no cell has, then the counts.

    Tags that nobody uses, immutable and staged ones, are counted only.
    """
    rows: list[tuple[str, str, str]] = [(it.state, it.ref, "; ".join(it.reasons)) for it in status.cells]
    rows += [(it.state, it.ref, it.text) for it in status.tags if it.state not in {"immutable", "staged"}]
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    lines = [f"{state:{widths[0]}}  {ref:{widths[1]}}  {why}".rstrip() for state, ref, why in rows]
    return "\n".join([*lines, *_sum_up(status)])


def _sum_up(status: Status) -> Iterator[str]:
    counts = dict(status.counts)
    immutable = counts.pop("immutable", 0)
    if counts:
        yield ", ".join(f"{count} {state}" for state, count in counts.items())
    if immutable:
        yield f"{immutable} immutable {'tag' if immutable == 1 else 'tags'}"
