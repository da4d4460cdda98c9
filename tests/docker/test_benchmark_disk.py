"""A measurement has a disk of its own, on a real kernel: not an engine's test, but as root as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.disk import mount_disk

if TYPE_CHECKING:
    from pathlib import Path


def test_each_measurement_starts_on_an_empty_disk_and_leaves_none(tmp_path: Path) -> None:
    folder, image = tmp_path / "way", tmp_path / "way.img"
    folder.mkdir()
    (folder / "left").write_text("by a run that was killed")
    with mount_disk(folder):
        assert folder.is_mount()
        assert not list(folder.iterdir())
        (folder / "large").write_bytes(bytes(1_000_000))
        assert image.stat().st_blocks * 512 < image.stat().st_size
    assert not list(tmp_path.iterdir())


def test_what_a_killed_run_left_mounted_is_unmounted(tmp_path: Path) -> None:
    folder = tmp_path / "way"
    killed = mount_disk(folder)
    killed.__enter__()
    (folder / "left").write_text("by a run that was killed")
    with mount_disk(folder):
        assert not list(folder.iterdir())
    assert not list(tmp_path.iterdir())
