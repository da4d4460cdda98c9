"""The figures as a picture: one self-contained SVG of bars, a panel for each quantity, readable in light and dark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, COLUMNS = 920, 2
BAR, GAP, TITLE, PANEL_GAP = 22, 6, 26, 22
LABEL, VALUE = 76, 84

STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #1f2328 } .title { font-weight: 600 }
.own { fill: #0b6bcb } .other { fill: #9aa4b1 } .limit { stroke: #1f2328; stroke-dasharray: 3 2 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .own { fill: #58a6ff } .other { fill: #6e7a88 } .limit { stroke: #e6edf3 }
}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One quantity: its value for each way, how it is written, and the least that it can be, where that is known."""

    title: str
    values: tuple[tuple[str, float], ...]
    unit: str
    limit: float | None = None


def draw_chart(title: str, description: str, panels: Sequence[Panel], own: str) -> str:
    """Return the SVG; the bars of the way called `own` stand out."""
    column = (WIDTH - PANEL_GAP * (COLUMNS - 1)) / COLUMNS
    rows = [panels[start : start + COLUMNS] for start in range(0, len(panels), COLUMNS)]
    parts, top = [], 0.0
    for row in rows:
        for place, panel in enumerate(row):
            left = place * (column + PANEL_GAP)
            parts.append(f'<g transform="translate({left:.1f} {top:.1f})">{_draw_panel(panel, column, own)}</g>')
        top += TITLE + max(len(panel.values) for panel in row) * (BAR + GAP) + PANEL_GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top - PANEL_GAP:.0f}" role="img"'
        f' aria-labelledby="title description">\n<title id="title">{escape(title)}</title>\n'
        f'<desc id="description">{escape(description)}</desc>\n<style>\n{STYLE}\n</style>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _draw_panel(panel: Panel, width: float, own: str) -> str:
    longest = max([value for _, value in panel.values] + [panel.limit or 0]) or 1
    scale = (width - LABEL - VALUE) / longest
    parts = [f'<text class="title" x="0" y="15">{escape(panel.title)}</text>']
    for number, (way, value) in enumerate(panel.values):
        top, length = TITLE + number * (BAR + GAP), max(value * scale, 1)
        middle = top + BAR / 2 + 5
        parts += [
            f'<text x="{LABEL - 8}" y="{middle:.1f}" text-anchor="end">{escape(way)}</text>',
            f'<rect class="{"own" if way == own else "other"}" x="{LABEL}" y="{top}" width="{length:.1f}"'
            f' height="{BAR}" rx="2"/>',
            f'<text x="{LABEL + length + 6:.1f}" y="{middle:.1f}">{_write(value)} {escape(panel.unit)}</text>',
        ]
    if panel.limit is not None:
        x, bottom = LABEL + panel.limit * scale, TITLE + len(panel.values) * (BAR + GAP)
        parts.append(
            f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="{TITLE - 4}" y2="{bottom}">'
            f"<title>every distinct package once: {_write(panel.limit)} {escape(panel.unit)}</title></line>"
        )
    return "".join(parts)


def _write(value: float) -> str:
    """Return a number in as many digits as mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"
