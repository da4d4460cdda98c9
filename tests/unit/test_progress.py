from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder.engine import read_stream
from builder.errors import BuildError
from builder.events import Event, Log, Notice, Step
from builder.progress import GithubProgress, PlainProgress, QuietProgress, choose_progress, headline, tail
from builder.progress_rich import RichProgress

if TYPE_CHECKING:
    from collections.abc import Iterable

DATA = Path(__file__).parent / "data"


def redact(text: str) -> str:
    return text.replace("s3cret", "***")


def replay(name: str) -> list[Event]:
    events: list[Event] = []
    with contextlib.suppress(BuildError):
        events.extend(read_stream(iter((DATA / f"build-{name}.jsonl").read_bytes().splitlines())))
    return events


def draw(kind: type[PlainProgress], events: Iterable[Event], *, stage: str = "") -> list[str]:
    """Return the lines that are drawn, without their times."""
    out = io.StringIO()
    with kind(redact, out) as progress:
        if stage:
            progress.stage(stage)
            progress.note("by the way")
        for event in events:
            progress.event("cell", event)
        progress.done("finished")
    return [re.sub(r"^\[ *[\d.]+\] ", "", line) for line in out.getvalue().splitlines()]


def step(**more: object) -> Step:
    return Step(**{"digest": "sha256:a", "name": "[2/3] RUN make", **more})  # type: ignore[arg-type]


def test_recorded_build_is_told_step_by_step() -> None:
    lines = draw(PlainProgress, replay("success"))
    text = "\n".join(lines)
    assert re.search(r"^#\d+ cell: \[stage-0 2/2\] RUN echo \"to stdout\"", text, re.M)
    assert re.search(r"^#\d+ unfinished lineto stdout$", text, re.M)
    assert re.search(r"^#\d+ warning: JSONArgsRecommended", text, re.M)
    assert re.search(r"^#\d+ done in \d\.\d s$", text, re.M)
    assert "[internal]" not in text
    assert lines[-1] == "finished"


def test_recorded_failure_shows_words_and_error() -> None:
    text = "\n".join(draw(PlainProgress, replay("failure")))
    assert re.search(r"^#(\d+) words before the end\n#\1 failed: .*exit code: 3$", text, re.M)


def test_step_is_told_once_however_often_it_is_reported() -> None:
    events = [step(), step(started=1.0), step(started=1.0), *[step(started=1.0, completed=3.5)] * 2]
    assert draw(PlainProgress, events) == ["#1 cell: [2/3] RUN make", "#1 done in 2.5 s", "finished"]


def test_note_is_told_on_the_way() -> None:
    assert draw(PlainProgress, [], stage="solving") == ["solving", "by the way", "finished"]


def test_cached_step_is_told() -> None:
    assert "#1 cached" in draw(PlainProgress, [step(started=1.0, completed=1.0, cached=True)])


def test_lines_that_arrive_in_pieces_are_whole_and_redacted() -> None:
    pieces = [Log(step="sha256:a", stream=1, text=text) for text in ("one s3c", "ret\ntwo s3", "cret")]
    lines = draw(PlainProgress, [step(started=1.0), *pieces, step(started=1.0, completed=2.0)])
    assert lines[1:4] == ["#1 one ***", "#1 two ***", "#1 done in 1.0 s"]


def test_errors_and_warnings_are_redacted() -> None:
    events = [Notice(step="sha256:a", text="s3cret in ENV"), step(started=1.0, completed=2.0, error="wget s3cret")]
    assert "s3cret" not in "\n".join(draw(PlainProgress, events))


def test_github_folds_stages_and_annotates_warnings() -> None:
    notice = Notice(step="sha256:a", text="100% s3cret\nsecond line")
    assert draw(GithubProgress, [notice], stage="solving") == [
        "::group::solving",
        "::endgroup::",
        "by the way",
        "::group::cell: building",
        "::warning title=cell #1::100%25 ***%0Asecond line",
        "::endgroup::",
        "finished",
    ]


def test_github_folds_the_build_of_each_cell_and_annotates_failures() -> None:
    out = io.StringIO()
    with GithubProgress(redact, out) as progress:
        for cell in ("one", "two"):
            for event in (step(), step(started=1.0), step(started=1.0)):
                progress.event(cell, event)
            progress.done(f"{cell} finished")
        for _ in range(2):
            progress.event("three", step(digest="sha256:b", started=1.0, completed=2.0, error="wget\rs3cret\nend"))
    lines = [re.sub(r"^\[ *[\d.]+\] ", "", line) for line in out.getvalue().splitlines()]
    assert lines == [
        "::group::one: building",
        "#1 one: [2/3] RUN make",
        "::endgroup::",
        "one finished",
        "::group::two: building",
        "#1 two: [2/3] RUN make",
        "::endgroup::",
        "two finished",
        "::group::three: building",
        "#2 three: [2/3] RUN make",
        "::error title=three #2::wget%0D***%0Aend",
        "::endgroup::",
    ]


def test_words_of_a_step_are_no_commands_to_github() -> None:
    lines = draw(GithubProgress, [Log(step="sha256:a", stream=1, text="::error::forged\n")])
    assert not any(line.startswith("::error") for line in lines)


def test_quiet_tells_results_only() -> None:
    assert draw(QuietProgress, replay("success"), stage="solving") == ["finished"]


@pytest.mark.parametrize(
    ("style", "github", "kind"),
    [
        ("auto", "", PlainProgress),
        ("auto", "true", GithubProgress),
        ("plain", "true", PlainProgress),
        ("quiet", "", QuietProgress),
        ("rich", "", RichProgress),
    ],
)
def test_style_follows_the_environment(style: str, github: str, kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", github)
    assert type(choose_progress(style, redact)) is kind


def test_progress_leaves_stdout_alone(capsys: pytest.CaptureFixture[str]) -> None:
    for style in ("plain", "github", "quiet", "rich"):
        with choose_progress(style, redact) as progress:
            progress.stage("solving")
            for event in replay("success"):
                progress.event("cell", event)
            progress.note("by the way")
            progress.done("finished")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("[1/2] FROM docker.io/library/debian:13", "[1/2] FROM docker.io/library/debian:13"),
        (
            "[3/4] RUN --mount=type=bind,source=host,target=/host \\\n --mount=type=secret,id=host"
            " . /host/settings && conda create",
            "[3/4] RUN conda create",
        ),
        ("[2/2] RUN " + "x" * 200, "[2/2] RUN " + "x" * 89 + "…"),
    ],
)
def test_headline_is_one_short_line(name: str, line: str) -> None:
    assert headline(name) == line


def test_tail_is_the_end_of_what_was_said() -> None:
    assert tail([str(number) for number in range(100)]).split() == [str(number) for number in range(88, 100)]
