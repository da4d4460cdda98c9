"""A build context in memory, and on disk: all of it or nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from builder.errors import ImgbuildError
from builder.files import swap_folder

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextFile:
    """One file of a build context."""

    path: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """A build context: the files, `Dockerfile` among them."""

    files: tuple[ContextFile, ...]


def digest_context(context: Context) -> str:
    """Return the digest (sha256, in hexadecimal digits) of all files, their paths and their content."""
    digest = hashlib.sha256()
    for file in context.files:
        digest.update(f"{file.path} {len(file.data)}\n".encode() + file.data)
    return digest.hexdigest()


def list_folders(context: Context) -> list[str]:
    """Return the folders that a context's files lie in, each before those in it."""
    parents = (parent for file in context.files for parent in PurePosixPath(file.path).parents)
    return sorted({str(parent) for parent in parents} - {"."})


def write_context(context: Context, folder: Path) -> None:
    """Make `folder` hold exactly the files of a context, in place of what an earlier run wrote there.

    Raises ImgbuildError when the folder is anything else, or cannot be written.
    """
    if folder.exists() and not (folder / "host" / "settings").is_file():
        raise ImgbuildError(f"{folder} is there and is no build context", hint="choose another --out, or remove it.")
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        for file in context.files:
            path = partial / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.data)
        for name in (*(file.path for file in context.files), *list_folders(context)):
            path = partial / name
            # As in the context that is sent: COPY keeps times and modes.
            path.chmod(0o755 if path.is_dir() else 0o644)
            os.utime(path, (0, 0))
        swap_folder(partial, folder)
    except OSError as error:
        raise ImgbuildError(f"cannot write {folder}: {error.strerror}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
