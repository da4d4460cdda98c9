"""Write conda packages (`.conda`) and wheels of any size, fast: their content is incompressible, so it is stored.

The bytes of an archive depend on nothing but what it is asked to hold.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import zipfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from tests.kit.workspace import SOURCE_DATE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from _typeshed import ReadableBuffer


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file of a package, by its path there."""

    path: str
    data: bytes


class StoredFrame(io.RawIOBase):
    """A zstd frame of raw blocks, written to a stream (RFC 8878, sections 3.1.1.1 and 3.1.1.2)."""

    BLOCK = 1 << 17

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.pending = bytearray()
        # Magic number; a frame header with neither size nor checksum; a window of 128 KiB, the largest block.
        stream.write(b"\x28\xb5\x2f\xfd" + b"\x00" + bytes([(17 - 10) << 3]))

    def write(self, data: ReadableBuffer) -> int:
        """Return the number of bytes taken: all of them."""
        before = len(self.pending)
        self.pending += data
        taken = len(self.pending) - before
        while len(self.pending) > self.BLOCK:
            self._write_block(self.BLOCK, last=False)
        return taken

    def finish(self) -> None:
        """Write the last block; the stream stays open."""
        self._write_block(len(self.pending), last=True)

    def _write_block(self, size: int, *, last: bool) -> None:
        self.stream.write((size << 3 | last).to_bytes(3, "little"))
        self.stream.write(self.pending[:size])
        del self.pending[:size]


def write_conda(target: Path, index: Mapping[str, Any], files: Sequence[File]) -> None:
    """Write a conda package; `index` is its `info/index.json`, which tells its name and whether it is noarch."""
    stem = target.name.removesuffix(".conda")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo("metadata.json"), json.dumps({"conda_pkg_format_version": 2}))
        _write_tarball(archive, f"pkg-{stem}.tar.zst", files)
        _write_tarball(archive, f"info-{stem}.tar.zst", _describe(index, files))


def _write_tarball(archive: zipfile.ZipFile, name: str, files: Iterable[File]) -> None:
    with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as stream:
        frame = StoredFrame(stream)
        with tarfile.open(fileobj=frame, mode="w|", format=tarfile.PAX_FORMAT) as tarball:
            for file in files:
                member = tarfile.TarInfo(file.path)
                member.size, member.mtime, member.mode = len(file.data), SOURCE_DATE, 0o644
                tarball.addfile(member, io.BytesIO(file.data))
        frame.finish()


def _describe(index: Mapping[str, Any], files: Sequence[File]) -> list[File]:
    """Return the metadata files of a conda package."""
    paths = [
        {
            "_path": file.path,
            "path_type": "hardlink",
            "sha256": hashlib.sha256(file.data).hexdigest(),
            "size_in_bytes": len(file.data),
        }
        for file in files
    ]
    documents: dict[str, Any] = {
        "info/about.json": {"summary": "A replica: size and dependencies of a real package, other content"},
        "info/index.json": index,
        "info/paths.json": {"paths": paths, "paths_version": 1},
    }
    if index.get("noarch") == "python":
        documents["info/link.json"] = {"noarch": {"type": "python"}, "package_metadata_version": 1}
    return [File(path=path, data=json.dumps(document).encode()) for path, document in documents.items()]


def write_wheel(target: Path, files: Sequence[File]) -> None:
    """Write a wheel; its file name tells distribution, version and tag."""
    name, version, tag = target.name.removesuffix(".whl").split("-", 2)
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    wheel = (
        f"Wheel-Version: 1.0\nGenerator: imgbuild\nRoot-Is-Purelib: {str(tag.endswith('any')).lower()}\nTag: {tag}\n"
    )
    written = [
        *files,
        File(path=f"{info}/METADATA", data=metadata.encode()),
        File(path=f"{info}/WHEEL", data=wheel.encode()),
    ]
    rows = [f"{file.path},sha256={_digest(file.data)},{len(file.data)}\n" for file in written]
    record = File(path=f"{info}/RECORD", data="".join([*rows, f"{info}/RECORD,,\n"]).encode())
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for file in (*written, record):
            archive.writestr(zipfile.ZipInfo(file.path), file.data)


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
