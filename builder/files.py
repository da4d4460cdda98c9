"""Write a file so that it is never seen half-written, and so that of two writers none is lost."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Let one process at a time read and then write what lies in a folder. Raises OSError."""
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


@contextlib.contextmanager
def open_whole(path: Path) -> Iterator[BinaryIO]:
    """Yield a file, to write and read, that becomes `path` when the block ends without an error. Raises OSError.

    For what is too much for memory. It is on the disk before it gets its name.
    """
    with _open_partial(path, 0o666) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def write_whole(path: Path, content: str | bytes, *, mode: int = 0o666) -> None:
    """Write a file, text as UTF-8, all of it or nothing; `mode` is what the umask leaves of it. Raises OSError.

    A device or a pipe (/dev/null, /dev/stdout) is written to, and stays.
    """
    data = content.encode() if isinstance(content, str) else content
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    with _open_partial(path, mode) as file:
        file.write(data)


def swap_folder(new: Path, folder: Path) -> None:
    """Let `folder` be what `new` is; what it was before is removed, or stays where that fails. Raises OSError."""
    old = _name_beside(folder)
    try:
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    except BaseException:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def _open_partial(path: Path, mode: int) -> Iterator[BinaryIO]:
    target = path.resolve()  # what a link leads to is replaced, not the link
    partial = _name_beside(target)
    try:
        with os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode), "w+b") as file:
            yield file
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _name_beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")
