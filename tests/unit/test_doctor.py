"""`imgbuild doctor` without an engine: what it says of the project around it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import builder.engine

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

    from tests.unit.conftest import Run


class FarEngine:
    """An engine on another machine that tells of itself, and takes every build without a word."""

    is_local = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def describe(self) -> dict[str, Any]:
        return {"ServerVersion": "29.2.0", "OperatingSystem": "Debian", "Driver": "overlay2"}

    def build(self, *_: object, **__: object) -> tuple[None]:
        return (None,)


@pytest.fixture(autouse=True)
def _engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(builder.engine, "Engine", FarEngine)
    monkeypatch.chdir(tmp_path)


def test_no_project_is_no_failure(run: Run) -> None:
    code, out, _ = run("doctor", "--json")
    assert (code, json.loads(out)["cells"]) == (0, [])


def test_broken_project_is_told_of(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "images" / "one"
    folder.mkdir(parents=True)
    (folder / "image.yaml").write_text("name: [")
    code, _, err = run("doctor")
    assert code == 3
    assert "images/one/image.yaml:2: not valid YAML" in err


def test_folder_that_was_named_has_to_be_a_project(run: Run, tmp_path: Path) -> None:
    code, _, err = run("--project", str(tmp_path), "doctor")
    assert code == 3
    assert "there is no images/ folder" in err
