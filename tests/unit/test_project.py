from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from builder.errors import DefinitionError
from builder.project import load_project
from tests.samples import PROJECT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shutil.copytree(PROJECT / "images", tmp_path / "images", ignore=shutil.ignore_patterns("bases.yaml", "*.lock"))
    return tmp_path


def test_project_of_this_repository_is_whole() -> None:
    project = load_project(PROJECT)
    assert [definition.name for definition in project.definitions] == [
        "base",
        "jupyter",
        "jupyter-ssh",
        "pytorch",
        "train",
    ]
    assert project.definition("jupyter-ssh").checks == (PROJECT / "images" / "jupyter" / "checks" / "server.py",)
    assert project.base("pytorch").key == project.definition("pytorch").base
    assert project.lock_path("pytorch") == PROJECT / "images" / "pytorch" / "imgbuild.lock"


def test_project_is_found_from_any_folder_in_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / "images" / "pytorch")
    assert load_project(None).root == root


def test_bases_that_ship_are_known_and_own_ones_win(root: Path) -> None:
    assert "miniforge" in load_project(root).bases
    text = (PROJECT / "images" / "bases.yaml").read_text().replace("docker.io/condaforge", "registry.example/own")
    (root / "images" / "bases.yaml").write_text(text)
    assert load_project(root).bases["miniforge"].ref.startswith("registry.example/own/")


def test_base_that_nobody_has_is_refused(root: Path) -> None:
    path = root / "images" / "base" / "image.yaml"
    path.write_text(path.read_text().replace("miniconda ", "minikonda "))
    with pytest.raises(DefinitionError, match="minikonda") as caught:
        load_project(root).base("base")
    assert "miniconda" in str(caught.value.hint)


def test_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="no images/ folder") as caught:
        load_project(tmp_path)
    assert "--project" in str(caught.value.hint)
