"""`imgbuild plan` and `imgbuild lock` on a project, and on the locks of other tools."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder import planning
from builder.files import hold_folder
from builder.plan_file import read_plan
from builder.planning import keep_plan, plan_environments
from builder.project import load_project
from tests.samples import make_environment

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.conftest import Demo, Run

LOCKS = Path(__file__).parent / "data" / "locks"


@pytest.fixture
def plan_file(demo: Demo) -> Path:
    return demo.root / "images" / "imgbuild.plan"


@pytest.fixture
def lock(demo: Demo, imgbuild: Run) -> Callable[..., None]:
    """Return a function that locks the demo."""

    def call(*arguments: str) -> None:
        code, _, said = imgbuild("lock", "--sources", demo.sources, *arguments)
        assert code == 0, said

    return call


def test_lock_writes_the_plan_beside_the_images(lock: Callable[..., None], plan_file: Path) -> None:
    lock()
    data = json.loads(plan_file.read_text())
    assert [cell["id"] for cell in data["cells"]] == ["demo-py3.10-cpu", "demo-py3.11-cpu"]
    assert str(plan_file.parent) not in plan_file.read_text()
    before = plan_file.stat().st_ino
    lock()
    assert plan_file.stat().st_ino == before


def test_plan_waits_for_who_works_on_it(demo: Demo, lock: Callable[..., None], plan_file: Path) -> None:
    lock()
    plan_file.unlink()
    project = load_project(demo.root)
    keeper = threading.Thread(target=keep_plan, args=(project,))
    with hold_folder(plan_file.parent):
        keeper.start()
        keeper.join(0.2)
        assert keeper.is_alive()
        assert not plan_file.exists()
    keeper.join()
    assert plan_file.exists()


def test_newer_package_is_a_layer_on_top_and_plan_says_what_it_costs(
    demo: Demo, lock: Callable[..., None], imgbuild: Run, plan_file: Path
) -> None:
    lock()
    published = set(json.loads(plan_file.read_text())["layers"])
    saved = plan_file.read_text()
    demo.offer("1.0", "1.1")
    lock("--upgrade", "wheely")
    plan = json.loads(plan_file.read_text())
    new = {id_: layer for id_, layer in plan["layers"].items() if id_ not in published}
    assert {it["name"] for layer in new.values() for it in layer["artifacts"]} == {"wheely"}
    assert all(layer["replaced"] for layer in new.values())
    assert published < set(plan["layers"])
    plan_file.write_text(saved)
    code, out, _ = imgbuild("plan")
    assert code == 0
    assert "2 are new" in out
    told = json.loads(imgbuild("plan", "--json")[1])
    change = {"kept_layers": len(told["layers"]) - 2, "new_layers": 2, "cells": [cell["id"] for cell in told["cells"]]}
    assert told["change"] == change | {"new_bytes": sum(layer["bytes"] for layer in new.values())}
    assert plan_file.read_text() == saved, "only --write writes"
    assert imgbuild("plan", "--fresh", "--write")[0] == 0
    assert not any("replaced" in layer for layer in json.loads(plan_file.read_text())["layers"].values())


def test_render_has_a_folder_for_each_layer_of_the_plan(
    lock: Callable[..., None], imgbuild: Run, plan_file: Path, tmp_path: Path
) -> None:
    lock()
    assert imgbuild("render", "--out", tmp_path / "out")[0] == 0
    for cell in json.loads(plan_file.read_text())["cells"]:
        folder = tmp_path / "out" / cell["id"] / "layers"
        assert {path.name for path in folder.iterdir()} == {layer["id"] for layer in cell["layers"]}


def test_what_is_installed_comes_from_the_locks_that_were_planned(
    demo: Demo, lock: Callable[..., None], imgbuild: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock()
    demo.offer("1.0", "1.1")

    def read_after_another_command(path: Path) -> object:
        lock("--upgrade", "some_tool")
        return read_plan(path)

    # Only the first read comes just before another command has changed the lock.
    reads = iter([read_after_another_command])
    monkeypatch.setattr(planning, "read_plan", lambda path: next(reads, read_plan)(path))
    assert imgbuild("render", "--out", tmp_path / "out", "--py", "3.11")[0] == 0
    cell = tmp_path / "out" / "demo-py3.11-cpu"
    installed = "".join(path.read_text() for path in cell.glob("layers/*/conda.txt"))
    assert "some_tool-1.1" in installed
    assert "some-tool==1.1" in (cell / "cell" / "constraints.txt").read_text()


@pytest.mark.parametrize("lock", sorted(LOCKS.iterdir()), ids=lambda path: path.name)
def test_any_lock_can_be_planned(run: Run, lock: Path) -> None:
    code, out, _ = run("plan", "--from", lock, "--json", "--max-layers", "3")
    assert code == 0
    plan = json.loads(out)
    assert plan["naive_bytes"] >= plan["unique_bytes"] > 0
    assert plan["ratio"] == plan["registry_bytes"] / plan["unique_bytes"]
    assert plan["disk_bytes"] >= plan["registry_bytes"]
    assert all(len(cell["layers"]) <= 3 for cell in plan["cells"])


def test_locks_are_planned_together_under_names_of_their_own(run: Run) -> None:
    paths = [LOCKS / "pixi-v5.lock", LOCKS / "pixi-v6.lock"]

    def plan(*chosen: Path) -> list[str]:
        options = [text for path in chosen for text in ("--from", str(path))]
        return [cell["id"] for cell in json.loads(run("plan", "--json", *options)[1])["cells"]]

    together = plan(*paths)
    assert len(together) == len(plan(paths[0])) + len(plan(paths[1]))
    assert len(set(together)) == len(together)


@pytest.mark.parametrize("name", ["plan.svg", "plan.html"])
def test_picture_is_written(run: Run, tmp_path: Path, name: str) -> None:
    code, _, _ = run("plan", "--from", LOCKS / "pixi-v6.lock", "--picture", tmp_path / name)
    assert code == 0
    assert "<svg" in (tmp_path / name).read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--picture", "plan.png"], 2, "has to end in .svg or .html"),
        (["--from", str(LOCKS / "pixi-v6.lock"), "--write"], 2, "does not go with --write"),
        (["--from", __file__], 5, "not a lock to plan from"),
        (["--max-layers", "0"], 2, "--max-layers"),
    ],
)
def test_wrong_use_is_said(run: Run, arguments: list[str], code: int, words: str) -> None:
    found, _, said = run("plan", *arguments)
    assert found == code
    assert words in said


@pytest.mark.usefixtures("demo")
def test_nothing_locked_is_nothing_to_plan(imgbuild: Run) -> None:
    code, out, _ = imgbuild("plan")
    assert (code, out) == (0, "no cell is locked: `imgbuild lock` writes the locks that a plan is made of\n")


def test_broken_plan_is_said_with_its_file(lock: Callable[..., None], imgbuild: Run, plan_file: Path) -> None:
    lock()
    plan_file.write_text("{")
    code, _, said = imgbuild("plan")
    assert code == 5
    assert str(plan_file) in said


@pytest.mark.parametrize("command", [("lock", "--check"), ("build", "--all", "--locked")])
@pytest.mark.parametrize("spoil", ["missing", "older", "of another matrix"])
def test_plan_that_is_not_of_the_locks_is_refused(
    demo: Demo,
    lock: Callable[..., None],
    imgbuild: Run,
    plan_file: Path,
    command: tuple[str, ...],
    spoil: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    lock()
    saved = plan_file.read_text()
    match spoil:
        case "missing":
            plan_file.unlink()
        case "older":
            demo.offer("1.0", "1.1")
            lock("--upgrade", "wheely")
            plan_file.write_text(saved)
        case _:
            data = json.loads(saved)
            data["cells"].pop()
            plan_file.write_text(json.dumps(data))
    code, out, said = imgbuild(*command)
    assert (code, out) == (5, ""), said
    assert (
        f"{plan_file}: the plan of the layers is {'missing' if spoil == 'missing' else 'not of these locks'}" in said
    )
    assert "run `imgbuild lock`" in said
    lock()
    assert imgbuild(*command)[0] == (0 if command[0] == "lock" else 7), "only the engine is missing now"


def test_fresh_plan_is_made_whatever_the_old_one_is(lock: Callable[..., None], imgbuild: Run, plan_file: Path) -> None:
    lock()
    whole = plan_file.read_text()
    plan_file.write_text("{")
    assert imgbuild("plan", "--fresh")[0] == 0
    assert plan_file.read_text() == "{"
    assert imgbuild("plan", "--fresh", "--write")[0] == 0
    assert plan_file.read_text() == whole


def test_fresh_plan_has_the_layers_that_are_asked_for_now(
    lock: Callable[..., None], imgbuild: Run, plan_file: Path
) -> None:
    lock()
    for arguments, budget in ((["--max-layers", "3"], 3), ([], 3), (["--fresh"], 14)):
        assert imgbuild("plan", "--write", *arguments)[0] == 0
        assert json.loads(plan_file.read_text())["max_layers"] == budget


def test_two_environments_of_one_name_are_planned_apart(tmp_path: Path) -> None:
    whole = replace(make_environment(), name="default@gpu")
    one, two = (replace(whole, conda=whole.conda[:count]) for count in (1, 2))
    plan = plan_environments({tmp_path / "pixi.lock": [one, two]})
    assert [len(cell.content.artifacts) for cell in plan.cells] == [1, 2]
    assert len({cell.id for cell in plan.cells}) == 2


def test_plan_that_differs_from_the_locks_in_what_packages_need_is_outdated(
    lock: Callable[..., None], imgbuild: Run, plan_file: Path
) -> None:
    lock()
    data = json.loads(plan_file.read_text())
    artifact = next(it for layer in data["layers"].values() for it in layer["artifacts"] if it["kind"] == "conda")
    artifact["needs"] = ["another"]
    plan_file.write_text(json.dumps(data, indent=1) + "\n")
    assert imgbuild("lock", "--check")[0] == 5
    lock()
    assert imgbuild("lock", "--check")[0] == 0
