"""Put the picture of a plan into an HTML page, with its figures as tables for those who do not see it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from builder.plan_picture import add_element, make_svg
from builder.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.plan_picture import Picture

_STYLE = """
:root { color-scheme: light dark; } body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem; }
@media (prefers-color-scheme: dark) { body { background: #0d1117; color: #f0f6fc; } }
svg { width: 100%; height: auto; } table { border-collapse: collapse; margin: 2rem 0; width: 100%; }
caption { text-align: left; font-weight: 600; } td, th { padding: 0.2rem 0.8rem; text-align: left; }
td { vertical-align: top; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
tr { border-bottom: 1px solid #8886; }
"""


def draw_page(picture: Picture) -> str:
    """Return a plan as an HTML page that needs nothing else: the SVG, and tables of the same figures."""
    page = Element("html", lang="en")
    head = add_element(page, "head")
    add_element(head, "meta", charset="utf-8")
    add_element(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    add_element(head, "title", "Which bytes are whose")
    add_element(head, "style", _STYLE)
    body = add_element(add_element(page, "body"), "main")
    body.append(make_svg(picture))
    _add_table(body, "The matrix", ("What", "Bytes"), [(name, format_bytes(size)) for name, size in picture.figures])
    _add_table(body, "Layers", ("Layer", "Packages", "Bytes", "Cells", "Which"), _list_layers(picture))
    cells = [(row.cell, len(row.layers), format_bytes(row.bytes), format_bytes(row.own_bytes)) for row in picture.rows]
    _add_table(body, "Cells", ("Cell", "Layers", "Bytes", "Of its own"), cells)
    return "<!doctype html>\n" + ElementTree.tostring(page, encoding="unicode", method="html") + "\n"


def _list_layers(picture: Picture) -> list[tuple[str | int, ...]]:
    cells: dict[str, list[str]] = {}
    for row in picture.rows:
        for segment in row.layers:
            cells.setdefault(segment.id, []).append(row.cell)
    layers = {segment.id: segment for row in picture.rows for segment in row.layers}
    ranked = sorted(layers.values(), key=lambda segment: (-segment.shared_by, -segment.bytes, segment.id))
    return [(it.title, it.packages, format_bytes(it.bytes), it.shared_by, ", ".join(cells[it.id])) for it in ranked]


def _add_table(parent: Element, caption: str, header: tuple[str, ...], rows: Sequence[tuple[str | int, ...]]) -> None:
    table = add_element(parent, "table")
    add_element(table, "caption", caption)
    numeric = ["" if name in {"What", "Layer", "Cell", "Which"} else "number" for name in header]
    top = add_element(add_element(table, "thead"), "tr")
    for name, style in zip(header, numeric, strict=True):
        add_element(top, "th", name, scope="col", class_=style)
    body = add_element(table, "tbody")
    for row in rows:
        line = add_element(body, "tr")
        for text, style in zip(row, numeric, strict=True):
            add_element(line, "td", str(text), class_=style)
