"""`imgbuild matrix --github`, and `--cell`, which the jobs of that matrix are told."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import pytest

from builder.matrix import expand_cells, find_cells
from builder.project import load_project
from builder.runners import DISK, MOST, Runner
from builder.strategy import describe_strategy

if TYPE_CHECKING:
    from tests.unit.conftest import Demo, Run

TEN, ELEVEN = "demo-py3.10-cpu", "demo-py3.11-cpu"


@pytest.fixture
def locked(demo: Demo, imgbuild: Run) -> Run:
    """The command line on the demo, which is locked."""
    code, _, said = imgbuild("lock", "--sources", demo.sources)
    assert code == 0, said
    return imgbuild


def read(out: str) -> list[dict[str, Any]]:
    assert out.count("\n") == 1, "a step's output is one line"
    (key,) = data = json.loads(out)
    assert key == "include"
    return list(data[key])


def test_matrix_of_a_job_has_the_words_that_select_its_cells(locked: Run, demo: Demo) -> None:
    code, out, said = locked("matrix", "--github")
    assert (code, said) == (0, "")
    (entry,) = read(out)
    assert entry["name"] == f"{TEN} and 1 more"
    assert entry["cells"] == f"--cell {TEN} --cell {ELEVEN}"
    assert 0 < entry["disk"] < DISK
    code, _, said = locked("render", "--out", demo.root / "out", *shlex.split(entry["cells"]))
    assert code == 0, said
    assert sorted(path.name for path in (demo.root / "out").iterdir()) == [TEN, ELEVEN]


def test_each_cell_has_a_runner_where_there_are_enough(locked: Run) -> None:
    _, out, _ = locked("matrix", "--github", "--runners", "2")
    assert [entry["cells"] for entry in read(out)] == [f"--cell {TEN}", f"--cell {ELEVEN}"]
    _, out, _ = locked("matrix", "demo", "--github", "--runners", "1")
    assert len(read(out)) == 1


def test_cell_too_big_for_a_disk_is_told_and_keeps_stdout_clean(locked: Run) -> None:
    code, out, said = locked("matrix", "--github", "--disk", "900 MB")
    assert code == 0
    assert len(read(out)) == 2
    assert f"{TEN}: about 1.0 GB, more than the 900.0 MB of a runner" in said


@pytest.mark.parametrize("options", [("--runners", "2"), ("--disk", "9 GB"), ("--github", "--json")])
def test_options_that_do_not_go_together_are_refused(locked: Run, options: tuple[str, ...]) -> None:
    code, out, said = locked("matrix", *options)
    assert (code, out) == (2, "")
    assert "--github" in said


@pytest.mark.parametrize("size", ["14", "14 TB", "-1 GB", "0 GB", "0.0000001 MB", "a lot", f"{'9' * 400} GB"])
def test_disk_that_is_no_size_is_told(locked: Run, size: str) -> None:
    code, out, said = locked("matrix", "--github", "--disk", size)
    assert (code, out) == (2, "")
    assert "write one such as 900 MB or 9 GB" in said


@pytest.mark.parametrize("count", ["0", str(MOST + 1)])
def test_number_of_runners_that_github_does_not_start_is_refused(locked: Run, count: str) -> None:
    assert locked("matrix", "--github", "--runners", count)[0] == 2


def test_matrix_of_a_job_needs_the_locks(imgbuild: Run) -> None:
    code, out, said = imgbuild("matrix", "--github")
    assert (code, out) == (5, "")
    assert "imgbuild lock" in said


def test_cells_are_named_in_the_order_of_the_matrix(demo: Demo) -> None:
    cells = expand_cells(load_project(demo.root).definitions[0])[0]
    (entry,) = describe_strategy([Runner(cells=(ELEVEN, TEN), disk=1)], cells)["include"]
    assert entry["cells"] == f"--cell {TEN} --cell {ELEVEN}"
    assert find_cells(load_project(demo.root).definitions, (ELEVEN, TEN, TEN)) == cells


def test_cell_that_is_none_is_told_with_the_nearest(locked: Run) -> None:
    code, out, said = locked("lock", "--check", "--cell", TEN, "--cell", "demo-py3.12-cpu")
    assert (code, out) == (4, "")
    assert "there is no cell 'demo-py3.12-cpu'" in said
    assert "did you mean demo-py3.1" in said


@pytest.mark.parametrize("more", [("demo",), ("--py", "3.10"), ("--cuda", "cpu")])
def test_cell_is_not_mixed_with_other_ways_to_choose(locked: Run, more: tuple[str, ...]) -> None:
    code, _, said = locked("lock", "--check", "--cell", TEN, *more)
    assert code == 2
    assert "--cell" in said
