"""Write a build context to a folder: all of it or nothing."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from builder.errors import ImgbuildError

if TYPE_CHECKING:
    from pathlib import Path

    from builder.render import Context


def write_context(context: Context, folder: Path) -> None:
    """Make `folder` hold exactly the files of a context, in place of what an earlier run wrote there.

    Raises ImgbuildError when the folder holds anything else, or cannot be written.
    """
    if folder.exists() and not (folder / "Dockerfile").is_file():
        raise ImgbuildError(f"{folder} is there and is no build context", hint="choose another --out, or remove it.")
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        for file in context.files:
            path = partial / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.data)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except OSError as error:
        raise ImgbuildError(f"cannot write {folder}: {error.strerror}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
