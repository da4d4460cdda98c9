"""A result as a Markdown table and as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.chart import Panel, draw_chart

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.measure import Row
    from benchmarks.result import Result

OWN = "imgbuild"


def draw_table(result: Result) -> str:
    """Return the tables: a line for each phase and quantity, a column for each way; MB are 10⁶ bytes."""
    ways = tuple(dict.fromkeys(row.way for row in result.rows))
    phases = tuple(dict.fromkeys(row.phase for row in result.rows))
    found = {(row.phase, row.way): row for row in result.rows}
    lines = [f"| {_caption(result)} | | {' | '.join(ways)} |", f"|---|---|{'--:|' * len(ways)}"]
    for phase in phases:
        cells = [found.get((phase, way)) for way in ways]
        for number, (quantity, write) in enumerate(QUANTITIES.items()):
            values = (write(row) if row else "" for row in cells)
            lines.append(f"| {'' if number else phase} | {quantity} | {' | '.join(values)} |")
    installs = {install.way: install for install in result.installs}
    if installs:
        quantities = ("the largest cell's steps again", "`cp -a` of what they make")
        seconds = {way: (install.install_seconds, install.copy_seconds) for way, install in installs.items()}
        for number, quantity in enumerate(quantities):
            values = (f"{seconds[way][number]:.1f} s" if way in seconds else "" for way in ways)
            lines.append(f"| {'' if number else 'install'} | {quantity} | {' | '.join(values)} |")
    return "\n".join(lines)


def _caption(result: Result) -> str:
    described = result.input
    sizes = f"{_megabytes(described.naive_bytes)} of packages, {_megabytes(described.unique_bytes)} distinct"
    return f"{described.title}: {described.cells} cells, {sizes}; {result.cores} cores"


def draw_picture(result: Result) -> str:
    """Return the SVG: time, what the registry stores, and, where it was measured, what the last phase costs."""
    cold, *again = dict.fromkeys(row.phase for row in result.rows)
    unique = result.input.unique_bytes / 1e6

    def panel(title: str, phase: str, read: Callable[[Row], float], unit: str, limit: float | None = None) -> Panel:
        values = tuple((row.way, read(row)) for row in result.rows if row.phase == phase)
        return Panel(title=title, values=values, unit=unit, limit=limit)

    stored = "Stored in the registry (line: every distinct package once)"
    panels = [
        panel("Built and pushed, from nothing", cold, lambda row: row.seconds, "s"),
        panel(stored, cold, lambda row: row.registry_bytes / 1e6, "MB", unique),
    ]
    if again:
        last = again[-1]
        panels += [
            panel(f"Again: {last}", last, lambda row: row.seconds, "s"),
            panel(f"Pushed: {last}", last, lambda row: row.pushed_bytes / 1e6, "MB"),
        ]
    description = f"{_caption(result)}. The dashed line is every distinct package once."
    return draw_chart("A matrix built three ways", description, panels, OWN)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


QUANTITIES: dict[str, Callable[[Row], str]] = {
    "time": lambda row: f"{row.seconds:.1f} s",
    "pushed": lambda row: _megabytes(row.pushed_bytes),
    "pushed, images alone": lambda row: _megabytes(row.image_bytes),
    "registry": lambda row: _megabytes(row.registry_bytes),
    "engine's disk": lambda row: _megabytes(row.engine_bytes),
}
