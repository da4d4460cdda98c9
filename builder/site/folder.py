"""Write a site into a folder: the whole of it or nothing, and never over what somebody else has put there."""

from __future__ import annotations

import os
import shutil
from pathlib import PurePath
from typing import TYPE_CHECKING

from builder.errors import ImgbuildError
from builder.files import swap_folder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LIST = "imgbuild-site.txt"
"""The file that says which files of the folder are the site's: it makes the folder one that may be replaced."""


def write_site(files: Mapping[str, str], output: Path) -> None:
    """Put these files, by name, into a folder that is new, empty, or an older site; what it had before goes.

    Raises ImgbuildError where the folder holds anything that the site before did not, or cannot be written.
    """
    target = output.resolve()
    try:
        _require_ours(target, output)
        target.parent.mkdir(parents=True, exist_ok=True)
        _replace(files, target)
    except OSError as error:
        raise ImgbuildError(f"the site cannot be written: {error.strerror}", path=output) from error


def _require_ours(target: Path, output: Path) -> None:
    if not target.exists():
        return
    hint = "give a new folder, or move away what is not the site's."
    if not target.is_dir():
        raise ImgbuildError("is no folder", path=output, hint=hint)
    found = {path.name for path in target.iterdir()}
    try:
        listed = set((target / LIST).read_text(encoding="utf-8").split("\n"))
    except (FileNotFoundError, UnicodeDecodeError):
        listed = set()
    strange = sorted(found - listed - ({LIST} if listed else set()))
    if strange:
        raise ImgbuildError(f"holds {strange[0]!r}, which is not of a site of imgbuild's", path=output, hint=hint)


def _replace(files: Mapping[str, str], target: Path) -> None:
    new = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        new.mkdir()
        for name, text in {**files, LIST: "".join(f"{name}\n" for name in sorted(files))}.items():
            if PurePath(name).name != name:
                raise ImgbuildError(f"{name!r} is no name for a file")
            (new / name).write_text(text, encoding="utf-8", newline="\n")
        swap_folder(new, target)
    finally:
        shutil.rmtree(new, ignore_errors=True)
