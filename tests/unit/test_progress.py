from __future__ import annotations

import contextlib
import io
import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder.engine import read_stream
from builder.errors import BuildError
from builder.events import Event, Log, Notice, Step
from builder.progress import Progress, choose_progress
from builder.progress_github import GithubDisplay
from builder.progress_matrix import MatrixDisplay
from builder.progress_plain import PlainDisplay, QuietDisplay
from builder.progress_rich import RichDisplay
from builder.progress_text import format_seconds, headline, tail
from builder.summary import Failure, Summary, summarize
from builder.work import CellWork, Ended, Phase

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DATA = Path(__file__).parent / "data"


def redact(text: str) -> str:
    return text.replace("s3cret", "***")


def replay(name: str) -> list[Event]:
    events: list[Event] = []
    with contextlib.suppress(BuildError):
        events.extend(read_stream(iter((DATA / f"build-{name}.jsonl").read_bytes().splitlines())))
    return events


# What BuildKit says of a step that another build runs as well (a recorded build of two images at once).
GIVEN_UP = "failed to calculate checksum of ref abc::def: context canceled: context canceled"


def draw(kind: type[PlainDisplay], events: Iterable[Event], *, stage: str = "") -> list[str]:
    """Return the lines that are drawn, without their times."""
    out = io.StringIO()
    with Progress(kind(redact, out)) as progress:
        if stage:
            progress.stage(stage)
            progress.note("by the way")
        for event in events:
            progress.event("cell", event)
        progress.done("finished")
    return told(out)


def step(**more: object) -> Step:
    return Step(**{"digest": "sha256:a", "name": "[2/3] RUN make", **more})  # type: ignore[arg-type]


def test_recorded_build_is_told_step_by_step() -> None:
    lines = draw(PlainDisplay, replay("success"))
    text = "\n".join(lines)
    assert re.search(r"^#\d+ cell: \[stage-0 2/2\] RUN echo \"to stdout\"", text, re.M)
    assert re.search(r"^#\d+ unfinished lineto stdout$", text, re.M)
    assert re.search(r"^#\d+ warning: JSONArgsRecommended", text, re.M)
    assert re.search(r"^#\d+ done in \d\.\d s$", text, re.M)
    assert "[internal]" not in text
    assert lines[-1] == "finished"


def test_recorded_failure_shows_words_and_error() -> None:
    text = "\n".join(draw(PlainDisplay, replay("failure")))
    assert re.search(r"^#(\d+) words before the end\n#\1 failed: .*exit code: 3$", text, re.M)


@pytest.mark.parametrize("kind", [PlainDisplay, GithubDisplay])
def test_step_that_was_given_up_for_the_same_elsewhere_is_no_failure(kind: type[PlainDisplay]) -> None:
    text = "\n".join(draw(kind, [step(started=1.0), step(started=1.0, completed=2.0, error=GIVEN_UP)]))
    assert "#1 cancelled" in text
    assert "failed" not in text
    assert "error" not in text


def test_github_annotates_the_failure_of_a_cell_whose_steps_were_only_given_up() -> None:
    out = io.StringIO()
    with Progress(GithubDisplay(redact, out)) as progress:
        progress.plan([CellWork(cell="one", layers=())])
        progress.event("one", step(started=1.0, completed=2.0, error=GIVEN_UP))
        progress.event("one", Ended(cell="one", state="failed", text="no disk", seconds=1.0))
    assert any(line.startswith("::error") and "no disk" in line for line in told(out))


def test_step_is_told_once_however_often_it_is_reported() -> None:
    done = step(started=1.0, completed=3.5)
    events = [step(), step(started=1.0), step(started=1.0), done, done]
    assert draw(PlainDisplay, events) == ["#1 cell: [2/3] RUN make", "#1 done in 2.5 s", "finished"]


def test_note_is_told_on_the_way() -> None:
    assert draw(PlainDisplay, [], stage="solving") == ["solving", "by the way", "finished"]


def test_cached_step_is_told() -> None:
    assert "#1 cached" in draw(PlainDisplay, [step(started=1.0, completed=1.0, cached=True)])


def test_lines_that_arrive_in_pieces_are_whole_and_redacted() -> None:
    pieces = [Log(step="sha256:a", stream=1, text=text) for text in ("one s3c", "ret\ntwo s3", "cret")]
    lines = draw(PlainDisplay, [step(started=1.0), *pieces, step(started=1.0, completed=2.0)])
    assert lines[1:4] == ["#1 one ***", "#1 two ***", "#1 done in 1.0 s"]


