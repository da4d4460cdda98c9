"""Write a file so that it is never seen half-written, and so that of two writers none is lost."""

from __future__ import annotations

import contextlib
import fcntl
import os
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
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes, *, mode: int = 0o666) -> None:
    """Write a file, text as UTF-8, all of it or nothing; `mode` is what the umask leaves of it. Raises OSError."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.touch(mode=mode)
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
