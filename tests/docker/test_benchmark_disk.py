"""A measurement has a disk of its own, on a real kernel: not an engine's test, but as root as one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks.disk import mount_disk
from tests.docker.conftest import give_up
from tests.kit.errors import KitError


@pytest.fixture(autouse=True)
def loops() -> None:
    if not Path("/dev/loop-control").exists():
        give_up("no loop devices here")


def test_each_measurement_starts_on_an_empty_disk_and_leaves_none(tmp_path: Path) -> None:
    folder, image = tmp_path / "way", tmp_path / "way.img"
    folder.mkdir()
    (folder / "left").write_text("by a run that was killed")
    with mount_disk(folder):
        assert folder.is_mount()
        assert not list(folder.iterdir())
        assert image.stat().st_blocks * 512 < image.stat().st_size // 2
        ends_by_itself = ["losetup", "--noheadings", "--output", "AUTOCLEAR", "--associated", image]
        assert subprocess.check_output(ends_by_itself, text=True).strip() == "1"
    assert not list(tmp_path.iterdir())


def test_what_a_killed_run_left_mounted_and_in_use_is_in_nobodys_way(tmp_path: Path) -> None:
    folder = tmp_path / "way"
    killed = mount_disk(folder)
    killed.__enter__()
    with (folder / "log").open("w"), mount_disk(folder):
        assert not list(folder.iterdir())
    assert not list(tmp_path.iterdir())


def test_a_program_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KitError, match=r"`mkfs.ext4 .*` failed: .*No such file"), mount_disk(tmp_path / "way"):
        pass
    assert not list(tmp_path.iterdir())