def test_errors_and_warnings_are_redacted() -> None:
    events: list[Event] = [
        Notice(step="sha256:a", text="s3cret in ENV"),
        step(started=1.0, completed=2.0, error="wget s3cret"),
    ]
    assert "s3cret" not in "\n".join(draw(PlainDisplay, events))


def test_github_folds_stages_and_annotates_warnings() -> None:
    notice = Notice(step="sha256:a", text="100% s3cret\nsecond line")
    assert draw(GithubDisplay, [notice], stage="solving") == [
        "::group::solving",
        "::endgroup::",
        "by the way",
        "::group::cell: building",
        "::warning title=cell #1::100%25 ***%0Asecond line",
        "::endgroup::",
        "finished",
    ]


def test_github_folds_the_build_of_a_cell_and_annotates_its_failure() -> None:
    out = io.StringIO()
    with Progress(GithubDisplay(redact, out)) as progress:
        progress.plan([CellWork(cell="one", layers=())])
        for _ in range(2):
            progress.event("one", step(digest="sha256:b", started=1.0, completed=2.0, error="wget\rs3cret\nend"))
        progress.event("one", Ended(cell="one", state="failed", text="wget", seconds=1.0))
    assert told(out) == [
        "::group::one: building",
        "#1 one: [2/3] RUN make",
        "::error title=one #1::wget%0D***%0Aend",
        "::endgroup::",
    ]


def told(out: io.StringIO) -> list[str]:
    """Return the lines that were drawn, without their times."""
    return [re.sub(r"^\[ *[\d.]+\] ", "", line) for line in out.getvalue().splitlines()]


def draw_three(kind: type[PlainDisplay]) -> list[str]:
    """Return what is drawn of three cells: two of them wait for the same step, which fails; one passes by."""
    out = io.StringIO()
    running = step(started=1.0)
    failed = step(started=1.0, completed=3.0, error="exit code 3")
    with Progress(kind(redact, out)) as progress:
        progress.plan([CellWork(cell=name, layers=()) for name in ("one", "two", "three")])
        for name in ("one", "two"):
            progress.event(name, step())
            progress.event(name, running)
        for name in ("one", "two"):
            progress.event(name, Notice(step="sha256:a", text="old syntax"))
            progress.event(name, Log(step="sha256:a", stream=1, text="words\n"))
        progress.event("three", step(digest="sha256:c", name="[2/3] RUN other", started=1.0))
        progress.event("three", step(digest="sha256:d", name="[1/3] FROM x", started=1.0, completed=1.0, cached=True))
        for name in ("one", "two"):
            progress.event(name, failed)
            progress.event(name, Ended(cell=name, state="failed", text="RUN make: exit code 3", seconds=2.0))
        progress.event("three", step(digest="sha256:c", name="[2/3] RUN other", started=1.0, completed=2.0))
        progress.event("three", step(digest="sha256:e", name="exporting to image", started=3.0, completed=9.0))
        progress.event("three", Phase(text="checking the image"))
        progress.event("three", Ended(cell="three", state="built", text="three:1: 7 checks passed", seconds=4.0))
        progress.summary(SUMMARY)
    return told(out)


SUMMARY = Summary(
    rows=(
        Ended(cell="one", state="failed", text="RUN make: exit code 3", seconds=2.0),
        Ended(cell="two", state="failed", text="RUN make: exit code 3", seconds=2.0),
        Ended(cell="three", state="built", text="three:1: 7 checks passed", seconds=4.0),
    ),
    failures=(Failure(cells=("one", "two"), text="RUN make: exit code 3\n    words"),),
    seconds=5.0,
)
ENDING = [
    "✗ one, two: RUN make: exit code 3",
    "    words",
    "✗ one    failed         2.0 s  RUN make: exit code 3",
    "✗ two    failed         2.0 s  RUN make: exit code 3",
    "✓ three  built          4.0 s",
    "3 cells: 1 built, 2 failed in 5.0 s",
]


