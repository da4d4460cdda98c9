from __future__ import annotations

import pytest

from builder.board import Board
from builder.events import Log, Step, Transfer
from builder.work import CellWork, Ended, LayerWork, Phase

CUDA = LayerWork(id="0a1b2c3d4e5f", title="CUDA libraries", size=800)
OLD, NEW = (LayerWork(id=id_, title=f"Python {id_}", size=100) for id_ in ("py311", "py313"))
WORKS = (CellWork(cell="old", layers=(CUDA, OLD)), CellWork(cell="new", layers=(CUDA, NEW)))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def board(clock: Clock) -> Board:
    return Board(WORKS, clock)


def install(layer: LayerWork, *, digest: str = "", **more: object) -> Step:
    """Return a step that installs a layer, as BuildKit names it."""
    name = f"[2/5] RUN --mount=type=bind,source=layers/{layer.id},target=/build --mount=type=cache,target=/x make"
    return Step(digest=digest or layer.id, name=name, **more)  # type: ignore[arg-type]


def end(cell: str, state: str = "built") -> Ended:
    return Ended(cell=cell, state=state, text="", seconds=1.0)  # type: ignore[arg-type]


def test_cells_wait_run_and_end(board: Board) -> None:
    def names() -> tuple[list[str], list[str]]:
        return [cell.work.cell for cell in board.waiting], [cell.work.cell for cell in board.running]

    assert names() == (["old", "new"], [])
    board.take("old", Phase(text="checking the image"))
    assert names() == (["new"], ["old"])
    assert board.cells["old"].phase == "checking the image"
    board.take("old", end("old"))
    assert names() == (["new"], [])


def test_shared_step_is_one_with_all_its_cells(board: Board) -> None:
    for cell in ("old", "new", "old"):
        board.take(cell, install(CUDA))
        board.take(cell, install(CUDA, started=1.0))
    (running,) = board.steps.values()
    assert (running.title, running.cells) == ("CUDA libraries", ["old", "new"])
    assert board.find_step("old") is board.find_step("new") is running
    words = Log(step=CUDA.id, stream=1, text="x")
    assert (board.owns("old", words), board.owns("new", words)) == (True, False)
    board.take("old", end("old", "cancelled"))
    assert board.owns("new", words)
    board.take("new", Transfer(step=CUDA.id, id="x", current=1, total=2, completed=False))
    assert running.transfer


def test_bytes_of_a_shared_layer_count_once(board: Board) -> None:
    assert board.bytes == (0, 1000)
    for cell in ("old", "new"):
        board.take(cell, install(CUDA, started=1.0))
        board.take(cell, install(CUDA, started=1.0, completed=2.0))
    assert board.bytes == (800, 1000)
    assert [cell.done for cell in board.cells.values()] == [800, 800]


def test_step_that_is_over_does_not_run_again_for_a_cell_that_hears_of_it_later(board: Board) -> None:
    for event in (install(CUDA, started=1.0), install(CUDA, started=1.0, completed=2.0)):
        board.take("old", event)
    board.take("new", install(CUDA, started=1.0))
    assert not board.steps
    board.take("new", install(CUDA, started=1.0, completed=2.0))
    assert board.cells["new"].layers == {CUDA}


def test_step_that_runs_again_is_not_ended_by_late_news_of_its_first_run(board: Board) -> None:
    board.take("old", install(CUDA, started=1.0, completed=2.0))
    board.take("old", install(CUDA, started=5.0))
    board.take("new", install(CUDA, started=1.0, completed=2.0))
    assert [running.step.started for running in board.steps.values()] == [5.0]


def test_step_that_was_cancelled_for_one_cell_goes_on_for_the_other(board: Board) -> None:
    for cell in ("old", "new"):
        board.take(cell, install(CUDA, started=1.0))
    board.take("old", install(CUDA, started=1.0, completed=2.0, error="context canceled"))
    board.take("new", install(CUDA, started=1.0))
    assert [running.cells for running in board.steps.values()] == [["new"]]


def test_merged_step_is_found_again_under_the_cell_s_own_digest(board: Board) -> None:
    """A build reports the step of another that it waited for, and then its own as cached."""
    board.take("new", install(CUDA, started=1.0))
    board.take("new", install(CUDA, started=1.0, completed=2.0))
    board.take("new", install(CUDA, digest="own", started=2.0, completed=2.0, cached=True))
    assert board.cells["new"].layers == {CUDA}
    assert not board.steps


def test_what_a_failed_cell_leaves_undone_is_not_waited_for(board: Board) -> None:
    board.take("old", install(CUDA, started=1.0, completed=2.0))
    board.take("old", install(OLD, started=2.0, completed=3.0, error="exit code 1"))
    assert board.bytes == (800, 1000)
    board.take("old", end("old", "failed"))
    assert board.bytes == (800, 900)
    board.take("new", end("new", "up to date"))
    assert board.bytes == (900, 900)


def test_steps_of_a_cell_that_ended_are_gone(board: Board) -> None:
    board.take("old", install(OLD, started=1.0))
    board.take("old", end("old", "cancelled"))
    assert not board.steps


def test_steps_that_install_no_layer_are_called_by_their_name(board: Board) -> None:
    board.take("old", Step(digest="f", name="[1/5] FROM base", started=1.0))
    board.take("old", Step(digest="i", name="[internal] load build context", started=1.0))
    assert [running.title for running in board.steps.values()] == ["[1/5] FROM base"]
    board.take("old", Step(digest="f", name="[1/5] FROM base", started=1.0, completed=2.0))
    assert board.cells["old"].layers == set()


def test_time_left_follows_from_the_bytes_that_were_installed(board: Board, clock: Clock) -> None:
    assert board.eta is None
    board.take("old", install(CUDA, started=1.0))
    clock.now = 40
    assert board.eta is None
    board.take("old", install(CUDA, started=1.0, completed=41.0))
    assert board.eta == 10  # 200 bytes at 20 a second
    clock.now = 44
    assert board.eta == 6
    clock.now = 51
    assert board.eta is None


def test_cached_layers_tell_nothing_of_the_time(board: Board, clock: Clock) -> None:
    board.take("old", install(CUDA, started=1.0, completed=1.0, cached=True))
    board.take("old", install(OLD, started=1.0))
    clock.now = 3
    board.take("old", install(OLD, started=1.0, completed=4.0))
    assert board.bytes == (900, 1000)
    assert board.eta is None, "three seconds are too few"
