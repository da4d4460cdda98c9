"""Draw which bytes are whose: a row for each cell, a segment for each layer, as SVG or as a page. Pure.

The colours are ColorBrewer's Blues (colorbrewer2.org), which stay apart for every kind of colour blindness and in
print; what only one cell has is orange and striped, so that it is told apart without colour as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from builder.titles import title_layers
from builder.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.plan import Plan

_TITLE = "Which bytes are whose"
_WIDTH = 1200
_MARGIN = 16
_HEAD = 128
_ROOMY = 40  # so many rows are drawn with room
_CHARACTER = 6.6  # a character's width at 11 px in most sans-serif fonts, rather too wide than too narrow
_LONGEST = 40  # characters of a cell's name; all of it is in its tooltip
_SHORTEST = 6  # fewer characters of a title tell nothing
_TICKS = 10
_STEPS = tuple(factor * 10**power for power in range(3, 15) for factor in (1, 2, 5))
_SHADES = ("#c6dbef", "#9ecae1", "#6baed6", "#2171b5", "#08306b")
_DARK_FROM = 3  # the first shade that wants white text
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_STYLE = """
text { font: 11px system-ui, sans-serif; fill: #1f2328; }
.paper { fill: #ffffff; } .line { stroke: #d1d9e0; } .quiet { fill: #59636e; }
.head { font-size: 18px; font-weight: 600; } .figure { font-size: 13px; font-weight: 600; }
.own { fill: url(#stripes); } .stripe { stroke: #b35806; } .back { fill: #fdb863; }
SHADES
.s4 { stroke: #6baed6; stroke-width: 0.5; } text.on-dark { fill: #ffffff; } text.on-light { fill: #10243e; }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc; } .paper { fill: #0d1117; } .line { stroke: #3d444d; } .quiet { fill: #9198a1; }
}
""".replace("SHADES", " ".join(f".s{number} {{ fill: {shade}; }}" for number, shade in enumerate(_SHADES)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A layer of a cell; `shared_by` is how many cells have it, this one included."""

    id: str
    title: str
    packages: int
    bytes: int
    shared_by: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A cell and its layers, in the order of installation."""

    cell: str
    layers: tuple[Segment, ...]

    @property
    def bytes(self) -> int:
        """What the cell takes."""
        return sum(segment.bytes for segment in self.layers)

    @property
    def own_bytes(self) -> int:
        """What no other cell has."""
        return sum(segment.bytes for segment in self.layers if segment.shared_by == 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What is drawn: the cells, and the bytes of the whole matrix.

    `naive`: every cell with its own packages; `unique`: every package once; `registry`: every layer once; `disk`:
    every chain of layers once, as one engine keeps it.
    """

    rows: tuple[Row, ...]
    naive: int
    unique: int
    registry: int
    disk: int

    @property
    def figures(self) -> tuple[tuple[str, int], ...]:
        """The bytes of the matrix, and what each of them is."""
        return (
            ("every cell with its own packages", self.naive),
            ("every package once", self.unique),
            ("these layers in a registry", self.registry),
            ("these layers on one engine", self.disk),
        )


def picture_plan(plan: Plan) -> Picture:
    """Return what is drawn of a plan."""
    titles, shared = title_layers(plan), plan.shared_by
    segments = {
        layer.id: Segment(
            id=layer.id,
            title=titles[layer.id],
            packages=len(layer.packages),
            bytes=layer.size,
            shared_by=shared[layer.id],
        )
        for layer in plan.layers
    }
    return Picture(
        rows=tuple(
            Row(cell=cell.id, layers=tuple(segments[layer.id] for layer in cell.layers)) for cell in plan.cells
        ),
        naive=plan.naive_bytes,
        unique=plan.unique_bytes,
        registry=plan.registry_bytes,
        disk=plan.disk_bytes,
    )


def draw_picture(picture: Picture) -> str:
    """Return a plan as one SVG that needs nothing else: no script, no font, no file."""
    return ElementTree.tostring(make_svg(picture), encoding="unicode") + "\n"


def make_svg(picture: Picture) -> Element:
    """Return the SVG of a plan as an element, to stand alone or in a page."""
    pitch = 26 if len(picture.rows) <= _ROOMY else 16
    height = _HEAD + pitch * len(picture.rows) + _MARGIN
    svg = Element("svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {_WIDTH} {height}", role="img")
    svg.attrib |= {"width": f"{_WIDTH}", "height": f"{height}"}
    svg.set("aria-labelledby", "picture-title picture-description")
    add_element(svg, "title", _TITLE, id="picture-title")
    add_element(svg, "desc", _describe(picture), id="picture-description")
    add_element(svg, "style", _STYLE)
    _add_stripes(svg)
    add_element(svg, "rect", width=_WIDTH, height=height, class_="paper")
    shades = _shade_counts(picture)
    _add_head(svg, picture, shades)
    left = _MARGIN + 12 + min(max((len(row.cell) for row in picture.rows), default=0), _LONGEST) * _CHARACTER
    right = _WIDTH - _MARGIN - 64
    most = max((row.bytes for row in picture.rows), default=0)
    scale = (right - left) / most if most else 0.0
    _add_axis(svg, left, most, scale, height - _MARGIN)
    for number, row in enumerate(picture.rows):
        _add_row(svg, row, (left, _HEAD + number * pitch), pitch - 4, scale, shades)
    return svg


def add_element(parent: Element, tag: str, text: str = "", **attributes: str | float) -> Element:
    """Return a new last child of an element. Text may be anything: what XML cannot hold is left out."""
    named = {
        key.rstrip("_").replace("_", "-"): f"{value:.3f}".rstrip("0").rstrip(".")
        if isinstance(value, float)
        else str(value)
        for key, value in attributes.items()
    }
    element = SubElement(parent, tag, named)
    element.text = _NOT_XML.sub("", text) or None
    return element


def _describe(picture: Picture) -> str:
    figures = "; ".join(f"{name}: {format_bytes(size)}" for name, size in picture.figures)
    return (
        f"One row for each of {len(picture.rows)} cells, one segment for each of its layers, as wide as the layer has "
        f"bytes, the darker the more cells share it; striped is what only one cell has. {figures}."
    )


def _shade_counts(picture: Picture) -> dict[int, int]:
    """Return the shade of each number of cells that share some layer, from two cells on, in equal steps."""
    counts = sorted({segment.shared_by for row in picture.rows for segment in row.layers} - {1})
    last = len(counts) - 1
    top = len(_SHADES) - 1
    return {count: round(rank * top / last) if last else top for rank, count in enumerate(counts)}


def _add_stripes(svg: Element) -> None:
    pattern = add_element(
        add_element(svg, "defs"), "pattern", id="stripes", width=6, height=6, patternUnits="userSpaceOnUse"
    )
    pattern.set("patternTransform", "rotate(45)")
    add_element(pattern, "rect", width=6, height=6, class_="back")
    add_element(pattern, "line", x1=0, y1=0, x2=0, y2=6, stroke_width=2, class_="stripe")


def _add_head(svg: Element, picture: Picture, shades: dict[int, int]) -> None:
    add_element(svg, "text", _TITLE, x=_MARGIN, y=30, class_="head")
    for number, (name, size) in enumerate(picture.figures):
        x = _MARGIN + number * (_WIDTH - 2 * _MARGIN) / len(picture.figures)
        add_element(svg, "text", format_bytes(size), x=x, y=54, class_="figure")
        add_element(svg, "text", name, x=x, y=69, class_="quiet")
    x = float(_MARGIN)
    for style, text in _list_legend(picture, shades):
        add_element(svg, "rect", x=x, y=82, width=14, height=12, class_=style)
        add_element(svg, "text", text, x=x + 19, y=92)
        x += 19 + len(text) * _CHARACTER + 18


def _list_legend(picture: Picture, shades: dict[int, int]) -> Iterator[tuple[str, str]]:
    yield "own", "this cell alone"
    for shade in sorted(set(shades.values())):
        counts = [count for count in shades if shades[count] == shade]
        if counts == [len(picture.rows)]:
            yield f"s{shade}", f"all {len(picture.rows)} cells"
        else:
            span = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
            yield f"s{shade}", f"in {span} cells"


def _add_axis(svg: Element, left: float, most: int, scale: float, bottom: int) -> None:
    step = next((step for step in _STEPS if most / step <= _TICKS), _STEPS[-1])
    for size in range(0, most + 1, step):
        x = left + size * scale
        add_element(svg, "line", x1=x, y1=_HEAD - 8, x2=x, y2=bottom, class_="line")
        add_element(svg, "text", format_bytes(size) if size else "0", x=x + 3, y=_HEAD - 8, class_="quiet")


def _add_row(
    svg: Element, row: Row, corner: tuple[float, float], height: int, scale: float, shades: dict[int, int]
) -> None:
    """Add a cell. Edges are sums of bytes, so that widths add up whatever is rounded."""
    left, top = corner
    middle = top + height / 2 + 4
    group = add_element(svg, "g")
    label = add_element(group, "text", _cut(row.cell, _LONGEST), x=left - 8, y=middle, text_anchor="end")
    if len(row.cell) > _LONGEST:
        add_element(label, "title", row.cell)
    start = 0
    for segment in row.layers:
        x, width = left + start * scale, segment.bytes * scale
        start += segment.bytes
        shade = shades.get(segment.shared_by)
        drawn = add_element(group, "g")
        add_element(drawn, "title", _explain(segment))
        gap = min(1.0, width / 4)  # room between neighbours of one colour; a thin segment stays to be seen
        style = "own" if shade is None else f"s{shade}"
        add_element(drawn, "rect", x=x, y=top, width=width - gap, height=height, class_=style)
        room = int((width - 10) / _CHARACTER)
        if shade is not None and room >= _SHORTEST:
            style = "on-light" if shade < _DARK_FROM else "on-dark"
            add_element(drawn, "text", _cut(segment.title, room), x=x + 5, y=middle, class_=style)
    add_element(group, "text", format_bytes(row.bytes), x=left + start * scale + 5, y=middle, class_="quiet")


def _explain(segment: Segment) -> str:
    packages = "1 package" if segment.packages == 1 else f"{segment.packages} packages"
    owners = "in this cell alone" if segment.shared_by == 1 else f"shared by {segment.shared_by} cells"
    return f"{segment.title}\n{packages}, {format_bytes(segment.bytes)}, {owners}\nlayer {segment.id}"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
