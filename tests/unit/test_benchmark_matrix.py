"""What the benchmark of a matrix is asked for is refused before it begins, where it makes no sense."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING
from zipfile import ZipFile

import pytest

from benchmarks.matrices import TorchMatrix
from benchmarks.matrix import FACTOR, parse_arguments
from benchmarks.real_conda import list_needed
from benchmarks.ways import CHECKOUT, Scene
from builder.errors import CellError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--phases", "0"], "0 is no whole number from 1 on"),
        (["--factor", "0"], "0 is no whole number from 1 on"),
        (["--factor", "-3"], "-3 is no whole number"),
        (["--factor", "2.5"], "2.5 is no whole number"),
        (["--long", "--factor", "20"], "--long has packages as they are"),
        (["--conda", "absent"], "absent is no clone of conda's repository"),
        (["--ways", "podman"], "invalid choice: 'podman'"),
        (["--json", "absent/figures.json"], "there is no folder absent"),
        (["--svg", "absent/figures.svg"], "there is no folder absent"),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        parse_arguments(words)
    assert left.value.code == 2
    assert said in capsys.readouterr().err


def test_what_makes_sense_is_taken(tmp_path: Path) -> None:
    asked = parse_arguments(["--phases", "2", "--factor", "100", "--json", str(tmp_path / "x.json")])
    assert (asked.phases, asked.factor) == (2, 100)
    assert parse_arguments([]).factor == parse_arguments(["--long"]).factor == FACTOR


def test_what_is_measured_is_the_checkout_whatever_is_installed(tmp_path: Path) -> None:
    scene = Scene(project=tmp_path, targets=(), engine="", registry="", home=tmp_path / "home")
    assert scene.run(sys.executable, "-c", "import sys; print(sys.path[1])") == f"{CHECKOUT}\n"


def test_cells_of_the_torch_matrix_are_chosen_by_name() -> None:
    matrix = TorchMatrix(server="http://example.org")
    chosen = matrix.choose(("py313-cu126", "py311-cu126"))
    assert (set(chosen.pythons), chosen.cudas) == ({"3.11", "3.13"}, ("12.6",))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("py311-cu118",), "no such cell: py311-cu118; there are py311-cu126, py311-cu128, py313-cu126, py313-cu128"),
        (("py311-cu126", "py313-cu128"), "py311-cu126, py313-cu128 are not every Python with every CUDA"),
    ],
)
def test_cells_that_are_no_matrix_are_refused(names: tuple[str, ...], said: str) -> None:
    with pytest.raises(CellError, match=said):
        TorchMatrix(server="http://example.org").choose(names)


def test_a_folder_is_never_taken_for_a_package_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conda" / ".git").mkdir(parents=True)
    (tmp_path / "conda" / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    assert parse_arguments(["--conda", "conda"]).conda == tmp_path / "conda"


def test_conda_gets_what_it_imports_on_the_bases_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.real_conda.DEBIAN_PYTHON", "3.10")
    wheel = tmp_path / "conda-26.7-py3-none-any.whl"
    required = ["boltons>=23", "menuinst>=2", "pycosat", 'tomli; python_full_version < "3.11"', 'x; extra == "test"']
    lines = ["Name: conda", "Version: 26.7", *(f"Requires-Dist: {text}" for text in required)]
    with ZipFile(wheel, "w") as archive:
        archive.writestr("conda-26.7.dist-info/METADATA", "\n".join([*lines, ""]))
    assert list(list_needed(wheel)) == ["boltons>=23", "tomli"]
