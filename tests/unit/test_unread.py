"""A definition that is malformed stops what needs it, and nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from builder.project import read_project

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import Demo, Run

CELL = "demo-py3.11-cpu"


@pytest.fixture
def other(demo: Demo) -> Path:
    """Return the definition of a second image of the demo project, which is well yet."""
    text = demo.definition.read_text().replace("name: demo", "name: other").replace(", '3.11'", "")
    return write_image(demo, "other", text)


@pytest.fixture
def lock(demo: Demo, other: Path, imgbuild: Run) -> str:
    """Lock both images, so that there is a plan of both; return the plan."""
    assert other.exists()
    assert imgbuild("lock", "--sources", demo.sources)[0] == 0
    return (demo.root / "images" / "imgbuild.plan").read_text()


def write_image(demo: Demo, name: str, text: str) -> Path:
    """Return the definition of one more image of the demo project."""
    path = demo.root / "images" / name / "image.yaml"
    path.parent.mkdir()
    path.write_text(text)
    return path


def spoil(path: Path) -> str:
    """Make a definition malformed, and return what is said of it."""
    path.write_text(path.read_text() + "conta: [numpy]\n")
    return f'{path}:6: unknown key "conta"'


def find_chains(plan: str, image: str) -> list[list[str]]:
    cells = [cell for cell in json.loads(plan)["cells"] if cell["image"] == image]
    return [[layer["id"] for layer in cell["layers"]] for cell in cells]


@pytest.mark.usefixtures("lock")
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["render", "demo", "--out", "out"], 0),
        (["render", "--cell", CELL, "--out", "out"], 0),
        (["bake", "demo", "--output", "out"], 0),
        (["lock", "demo"], 0),
        (["lock", "demo", "--check"], 0),
        (["matrix", "demo"], 0),
        (["matrix", "demo", "--github"], 0),
        (["sbom", CELL, "--format", "spdx"], 0),
        (["sbom", "registry.example/team/demo:cpu-py311", "--format", "spdx"], 0),
        (["export", CELL, "--format", "explicit"], 0),
        (["build", "demo", "--locked"], 7),
        (["test", "demo"], 7),
        (["bundle", "demo", "--output", "images.tar"], 7),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else f"{value}",
)
def test_what_names_another_image_goes_on(
    other: Path, imgbuild: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)
    fault = spoil(other)
    found, _, said = imgbuild(*arguments)
    assert found == code, said
    (line,) = [line for line in said.splitlines() if "other" in line]
    assert line.startswith(f"left out: other: {fault}")


@pytest.mark.usefixtures("lock")
@pytest.mark.parametrize(
    "arguments",
    [
        ["render", "--out", "out"],
        ["render", "other", "demo", "--out", "out"],
        ["render", "--cell", "other-py3.10-cpu", "--out", "out"],
        ["build", "--all"],
        ["build", "--py", "3.10"],
        ["plan"],
        ["plan", "--write"],
        ["matrix"],
        ["lock"],
        ["lock", "--check"],
        ["status", "--registry", "registry.example/team"],
        ["sbom", "registry.example/team/other:cpu-py310", "--format", "spdx"],
    ],
    ids=" ".join,
)
def test_what_needs_it_fails(other: Path, imgbuild: Run, arguments: list[str]) -> None:
    fault = spoil(other)
    code, out, said = imgbuild(*arguments)
    assert (code, out) == (3, "")
    assert said.startswith(f"imgbuild: {fault}")


@pytest.mark.usefixtures("lock")
def test_definition_that_is_extended_is_needed(other: Path, demo: Demo, imgbuild: Run) -> None:
    write_image(demo, "child", "name: child\nextends: other\n")
    fault = spoil(other)
    assert imgbuild("matrix", "child")[0] == 3
    code, _, said = imgbuild("matrix", "demo")
    assert code == 0
    assert [line for line in said.splitlines() if "left out" in line] == [
        f"left out: other, and child that extends it: {fault}"
    ]


def test_all_that_extend_a_definition_are_left_out_by_name(demo: Demo, other: Path, imgbuild: Run) -> None:
    write_image(demo, "child", "name: child\nextends: other\n")
    write_image(demo, "grandchild", "name: grandchild\nextends: child\n")
    write_image(demo, "lonely", "name: lonely\n")
    fault = spoil(other)
    code, _, said = imgbuild("matrix", "demo")
    assert code == 0
    first, second = said.splitlines()
    assert first == f"left out: other, and child, grandchild that extend it: {fault}"
    assert second.startswith("left out: lonely: ")


def test_images_that_extend_each_other_are_left_out_each_with_its_fault(demo: Demo, imgbuild: Run) -> None:
    one = write_image(demo, "one", "name: one\nextends: two\n")
    two = write_image(demo, "two", "name: two\nextends: one\n")
    code, _, said = imgbuild("matrix", "demo")
    assert code == 0
    first, second = said.splitlines()
    assert first.startswith(f"left out: one: {two}:2: extends: ")
    assert second.startswith(f"left out: two: {one}:2: extends: ")


@pytest.mark.usefixtures("lock")
@pytest.mark.parametrize(
    "arguments",
    [
        ["render", "--cell", "demo-py3-extra-py3.11-cpu", "--out", "out"],
        ["sbom", "demo-py3-extra-py3.11-cpu", "--format", "spdx"],
        ["sbom", "demo:5000/team/demo-py3-extra:cpu-py311", "--format", "spdx"],
    ],
    ids=" ".join,
)
def test_image_whose_name_begins_like_what_is_asked_for_is_not_needed(
    demo: Demo, imgbuild: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    text = demo.definition.read_text()
    write_image(demo, "demo-py3-extra", text.replace("name: demo", "name: demo-py3-extra"))
    assert imgbuild("lock", "--sources", demo.sources)[0] == 0
    monkeypatch.chdir(tmp_path)
    fault = spoil(demo.definition)
    code, _, said = imgbuild(*arguments)
    assert code == 0, said
    assert said.splitlines()[0] == f"left out: demo: {fault}"


@pytest.mark.parametrize("arguments", [["render", "--out", "out", "--cell"], ["export", "--format", "explicit"]])
def test_cell_of_no_image_may_be_of_one_that_is_malformed(
    demo: Demo, other: Path, imgbuild: Run, arguments: list[str]
) -> None:
    write_image(demo, "another", "name: another\n")
    fault = spoil(other)
    code, _, said = imgbuild(*arguments, "other-py3.10-cpu")
    assert code == 3
    assert said.startswith(f"imgbuild: {fault}; without it, "), "not that of the first image that is malformed"
    assert "other-py3.10-cpu" in said
    assert "left out" not in said


def test_cell_of_no_image_is_none_where_all_can_be_read(imgbuild: Run) -> None:
    assert imgbuild("render", "--cell", "other-py3.10-cpu", "--out", "out")[0] == 4
    assert imgbuild("export", "other-py3.10-cpu", "--format", "explicit")[0] == 4


def test_name_of_no_image_is_refused_whatever_is_malformed(other: Path, imgbuild: Run) -> None:
    spoil(other)
    code, _, said = imgbuild("matrix", "dem")
    assert code == 4
    assert "there is no image 'dem'" in said


def test_project_without_a_definition_that_can_be_read_says_why(demo: Demo, imgbuild: Run) -> None:
    fault = spoil(demo.definition)
    code, _, said = imgbuild("matrix", "dem")
    assert code == 3
    assert said.startswith(f"imgbuild: {fault}")


@pytest.mark.usefixtures("lock")
def test_base_that_nobody_has_stops_no_other_image(other: Path, imgbuild: Run, tmp_path: Path) -> None:
    other.write_text(other.read_text().replace("miniforge", "minifroge"))
    code, _, said = imgbuild("render", "demo", "--out", tmp_path / "out")
    assert code == 0
    assert "minifroge, which is not a key of bases.yaml" in said


def test_base_that_nobody_has_is_told_where_it_is_named(other: Path, imgbuild: Run) -> None:
    text = other.read_text()
    line = text[: text.index("base:")].count("\n") + 1
    other.write_text(text.replace("miniforge", "minifroge"))
    child = other.parent.parent / "child" / "image.yaml"
    child.parent.mkdir()
    child.write_text("name: child\nextends: other\n")
    code, _, said = imgbuild("lock", "child")
    assert code == 3
    assert f"{other}:{line}: image child is built on minifroge" in said


@pytest.mark.parametrize("images", [[], ["other"]])
def test_base_that_nobody_has_stops_what_needs_its_image(other: Path, imgbuild: Run, images: list[str]) -> None:
    other.write_text(other.read_text().replace("miniforge", "minifroge"))
    code, out, said = imgbuild("matrix", *images)
    assert (code, out) == (3, "")
    assert said.startswith(f"imgbuild: {other}:2: image other is built on minifroge")


def test_image_that_is_left_out_keeps_its_layers(demo: Demo, other: Path, lock: str, imgbuild: Run) -> None:
    demo.offer("1.0", "1.1")
    whole = other.read_text()
    spoil(other)
    assert imgbuild("lock", "demo", "--upgrade", "wheely", "--sources", demo.sources)[0] == 0
    now = (demo.root / "images" / "imgbuild.plan").read_text()
    assert find_chains(now, "demo") != find_chains(lock, "demo")
    assert find_chains(now, "other") == find_chains(lock, "other") != []
    other.write_text(whole)
    assert imgbuild("lock", "--check")[0] == 0, "the plan is that of both"


def test_plan_stays_as_it_is_while_an_image_is_left_out(demo: Demo, other: Path, lock: str, imgbuild: Run) -> None:
    spoil(other)
    assert imgbuild("lock", "demo")[0] == 0
    assert (demo.root / "images" / "imgbuild.plan").read_text() == lock


@pytest.mark.usefixtures("lock")
def test_locked_image_without_a_plan_is_needed_for_the_layers(
    demo: Demo, other: Path, imgbuild: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    plan = demo.root / "images" / "imgbuild.plan"
    plan.unlink()
    fault = spoil(other)
    code, _, said = imgbuild("render", "demo", "--out", tmp_path / "out")
    assert code == 3
    assert f"imgbuild: {fault}" in said
    assert f"without {plan}, the layers of every image depend on this one" in said
    assert imgbuild("export", CELL, "--format", "explicit")[0] == 0, "no layers are in it"
    other.with_name("imgbuild.lock").unlink()
    assert imgbuild("render", "demo", "--out", tmp_path / "out")[0] == 0, "it has no layers"


@pytest.mark.usefixtures("lock")
@pytest.mark.parametrize("command", [("lock", "demo"), ("lock", "demo", "--upgrade"), ("build", "demo")])
@pytest.mark.parametrize("spoiled", ["definition", "plan", "lock"])
def test_nothing_is_solved_where_no_plan_could_be_made_of_it(
    demo: Demo,
    other: Path,
    imgbuild: Run,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    spoiled: str,
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    monkeypatch.setattr("builder.locking.solve_locks", lambda *_, **__: pytest.fail("it is solved"))
    plan = demo.root / "images" / "imgbuild.plan"
    code = 5
    match spoiled:
        case "definition":
            plan.unlink()
            fault, code = spoil(other), 3
        case "plan":
            plan.write_text("{")
            fault = f"{plan}:1: not a plan"
        case _:
            broken = other.with_name("imgbuild.lock")
            broken.write_text("{")
            fault = f"{broken}"
    demo.definition.write_text(demo.definition.read_text().replace("[wheely]", "[wheely, another]"))
    before = demo.lock.read_bytes()
    found, _, said = imgbuild(*command, "--sources", demo.sources)
    assert found == code, said
    assert f"imgbuild: {fault}" in said
    assert demo.lock.read_bytes() == before


def test_project_tells_what_it_has_left_out(demo: Demo, other: Path) -> None:
    spoil(other)
    project = read_project(demo.root)
    assert [definition.name for definition in project.definitions] == ["demo"]
    assert [(it.image, it.error.line, it.is_locked) for it in project.unread] == [("other", 6, False)]
