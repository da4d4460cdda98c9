"""The folder of a site: written whole, replaced when it is a site's, left alone when it is anybody else's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder.errors import ImgbuildError
from builder.site.folder import LIST, write_site
from tests.catalogue import make_node, write_catalogue

if TYPE_CHECKING:
    from tests.unit.conftest import Run


def list_files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def test_site_is_written_with_the_list_of_its_files(tmp_path: Path) -> None:
    write_site({"index.html": "é\n", "a.html": "a"}, tmp_path / "new" / "site")
    found = list_files(tmp_path / "new" / "site")
    assert found == {"index.html": "é\n", "a.html": "a", LIST: "a.html\nindex.html\n"}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["site"]


def test_older_site_is_replaced_whole(tmp_path: Path) -> None:
    write_site({"index.html": "old", "gone.html": "old"}, tmp_path / "site")
    write_site({"index.html": "new"}, tmp_path / "site")
    assert list_files(tmp_path / "site") == {"index.html": "new", LIST: "index.html\n"}
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    write_site({"index.html": "new"}, tmp_path / "site")
    assert (tmp_path / "site" / "index.html").read_text() == "new"


@pytest.mark.parametrize("names", [["thesis.tex"], ["index.html"], ["index.html", LIST, "CNAME"], [".git"]])
def test_folder_with_anything_else_is_refused_and_left_alone(tmp_path: Path, names: list[str]) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    for name in names:
        (folder / name).write_text("index.html\n", encoding="utf-8")
    before = list_files(folder)
    with pytest.raises(ImgbuildError, match="which is not of a site of imgbuild's"):
        write_site({"index.html": "new"}, folder)
    assert list_files(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "site").write_text("mine")
    with pytest.raises(ImgbuildError, match="is no folder"):
        write_site({"index.html": "new"}, tmp_path / "site")
    with pytest.raises(ImgbuildError, match="the site cannot be written"):
        write_site({"index.html": "new"}, tmp_path / "site" / "below")
    assert (tmp_path / "site").read_text() == "mine"


def test_site_before_stays_where_the_new_one_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_site({"index.html": "old"}, tmp_path / "site")
    real = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.suffix == ".new":
            raise OSError(28, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(ImgbuildError, match="No space left on device"):
        write_site({"index.html": "new"}, tmp_path / "site")
    assert (tmp_path / "site" / "index.html").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "site").symlink_to(tmp_path / "real")
    write_site({"index.html": "new"}, tmp_path / "site")
    assert (tmp_path / "site").is_symlink()
    assert (tmp_path / "real" / "index.html").read_text() == "new"


def test_command_prints_the_page_to_open(tmp_path: Path, run: Run) -> None:
    source = write_catalogue(tmp_path / "entries.json", make_node())
    code, out, err = run("site", "--from", source, "--output", tmp_path / "site")
    assert (code, out, err) == (0, f"{tmp_path}/site/index.html\n", "")
    assert (tmp_path / "site" / "index.html").is_file()


def test_command_writes_nothing_when_the_file_is_wrong(tmp_path: Path, run: Run) -> None:
    source = write_catalogue(tmp_path / "entries.json", make_node(python="3"))
    code, out, err = run("site", "--from", source, "--output", tmp_path / "site")
    assert (code, out) == (1, "")
    assert err.startswith(f"imgbuild: {source}: entries[0].python: should be like 3.11, and is '3'\n  → ")
    assert not (tmp_path / "site").exists()
