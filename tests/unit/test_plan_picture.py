from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.plan_page import draw_page
from builder.plan_picture import Picture, Row, Segment, draw_picture, picture_plan
from builder.planning import plan_environments
from tests.samples import make_conda, make_environment, make_python

SVG = "{http://www.w3.org/2000/svg}"


def make_segment(title: str, size: int, shared_by: int = 1, packages: int = 1) -> Segment:
    return Segment(id=f"id-{title}", title=title, packages=packages, bytes=size, shared_by=shared_by)


def make_picture(*rows: Row) -> Picture:
    return Picture(rows=rows, naive=3_000_000_000, unique=1_500_000_000, registry=1_600_000_000, disk=1_700_000_000)


def read_rows(text: str) -> list[list[ElementTree.Element]]:
    """Return the segments of each row."""
    return [row.findall(f"{SVG}g") for row in ElementTree.fromstring(text).findall(f"{SVG}g")]


def edges(segment: ElementTree.Element) -> tuple[float, float, str]:
    rectangle = segment.find(f"{SVG}rect")
    assert rectangle is not None
    return float(rectangle.attrib["x"]), float(rectangle.attrib["width"]), rectangle.attrib["class"]


CUDA, PYTHON, OWN, REST = (
    make_segment("CUDA libraries", 2_000_000_000, 3, 41),
    make_segment("Python 3.10", 100_000_000, 2, 30),
    make_segment("this cell alone", 500_000_000),
    make_segment("the other", 900_000_000),
)
PICTURE = make_picture(
    Row(cell="py310-cu126", layers=(CUDA, PYTHON, OWN)),
    Row(cell="py310-cpu", layers=(CUDA, PYTHON)),
    Row(cell="py311-cu126", layers=(CUDA, REST)),
)


def test_a_segment_starts_where_the_one_before_ends_in_proportion_to_bytes() -> None:
    rows = read_rows(draw_picture(PICTURE))
    assert [len(row) for row in rows] == [3, 2, 2]
    scales = set()
    for row, drawn in zip(PICTURE.rows, rows, strict=True):
        starts = [edges(segment)[0] for segment in drawn]
        ends = [*starts[1:], sum(edges(drawn[-1])[:2]) + 1.0]
        for segment, start, end in zip(row.layers, starts, ends, strict=True):
            scales.add(round((end - start) / segment.bytes * 1e9, 1))
    assert len(scales) == 1, "one scale for all rows"


def test_what_one_cell_alone_has_is_striped_and_the_most_shared_is_darkest() -> None:
    rows = read_rows(draw_picture(PICTURE))
    assert [edges(segment)[2] for segment in rows[0]] == ["s4", "s0", "own"]


def test_a_tooltip_tells_the_layer() -> None:
    tooltips = [title.text for title in ElementTree.fromstring(draw_picture(PICTURE)).iter(f"{SVG}title")]
    assert "CUDA libraries\n41 packages, 2.0 GB, shared by 3 cells\nlayer id-CUDA libraries" in tooltips
    assert "this cell alone\n1 package, 500.0 MB, in this cell alone\nlayer id-this cell alone" in tooltips


def test_the_figures_and_the_legend_are_there() -> None:
    root = ElementTree.fromstring(draw_picture(PICTURE))
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert {"3.0 GB", "1.5 GB", "1.6 GB", "1.7 GB", "this cell alone", "in 2 cells", "all 3 cells"} <= set(texts)


def test_it_has_a_name_and_a_description_for_who_does_not_see_it() -> None:
    root = ElementTree.fromstring(draw_picture(PICTURE))
    named = {node.attrib.get("id"): node.text for node in root}
    title, description = (named[key] for key in root.attrib["aria-labelledby"].split())
    assert (root.attrib["role"], title) == ("img", "Which bytes are whose")
    assert description
    assert "3 cells" in description


def test_it_needs_nothing_else() -> None:
    text = draw_picture(PICTURE)
    assert "<script" not in text
    assert text.count("http") == text.count('"http://www.w3.org/2000/svg"') == 1


words = st.text(alphabet=st.characters(codec="utf-8"), max_size=60)
segments = st.builds(make_segment, words, st.integers(0, 10**13), st.integers(1, 300))
pictures = st.builds(
    make_picture,
    st.builds(Row, cell=words, layers=st.lists(segments, max_size=5).map(tuple)),
    st.builds(Row, cell=words, layers=st.lists(segments, max_size=5).map(tuple)),
)


@given(pictures)
def test_any_text_and_any_bytes_give_xml_inside_its_frame(picture: Picture) -> None:
    text = draw_picture(picture)
    for row, drawn in zip(picture.rows, read_rows(text), strict=True):
        assert len(drawn) == len(row.layers)
        for segment in drawn:
            x, width, _ = edges(segment)
            assert width >= 0
            assert x + width <= 1200


@pytest.mark.parametrize("count", [0, 1, 12, 120])
def test_the_picture_is_as_high_as_its_rows_need(count: int) -> None:
    rows = [Row(cell=f"cell-{number}", layers=(CUDA, PYTHON)) for number in range(count)]
    root = ElementTree.fromstring(draw_picture(make_picture(*rows)))
    height = float(root.attrib["height"])
    tops = [float(group.findall(f"{SVG}g/{SVG}rect")[0].attrib["y"]) for group in root.findall(f"{SVG}g")]
    assert tops == sorted(set(tops))
    assert all(top < height - 10 for top in tops)


class Tables(HTMLParser):
    """The cells of every table row of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.inside = False

    def handle_starttag(self, tag: str, _attrs: object) -> None:
        if tag == "tr":
            self.rows.append([])
        self.inside = tag == "td"

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1].append(data)
            self.inside = False


def test_the_page_has_the_picture_and_its_figures_as_tables() -> None:
    page = draw_page(PICTURE)
    assert page.startswith('<!doctype html>\n<html lang="en">')
    assert "<svg" in page
    tables = Tables()
    tables.feed(page)
    assert ["these layers in a registry", "1.6 GB"] in tables.rows
    assert ["CUDA libraries", "41", "2.0 GB", "3", "py310-cu126, py310-cpu, py311-cu126"] in tables.rows
    assert ["py310-cu126", "3", "2.6 GB", "500.0 MB"] in tables.rows


def test_text_in_the_page_is_text() -> None:
    evil = make_picture(Row(cell="<script>alert(1)</script>", layers=(make_segment("</svg><b>&", 10),)))
    page = draw_page(evil)
    assert "<script" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;" in page


def test_a_plan_is_drawn_as_it_is() -> None:
    plan = plan_environments(
        {
            Path("pixi.lock"): [
                make_environment("py310", conda=[*make_python("3.10.16"), make_conda("only-here", size=5_000_000)]),
                make_environment("py311", conda=make_python("3.11.9")),
            ]
        }
    )
    picture = picture_plan(plan)
    assert [row.cell for row in picture.rows] == ["py310", "py311"]
    assert picture.registry == sum({it.id: it.bytes for row in picture.rows for it in row.layers}.values())
    assert [row.bytes for row in picture.rows] == [sum(layer.size for layer in cell.layers) for cell in plan.cells]
    assert {it.shared_by for row in picture.rows for it in row.layers} == {1, 2}
