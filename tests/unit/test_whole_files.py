"""What is written is there as a whole or not at all, and what was there before is not lost on the way."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from builder.files import open_whole, swap_folder, write_whole

if TYPE_CHECKING:
    from pathlib import Path


def test_device_is_written_to_and_stays(tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        write_whole(full, "x")
    assert full.is_char_device()


def test_file_that_a_link_names_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link"
    link.symlink_to("real/file")
    write_whole(link, "new")
    assert link.is_symlink()
    assert (tmp_path / "real/file").read_text() == "new"
    with open_whole(link) as file:
        file.write(b"newer")
    assert (tmp_path / "real/file").read_text() == "newer"


def test_mode_is_that_of_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "settings"
    write_whole(path, "public", mode=0o644)
    write_whole(path, "login", mode=0o600)
    assert path.stat().st_mode & 0o777 == 0o600


def test_writers_at_once_disturb_nobody(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: write_whole(tmp_path / "file", f"{number % 4}" * 1000), range(200)))
    assert (tmp_path / "file").read_text() in {digit * 1000 for digit in "0123"}
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_folder_is_another_and_nothing_is_left(tmp_path: Path) -> None:
    new, folder = tmp_path / "new", tmp_path / "folder"
    for path, name in ((new, "b"), (folder, "a")):
        path.mkdir()
        (path / name).touch()
    swap_folder(new, folder)
    assert [path.name for path in folder.iterdir()] == ["b"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_folder_that_cannot_be_replaced_stays(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").touch()
    with pytest.raises(FileNotFoundError):
        swap_folder(tmp_path / "absent", folder)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    assert [path.name for path in folder.iterdir()] == ["a"]
