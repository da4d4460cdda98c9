"""The figures as a Markdown table: a line for each phase and quantity, a column for each way."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.measure import Row


def draw_table(rows: Sequence[Row]) -> str:
    """Return the table; sizes are in MB (10⁶ bytes)."""
    ways = tuple(dict.fromkeys(row.way for row in rows))
    phases = tuple(dict.fromkeys(row.phase for row in rows))
    found = {(row.phase, row.way): row for row in rows}
    lines = [f"| | | {' | '.join(ways)} |", f"|---|---|{'--:|' * len(ways)}"]
    for phase in phases:
        cells = [found.get((phase, way)) for way in ways]
        quantities = {
            "time": [f"{row.seconds:.1f} s" if row else "" for row in cells],
            "pushed": [_megabytes(row.pushed_bytes) if row else "" for row in cells],
            "registry": [_megabytes(row.registry_bytes) if row else "" for row in cells],
            "engine": [_megabytes(row.engine_bytes) if row else "" for row in cells],
        }
        for number, (quantity, values) in enumerate(quantities.items()):
            lines.append(f"| {phase if number == 0 else ''} | {quantity} | {' | '.join(values)} |")
    return "\n".join(lines)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
