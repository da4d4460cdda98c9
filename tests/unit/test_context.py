from __future__ import annotations

import io
import os
import tarfile
from typing import TYPE_CHECKING

import pytest

from builder.context import Context, ContextFile, write_context
from builder.engine import pack_context
from builder.errors import ImgbuildError

if TYPE_CHECKING:
    from pathlib import Path


def make_context(**files: bytes) -> Context:
    whole = {"Dockerfile": b"FROM a\n", "host/settings": b"", **files}
    return Context(files=tuple(ContextFile(path=path, data=data) for path, data in whole.items()))


def listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_folder_holds_exactly_the_context(tmp_path: Path) -> None:
    folder = tmp_path / "out" / "cell"
    write_context(make_context(**{"native/conda.txt": b"@EXPLICIT\n"}), folder)
    assert listing(folder) == {"Dockerfile", "host/settings", "native/conda.txt"}
    assert (folder / "native/conda.txt").read_bytes() == b"@EXPLICIT\n"


def test_written_context_has_the_times_and_modes_of_the_one_that_is_sent(tmp_path: Path) -> None:
    context = make_context(**{"image/etc/hosts": b""})
    before = os.umask(0o077)
    try:
        write_context(context, tmp_path / "cell")
    finally:
        os.umask(before)
    with tarfile.open(fileobj=io.BytesIO(pack_context(context))) as tar:
        sent = {member.name: (member.mode, member.mtime) for member in tar.getmembers()}
    written = {path.relative_to(tmp_path / "cell"): path.stat() for path in (tmp_path / "cell").rglob("*")}
    assert {str(path): (it.st_mode & 0o7777, it.st_mtime) for path, it in written.items()} == sent


def test_an_earlier_context_is_replaced_whole(tmp_path: Path) -> None:
    write_context(make_context(**{"native/conda.txt": b"old"}), tmp_path / "cell")
    write_context(make_context(**{"python/pip.txt": b"new"}), tmp_path / "cell")
    assert listing(tmp_path) == {"cell/Dockerfile", "cell/host/settings", "cell/python/pip.txt"}


@pytest.mark.parametrize("file", ["notes.txt", "Dockerfile"])
def test_folder_of_something_else_is_left_alone(file: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text("mine")
    with pytest.raises(ImgbuildError, match="no build context"):
        write_context(make_context(), tmp_path)
    assert (tmp_path / file).read_text() == "mine"


def test_failed_write_leaves_the_old_context_and_no_litter(tmp_path: Path) -> None:
    write_context(make_context(), tmp_path / "cell")
    broken = make_context(host=b"a file where a folder is")
    with pytest.raises(ImgbuildError, match="cannot write"):
        write_context(broken, tmp_path / "cell")
    assert listing(tmp_path) == {"cell/Dockerfile", "cell/host/settings"}
