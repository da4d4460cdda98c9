"""A file system for one measurement, as fresh as the next one's.

An ext4 without a journal gives the inodes of deleted files to nobody for a minute or more, and looks for others one by
one (Linux, fs/ext4/ialloc.c: recently_deleted). What is measured after a large engine was deleted would pay for that.
"""

from __future__ import annotations

import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.kit.errors import KitError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def make_disk(image: Path, size: int) -> None:
    """Make a file an empty ext4 of some bytes, with a journal; it takes no more than what is written there."""
    with image.open("wb") as stream:
        stream.truncate(size)
    _run("mkfs.ext4", "-q", "-O", "has_journal", "-E", "lazy_itable_init=1", str(image))


@contextmanager
def mount_disk(folder: Path) -> Iterator[None]:
    """Mount an empty ext4 at a folder, in a sparse file beside it; both are gone at the end.

    What an earlier run has left in the folder, or mounted there, goes first. Needs root. Raises KitError.
    """
    image = folder.with_name(f"{folder.name}.img")
    _clear(folder, image)
    folder.mkdir(parents=True)
    try:
        make_disk(image, shutil.disk_usage(folder).free // 10 * 9)
        # Past the cache of the disk below: what is in there already is in that of the new one.
        device = _run("losetup", "--find", "--show", "--direct-io=on", str(image))
        try:
            _run("mount", device, str(folder))
        finally:
            _run("losetup", "--detach", device)  # once nothing is mounted from it
        (folder / "lost+found").rmdir()
        yield
    finally:
        _clear(folder, image)


def _clear(folder: Path, image: Path) -> None:
    while folder.is_mount():
        _run("umount", "--recursive", "--lazy", str(folder))
    shutil.rmtree(folder, ignore_errors=True)
    image.unlink(missing_ok=True)


def _run(*argv: str) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = str(getattr(error, "stderr", "") or error).strip()
        raise KitError(f"`{' '.join(argv)}` failed: {said}", hint="it needs root, e2fsprogs, loop devices") from error
    return done.stdout.strip()
