"""Locks of a project, solved for real from a channel and an index of the test's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder.errors import LockError, SolveError
from builder.inputs import Job
from builder.lock import Lock, read_lock
from builder.locking import (
    cache_dir,
    check_locks,
    drop_orphans,
    find_environments,
    find_stale,
    make_job,
    read_locks,
    solve_locks,
)
from builder.matrix import Cell, select_cells
from builder.project import Project, load_project
from builder.solve import Upgrade
from builder.sources import find_sources

if TYPE_CHECKING:
    from tests.unit.conftest import Demo


def open_project(demo: Demo, **axes: str) -> tuple[Project, tuple[Cell, ...]]:
    project = load_project(demo.root)
    return project, select_cells(project.definitions, **axes)


def solve(demo: Demo, upgrade: Upgrade | None = None, **axes: str) -> Lock:
    project, cells = open_project(demo, **axes)
    jobs = [make_job(project, cell) for cell in cells]
    sources = find_sources(str(demo.sources))
    locks = read_locks(project, cells, repair=lambda _: None)
    solve_locks(project, jobs, locks, sources=sources, upgrade=upgrade or Upgrade(), report=lambda _: None, warn=print)
    return read_lock(demo.lock)


def stale(demo: Demo) -> dict[str, str]:
    project, cells = open_project(demo)
    return {item.job.cell.id: item.reason for item in find_stale(project, cells, read_locks(project, cells))}


def versions(lock: Lock, environment: str = "py310-cpu") -> dict[str, str]:
    found = lock.find(environment)
    assert found
    return {package.name: package.version for package in (*found.conda, *found.pip)}


def change(demo: Demo, old: str, new: str) -> None:
    text = demo.definition.read_text()
    assert old in text
    demo.definition.write_text(text.replace(old, new))


def test_new_cells_are_stale_until_they_are_locked(demo: Demo) -> None:
    assert stale(demo) == {"demo-py3.10-cpu": "is not in the lock", "demo-py3.11-cpu": "is not in the lock"}
    lock = solve(demo)
    assert stale(demo) == {}
    assert versions(lock) == {"pip": "26.0", "python": "3.10.16", "some_tool": "1.0", "wheely": "1.0"}
    assert versions(lock, "py311-cpu")["python"] == "3.11.9"


def test_lock_has_canonical_addresses_only(demo: Demo) -> None:
    solve(demo)
    channel = "https://conda.anaconda.org/conda-forge/linux-64/some_tool-1.0-0.tar.bz2"
    text = demo.lock.read_text()
    assert channel in text
    assert not re.search(r"conda: http://127\.0\.0\.1", text)


def test_changed_definition_makes_its_cells_stale(demo: Demo) -> None:
    solve(demo)
    change(demo, "[some_tool]", "[some_tool, pip]")
    assert set(stale(demo)) == {"demo-py3.10-cpu", "demo-py3.11-cpu"}


def test_one_cell_can_be_locked_alone(demo: Demo) -> None:
    solve(demo, python="3.11")
    assert set(stale(demo)) == {"demo-py3.10-cpu"}
    lock = solve(demo, python="3.10")
    assert [environment.name for environment in lock.environments] == ["py310-cpu", "py311-cpu"]


def test_what_is_locked_stays_unless_it_is_named(demo: Demo) -> None:
    before = solve(demo)
    demo.offer("1.0", "2.0")
    assert solve(demo) == before
    one = versions(solve(demo, Upgrade(packages=frozenset({"some-tool"}))))
    assert (one["some_tool"], one["wheely"]) == ("2.0", "1.0")
    everything = versions(solve(demo, Upgrade(everything=True)))
    assert (everything["some_tool"], everything["wheely"]) == ("2.0", "2.0")


def test_failed_solve_leaves_the_lock_as_it_was(demo: Demo) -> None:
    solve(demo)
    before = demo.lock.read_bytes()
    change(demo, "[wheely]", "['wheely >=7']")
    with pytest.raises(SolveError, match="wheely"):
        solve(demo)
    assert demo.lock.read_bytes() == before
    assert list(demo.lock.parent.glob(".*")) == []


def test_check_is_silent_when_all_is_well(demo: Demo) -> None:
    solve(demo)
    check_locks(*open_project(demo))


def test_check_names_every_stale_cell_and_every_orphan(demo: Demo) -> None:
    solve(demo)
    change(demo, "'3.10', '3.11'", "'3.11', '3.12'")
    change(demo, "pip: [wheely]\n", "")
    with pytest.raises(LockError) as caught:
        check_locks(*open_project(demo))
    text = str(caught.value)
    assert "demo-py3.11-cpu was locked from another definition" in text
    assert "demo-py3.12-cpu is not in the lock" in text
    assert "demo: py310-cpu is no cell of the matrix" in text
    assert "run `imgbuild lock`" in text


def test_orphans_leave_the_lock_with_the_next_solve(demo: Demo) -> None:
    solve(demo)
    change(demo, "'3.10', '3.11'", "'3.11'")
    assert [environment.name for environment in solve(demo).environments] == ["py311-cpu"]


def test_orphans_can_be_dropped_without_a_solve(demo: Demo) -> None:
    solve(demo)
    change(demo, "'3.10', '3.11'", "'3.11'")
    project, cells = open_project(demo)
    assert drop_orphans(project, read_locks(project, cells)) == ["demo: py310-cpu"]
    check_locks(project, cells)


@pytest.mark.parametrize("junk", ["", "<<<<<<< ours\n", "version: 7\nenvironments: {}\npackages: []\n"])
def test_lock_that_cannot_be_read_is_told_and_solved_anew(demo: Demo, junk: str) -> None:
    whole = solve(demo)
    demo.lock.write_text(junk)
    project, cells = open_project(demo)
    with pytest.raises(LockError, match="imgbuild lock"):
        read_locks(project, cells)
    told: list[str] = []
    assert read_locks(project, cells, repair=told.append) == {"demo": Lock()}
    assert "all of it is solved anew" in told[0]
    assert solve(demo) == whole


def test_two_commands_at_once_both_keep_what_they_solved(demo: Demo) -> None:
    project, (first, second) = open_project(demo)
    before = read_locks(project, (first, second))
    for cell in (first, second):  # both read the lock before either wrote it
        solve_locks(
            project,
            [make_job(project, cell)],
            before,
            sources=find_sources(str(demo.sources)),
            upgrade=Upgrade(),
            report=lambda _: None,
            warn=print,
        )
    assert stale(demo) == {}


def test_environments_are_those_of_the_cells_in_order(demo: Demo) -> None:
    solve(demo)
    project, cells = open_project(demo)
    found = find_environments(project, cells[::-1], read_locks(project, cells))
    assert [environment.name for environment in found] == ["py311-cpu", "py310-cpu"]


def test_stale_environment_is_never_used(demo: Demo) -> None:
    project, cells = open_project(demo)
    locks = read_locks(project, cells)
    with pytest.raises(LockError, match=r"^demo-py3\.10-cpu is not in the lock \(2 of 2 cells"):
        find_environments(project, cells, locks)
    with pytest.raises(LockError, match=r"^demo-py3\.10-cpu is not in the lock\n"):
        find_environments(project, cells[:1], locks)


def test_job_has_what_its_image_is_built_from(demo: Demo) -> None:
    project, cells = open_project(demo)
    assert make_job(project, cells[0]) == Job(
        cell=cells[0], definition=project.definitions[0], base=project.bases["miniforge"]
    )


def test_cache_follows_the_xdg_variable(bare_host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_dir() == bare_host / ".cache" / "imgbuild"
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/me")
    assert cache_dir() == Path("/var/cache/me/imgbuild")
