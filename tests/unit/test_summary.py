from __future__ import annotations

import html

import pytest

from builder.errors import BuildError, Cancelled, CheckError, EngineError, ImgbuildError
from builder.summary import choose_error, draw_markdown, draw_summary, summarize
from builder.work import Ended


def built(cell: str) -> Ended:
    return Ended(cell=cell, state="built", text=f"{cell}:1: 7 checks passed", seconds=61.0, ref=f"{cell}:1")


def failed(cell: str, error: ImgbuildError) -> Ended:
    return Ended(cell=cell, state="failed", text=error.message.splitlines()[0], seconds=2.0, error=error)


def stopped(cell: str, *, began: bool = True) -> Ended:
    state = "cancelled" if began else "not started"
    return Ended(cell=cell, state=state, text="", seconds=0.5, error=Cancelled("cancelled"))  # type: ignore[arg-type]


def redact(text: str) -> str:
    return text.replace("s3cret", "***")


def test_same_failure_is_said_once_with_its_cells() -> None:
    ended = [failed(name, BuildError(f"{name}: RUN make: exit code 1\n    s3cret", hint="look")) for name in "ab"]
    ended.append(failed("c", CheckError("c: 1 of 7 checks failed")))
    failures = summarize(ended, 5.0, redact).failures
    assert [(failure.cells, failure.text) for failure in failures] == [
        (("a", "b"), "RUN make: exit code 1\n    ***\n  → look"),
        (("c",), "1 of 7 checks failed"),
    ]


def test_lost_engine_is_one_failure_in_whatever_words() -> None:
    ended = [failed("a", EngineError("the connection broke")), failed("b", EngineError("the engine stopped"))]
    (failure,) = summarize([*ended, stopped("c")], 5.0, redact).failures
    assert (failure.cells, failure.text) == (("a", "b"), "the connection broke")


BUILD, CHECK, ENGINE = BuildError("step"), CheckError("checks"), EngineError("gone")


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        ([built("a"), built("b")], 0),
        ([built("a"), failed("b", CHECK), failed("c", BUILD)], 9),
        ([failed("a", BUILD), failed("b", CHECK)], 8),
        ([failed("a", BUILD), failed("b", ENGINE), stopped("c")], 7),
        ([failed("a", BUILD), stopped("b"), stopped("c", began=False)], 130),
    ],
)
def test_exit_code_is_that_of_what_stopped_all_else_of_the_first_failure(ended: list[Ended], code: int) -> None:
    error = choose_error([cell.error for cell in ended if cell.error])
    assert (error.exit_code if error else 0) == code


def test_rows_tell_every_cell() -> None:
    ended = [built("first"), failed("b", BuildError("RUN make: exit code 1\nmore")), stopped("c", began=False)]
    summary = summarize(ended, 3725.0, redact)
    assert list(draw_summary(summary)) == [
        "✗ b: RUN make: exit code 1\nmore",
        "✓ first  built           1:01",
        "✗ b      failed         2.0 s  RUN make: exit code 1",
        "· c      not started",
        "3 cells: 1 built, 1 failed, 1 not started in 1:02:05",
    ]


def test_single_cell_needs_no_summary_but_on_a_page() -> None:
    summary = summarize([failed("a", BuildError("RUN a | b"))], 1.0, redact)
    assert list(draw_summary(summary)) == []
    assert draw_markdown(summary).splitlines()[4:7] == [
        "| ✗ | `a` | failed | 2.0 s | RUN a &#124; b |",
        "",
        "1 cell: 1 failed in 1.0 s",
    ]


@pytest.mark.parametrize("text", ["a \\| b", "a | b ` c", "two\nlines", "<b>*x*</b> [y](z) &amp; __w__"])
def test_row_of_a_page_is_one_row_whatever_was_written(text: str) -> None:
    row = Ended(cell="a", state="failed", text=text, seconds=2.0)
    line = draw_markdown(summarize([row], 1.0, redact)).splitlines()[4]
    *_, said, end = line.split("|")
    assert (line.count("|"), end) == (6, "")
    assert html.unescape(said).split() == text.split()
    assert not set("`*_[]<>\\") & set(said)


def test_words_of_a_failure_do_not_close_their_fence() -> None:
    text = "```\n# heading\n`````"
    lines = draw_markdown(summarize([failed("a", BuildError(text))], 1.0, redact)).splitlines()
    begin, end = (number for number, line in enumerate(lines) if line == "`" * 6)
    assert "\n".join(lines[begin + 1 : end]) == text