def test_lines_of_many_cells_begin_with_the_cell_and_a_shared_step_is_told_once() -> None:
    assert draw_three(PlainDisplay) == [
        "one #1 [2/3] RUN make",
        "two #1 waits for this step of one",
        "one #1 warning: old syntax",
        "one #1 words",
        "three #2 [2/3] RUN other",
        "one #1 failed: exit code 3",
        "one: failed: RUN make: exit code 3 (2.0 s)",
        "two: failed: RUN make: exit code 3 (2.0 s)",
        "three #2 done in 1.0 s",
        "three #3 exporting to image: done in 6.0 s",
        "three: checking the image",
        "three: three:1: 7 checks passed (4.0 s)",
        *ENDING,
    ]


def test_github_keeps_the_lines_of_a_cell_back_until_it_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    assert draw_three(GithubDisplay) == [
        "::warning title=one #1::old syntax",
        "::error title=one #1::exit code 3",
        "::group::one",
        "#1 [2/3] RUN make",
        "#1 words",
        "::endgroup::",
        "one: failed: RUN make: exit code 3 (2.0 s)",
        "::group::two",
        "#1 waits for this step of one",
        "::endgroup::",
        "two: failed: RUN make: exit code 3 (2.0 s)",
        "::group::three",
        "#2 [2/3] RUN other",
        "#2 done in 1.0 s",
        "#3 exporting to image: done in 6.0 s",
        "three: checking the image",
        "::endgroup::",
        "three: three:1: 7 checks passed (4.0 s)",
        *ENDING,
    ]
    assert "| ✗ | `two` | failed | 2.0 s | RUN make: exit code 3 |" in page.read_text()


def test_github_annotates_a_failure_that_is_no_step_s() -> None:
    out = io.StringIO()
    with Progress(GithubDisplay(redact, out)) as progress:
        progress.plan([CellWork(cell=name, layers=()) for name in ("one", "two")])
        progress.event("one", step(started=1.0))
        progress.event("one", Ended(cell="one", state="failed", text="2 of 7 checks failed", seconds=1.0))
    assert "::error title=one::2 of 7 checks failed" in told(out)


def test_lines_of_cells_that_did_not_end_are_told_at_the_end() -> None:
    out = io.StringIO()
    with Progress(GithubDisplay(redact, out)) as progress:
        progress.plan([CellWork(cell=name, layers=()) for name in ("one", "two")])
        progress.event("one", step(started=1.0))
        assert told(out) == []
    assert told(out) == ["::group::one", "#1 [2/3] RUN make", "::endgroup::"]


def test_quiet_tells_results_and_what_failed() -> None:
    assert draw_three(QuietDisplay) == ["three:1: 7 checks passed", *ENDING]


def test_step_of_a_cell_that_ended_goes_on_for_the_next() -> None:
    out = io.StringIO()
    with Progress(PlainDisplay(redact, out)) as progress:
        progress.plan([CellWork(cell=name, layers=()) for name in ("one", "two")])
        for name in ("one", "two"):
            progress.event(name, step(started=1.0))
        progress.event("one", Ended(cell="one", state="failed", text="another step", seconds=1.0))
        progress.event("two", Log(step="sha256:a", stream=1, text="more\n"))
        progress.event("two", step(started=1.0, completed=2.0))
    assert told(out)[-2:] == ["two #1 more", "two #1 done in 1.0 s"]


def test_step_of_two_cells_is_told_once_when_one_stream_lags_behind() -> None:
    out = io.StringIO()
    with Progress(PlainDisplay(redact, out)) as progress:
        progress.plan([CellWork(cell=name, layers=()) for name in ("one", "two")])
        for name in ("one", "two", "one"):
            progress.event(name, step(started=1.0))
            progress.event(name, step(started=1.0, completed=2.0))
        progress.event("one", step(started=5.0))
        progress.event("two", step(started=1.0, completed=2.0))
        progress.event("one", step(started=5.0, completed=6.5))
    assert told(out) == [
        "one #1 [2/3] RUN make",
        "one #1 done in 1.0 s",
        "one #1 [2/3] RUN make",
        "one #1 done in 1.5 s",
    ]


def test_step_that_runs_again_later_is_told_again() -> None:
    out = io.StringIO()
    with Progress(PlainDisplay(redact, out)) as progress:
        progress.plan([CellWork(cell=name, layers=()) for name in ("one", "two")])
        progress.event("one", step(started=1.0, completed=2.0, error="no"))
        progress.event("two", step(started=5.0, completed=6.0, error="no"))
    assert told(out) == [f"{name} #1 {text}" for name in ("one", "two") for text in ("[2/3] RUN make", "failed: no")]


