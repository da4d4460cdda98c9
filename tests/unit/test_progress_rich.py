from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from builder.events import Log, Notice, Step, Transfer
from builder.progress import Progress
from builder.progress_rich import RichDisplay
from tests.unit.test_progress import redact, replay

RUN = "[2/3] RUN make"


@pytest.fixture
def progress() -> RichDisplay:
    """Progress on a terminal of 120 columns that keeps what it is sent."""
    drawn = RichDisplay(redact)
    drawn._console = drawn._live.console = Console(file=io.StringIO(), force_terminal=True, width=120, highlight=False)
    return drawn


def printed(progress: RichDisplay) -> str:
    """Return what scrolled away above the live block."""
    return str(progress._console.file.getvalue())  # type: ignore[attr-defined]


def live(progress: RichDisplay) -> str:
    """Return the live block as text."""
    console = Console(file=io.StringIO(), width=120)
    console.print(progress._draw())
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_running_step_shows_its_last_words_and_bytes(progress: RichDisplay) -> None:
    progress.event("cell", Step(digest="a", name=RUN, started=time.time()))
    progress.event("cell", Log(step="a", stream=1, text="first\ntoken s3cret\n"))
    progress.event("cell", Transfer(step="a", id="x", current=5_000_000, total=10_000_000, completed=False))
    block = live(progress)
    assert RUN in block
    assert "5 of 10 MB" in block
    assert "token ***" in block
    assert "first" not in block


def test_secret_that_arrives_in_pieces_is_never_shown(progress: RichDisplay) -> None:
    progress.event("cell", Step(digest="a", name=RUN, started=time.time()))
    for text, shown in (
        ("begin\ntoken s3c", "begin"),
        ("ret", "begin"),
        (" end\n", "token *** end"),
        ("50%\r", "50%"),
    ):
        progress.event("cell", Log(step="a", stream=1, text=text))
        block = live(progress)
        assert shown in block
        assert "s3c" not in block


def test_note_scrolls_away_and_leaves_the_stage(progress: RichDisplay) -> None:
    progress.stage("solving")
    progress.note("by the way")
    assert "by the way" in printed(progress)
    assert "solving" in live(progress)


def test_finished_step_scrolls_away_once(progress: RichDisplay) -> None:
    done = Step(digest="a", name=RUN, started=1.0, completed=3.5)
    progress.event("cell", Step(digest="a", name=RUN, started=1.0))
    for _ in range(2):
        progress.event("cell", done)
    assert RUN not in live(progress)
    assert printed(progress).count(RUN) == 1
    assert "2.5 s" in printed(progress)


@pytest.mark.parametrize(("more", "sign"), [({}, "✓"), ({"cached": True}, "·"), ({"error": "exit code 1"}, "✗")])
def test_sign_tells_how_a_step_ended(more: dict[str, object], sign: str, progress: RichDisplay) -> None:
    progress.event("cell", Step(digest="a", name=RUN, started=1.0, completed=2.0, **more))  # type: ignore[arg-type]
    assert sign in printed(progress)


def test_step_that_was_given_up_leaves_no_line(progress: RichDisplay) -> None:
    progress.event("cell", Step(digest="a", name=RUN, started=1.0))
    progress.event("cell", Step(digest="a", name=RUN, started=1.0, completed=2.0, error="context canceled"))
    assert RUN not in live(progress)
    assert RUN not in printed(progress)
    progress.event("cell", Step(digest="a", name=RUN, started=1.0, completed=3.0))
    assert RUN in printed(progress)


def test_stage_is_live_until_the_result(progress: RichDisplay) -> None:
    progress.stage("solving 12 cells")
    assert "solving 12 cells" in live(progress)
    progress.done("locked 12 cells")
    assert live(progress).strip() == ""
    assert "locked 12 cells" in printed(progress)


def test_warning_is_kept_and_redacted(progress: RichDisplay) -> None:
    progress.event("cell", Notice(step="a", text="s3cret in ENV"))
    assert "*** in ENV" in printed(progress)


def test_recorded_build_leaves_nothing_live_and_the_terminal_as_it_was(progress: RichDisplay) -> None:
    with Progress(progress) as told:
        for event in replay("success"):
            told.event("cell", event)
    assert live(progress).strip() == ""
    assert "RUN echo" in printed(progress)
    assert "[internal]" not in printed(progress)
    shown_again, hidden = "\x1b[?25h", "\x1b[?25l"
    assert printed(progress).rindex(shown_again) > printed(progress).rindex(hidden)


def test_names_of_steps_are_no_markup(progress: RichDisplay) -> None:
    name = "[2/3] RUN echo [red]x[/red]"
    progress.event("cell", Step(digest="a", name=name, started=1.0, completed=2.0))
    assert "[red]x[/red]" in printed(progress)
