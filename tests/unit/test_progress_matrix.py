from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from builder.events import Log, Notice
from builder.progress import Progress
from builder.progress_matrix import MatrixDisplay
from builder.summary import summarize
from builder.work import Ended, Phase
from tests.unit.test_board import CUDA, OLD, WORKS, install
from tests.unit.test_progress import redact
from tests.unit.test_progress_rich import live, printed


@pytest.fixture
def display() -> MatrixDisplay:
    """Progress of two cells on a terminal of 120 columns that keeps what it is sent."""
    drawn = MatrixDisplay(redact)
    drawn._console = drawn._live.console = Console(file=io.StringIO(), force_terminal=True, width=120, highlight=False)
    drawn.plan(WORKS)
    return drawn


def test_cells_have_a_line_each_and_a_shared_step_one_for_all(display: MatrixDisplay) -> None:
    for cell in ("old", "new"):
        display.event(cell, install(CUDA, started=time.time()))
        display.event(cell, Log(step=CUDA.id, stream=1, text=f"{cell} s3cret\n"))
    lines = live(display).splitlines()
    assert [line.split()[1] for line in lines[:2]] == ["old", "new"]
    assert all("0 of 2 layers" in line and "↓ CUDA libraries" in line for line in lines[:2])
    assert lines[2].startswith("↓ CUDA libraries  for 2 cells")
    assert lines[3].strip() == "old ***"
    assert "0 kB of 1 kB" in lines[4]
    assert "0 of 2 cells" in lines[4]


def test_own_step_is_told_in_the_line_of_the_cell(display: MatrixDisplay) -> None:
    display.event("old", install(OLD, started=time.time()))
    lines = live(display).splitlines()
    assert len(lines) == 2
    assert "Python py311" in lines[0]
    assert "↓" not in lines[0]
    assert "0 of 2 cells, 1 wait" in lines[1]
    display.event("old", Phase(text="checking the image"))
    assert "checking the image" in live(display).splitlines()[0]


def test_installed_layer_scrolls_away_once_and_cached_ones_are_not_told(display: MatrixDisplay) -> None:
    for cell in ("old", "new"):
        display.event(cell, install(CUDA, started=1.0))
    for cell in ("old", "new"):
        display.event(cell, install(CUDA, started=1.0, completed=3.5))
    display.event("old", install(OLD, started=4.0, completed=4.0, cached=True))
    assert printed(display).count("CUDA libraries") == 1
    assert "2.5 s  old, new" in printed(display)
    assert "Python py311" not in printed(display)


def test_shared_step_is_told_once_when_one_stream_lags_behind(display: MatrixDisplay) -> None:
    for cell in ("old", "new"):
        display.event(cell, install(CUDA, started=1.0))
        display.event(cell, install(CUDA, started=1.0, completed=3.5))
    assert printed(display).count("CUDA libraries") == 1
    display.event("old", install(CUDA, started=5.0))
    display.event("old", install(CUDA, started=5.0, completed=6.0))
    assert printed(display).count("CUDA libraries") == 2, "it did run again"


def test_end_of_a_cell_scrolls_away(display: MatrixDisplay) -> None:
    display.event("old", Ended(cell="old", state="built", text="x:1: 7 checks passed", seconds=62.0, ref="x:1"))
    display.event("new", Ended(cell="new", state="not started", text="", seconds=0.0))
    assert "x:1: 7 checks passed" in printed(display)
    assert "1:02" in printed(display)
    assert "new" not in printed(display)
    assert "2 of 2 cells" in live(display)


def test_warning_of_many_cells_is_told_once(display: MatrixDisplay) -> None:
    for cell in ("old", "new"):
        display.event(cell, Notice(step="a", text="old syntax"))
    assert printed(display).count("old syntax") == 1


def test_summary_takes_the_place_of_the_live_block(display: MatrixDisplay) -> None:
    ended = [Ended(cell=work.cell, state="built", text="", seconds=1.0) for work in WORKS]
    with Progress(display) as progress:
        progress.event("old", install(OLD, started=time.time()))
        progress.summary(summarize(ended, 2.0, redact))
        assert live(display).strip() == ""
    assert "2 cells: 2 built in 2.0 s" in printed(display)


def test_stage_is_drawn_before_the_cells_are_known() -> None:
    display = MatrixDisplay(redact)
    display.stage("conda: solving 2 cells")
    assert "conda: solving 2 cells" in live(display)
    display.plan(WORKS)
    assert "solving" not in live(display)