def test_many_threads_tell_whole_lines() -> None:
    out = io.StringIO()
    names = [f"cell-{number}" for number in range(8)]
    with Progress(PlainDisplay(redact, out)) as progress:
        progress.plan([CellWork(cell=name, layers=()) for name in names])

        def tell(name: str) -> None:
            for number in range(200):
                progress.event(name, Log(step=name, stream=1, text=f"{number}\n"))

        threads = [threading.Thread(target=tell, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = [re.fullmatch(r"(cell-\d) #\d (\d+)", line) for line in told(out)]
    for name in names:
        assert [int(line[2]) for line in lines if line and line[1] == name] == list(range(200))


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (59.94, "59.9 s"), (60, "1:00"), (3599.6, "1:00:00"), (3725, "1:02:05")]
)
def test_times_are_those_of_a_clock(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_words_of_a_step_are_no_commands_to_github() -> None:
    lines = draw(GithubDisplay, [Log(step="sha256:a", stream=1, text="::error::forged\n")])
    assert not any(line.startswith("::error") for line in lines)


def test_page_of_a_job_that_cannot_be_written_spoils_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "nowhere" / "summary.md"))
    assert "::warning::the job's page cannot be written: No such file or directory" in draw_three(GithubDisplay)


FORGED = "x\n  ::error::forged ##[add-mask]forged\r::group::forged\n```\n# forged"


def tell_forged(progress: Progress, cells: Sequence[str]) -> None:
    """Tell of a failed cell whose every text has commands to GitHub's runner in it."""
    progress.stage(FORGED)
    progress.note(FORGED)
    progress.plan([CellWork(cell=name, layers=()) for name in cells])
    progress.event("one", step(name=f"[2/3] RUN {FORGED}", started=1.0))
    progress.event("one", Log(step="sha256:a", stream=1, text=FORGED))
    progress.event("one", step(started=1.0, completed=2.0, error=FORGED))
    progress.event("one", Phase(text=FORGED))
    ended = Ended(cell="one", state="failed", text=FORGED, seconds=1.0, error=BuildError(FORGED))
    progress.event("one", ended)
    progress.done(FORGED)
    progress.summary(summarize([ended, replace(ended, cell="two")], 1.0, redact))


def list_commands(text: str) -> list[str]:
    lines = re.split(r"[\r\n]+", text)
    return [line for line in lines if line.lstrip().startswith("::") or "##[" in line]


@pytest.mark.parametrize("cells", [["one"], ["one", "two"]], ids=len)
@pytest.mark.parametrize("style", ["plain", "quiet"])
def test_nothing_that_others_wrote_is_a_command_to_github_in_any_style_for_logs(
    style: str, cells: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for here in ("true", ""):
        monkeypatch.setenv("GITHUB_ACTIONS", here)
        with choose_progress(style, redact, cells=len(cells)) as progress:
            tell_forged(progress, cells)
        said = capsys.readouterr().err
        assert "forged" in said
        assert bool(list_commands(said)) is (not here), "elsewhere it stays as it was written"


def test_nothing_that_others_wrote_is_a_command_to_github(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    for cells in (["one"], ["one", "two"]):
        out = io.StringIO()
        with Progress(GithubDisplay(redact, out)) as progress:
            tell_forged(progress, cells)
        commands = list_commands(out.getvalue())
        lines = re.split(r"[\r\n]+", out.getvalue())
        assert all(re.match("::(group|endgroup|error title=one #1)::", line) for line in commands), commands
        assert not any(line.startswith("::group::forged") for line in lines)
        rows = [line for line in page.read_text().splitlines() if line.startswith("| ✗")]
        assert all(line.count("|") == 6 for line in rows)
        assert "````" in page.read_text().splitlines()


def test_quiet_tells_results_only() -> None:
    assert draw(QuietDisplay, replay("success"), stage="solving") == ["finished"]


@pytest.mark.parametrize(
    ("style", "github", "cells", "kind"),
    [
        ("auto", "", 1, PlainDisplay),
        ("auto", "true", 1, GithubDisplay),
        ("plain", "true", 2, PlainDisplay),
        ("quiet", "", 1, QuietDisplay),
        ("rich", "", 1, RichDisplay),
        ("rich", "", 2, MatrixDisplay),
    ],
)
def test_style_follows_the_environment(
    style: str, github: str, cells: int, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", github)
    assert type(choose_progress(style, redact, cells=cells).display) is kind


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
