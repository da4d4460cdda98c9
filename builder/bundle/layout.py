"""Read a tar with an OCI image layout, and believe nothing in it that is not proven.

Every blob is compared with its digest, and everything that an engine would load is there, once, and is what the index
says: whichever of the two lists in it an engine reads, it gets the same images.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, BinaryIO, cast

from builder.bundle.documents import (
    INDEXES,
    Descriptor,
    Manifest,
    parse_index,
    parse_list,
    parse_manifest,
    require_layout_version,
)
from builder.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FOLDERS = frozenset({".", "blobs", "blobs/sha256"})
DOCUMENTS = ("index.json", "manifest.json", "oci-layout", "repositories")
BLOB = re.compile(r"blobs/(sha256)/([0-9a-f]{64})")

MAX_DOCUMENT = 4 << 20
"""Bytes that a document may have: as many as registries take (OCI distribution specification, "Pushing Manifests")."""

_PIECE = 1 << 20
_HARMLESS = frozenset({"atime", "ctime", "mtime", "size"})
"""What an extended header of an entry may say; the rest could make one program read another archive than the next."""

_HINT = "copy it again, or make it anew with `imgbuild bundle`."


@dataclass(frozen=True, slots=True, kw_only=True)
class BundledImage:
    """One image: its ref, the bytes of all that it consists of, and the digests that it may have in an engine.

    That is its manifest's under the containerd store, and its config's under the graphdriver store.
    """

    ref: str
    size: int
    ids: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What was read, and proven: the images by name, and the number and bytes of the distinct blobs."""

    images: tuple[BundledImage, ...]
    blobs: int
    size: int


def read_layout(file: BinaryIO, report: Callable[[int], None] = lambda _: None) -> Layout:
    """Return what a tar holds, read from its start. `report` is told how many bytes of the file were read.

    Raises BundleError when it is no image layout, or is truncated or tampered with, and says which blob it was.
    """
    file.seek(0)
    try:
        with tarfile.open(fileobj=cast("IO[bytes]", _Source(file, report)), mode="r:") as tar:
            members = _list_members(tar)
            for name, member in members.items():
                if match := BLOB.fullmatch(name):
                    _require_digest(tar, member, match[2])
            return _Reader(tar, members).read()
    except tarfile.TarError as error:
        raise BundleError(f"it is truncated, or no tar archive: {error}", hint=_HINT) from error


def clean_name(member: tarfile.TarInfo) -> str:
    """Return the name of an entry of a layout: a folder, a document or a blob. Raises BundleError for any other."""
    name = member.name.removeprefix("./")
    if member.isdir() and name in FOLDERS:
        return name
    if member.type not in {tarfile.REGTYPE, tarfile.AREGTYPE} or not (name in DOCUMENTS or BLOB.fullmatch(name)):
        raise BundleError(f"it holds {member.name!r}, which has no place in an image layout", hint=_HINT)
    if strange := set(member.pax_headers) - _HARMLESS:
        raise BundleError(f"the header of {name} says {sorted(strange)}, which has no place in an image layout")
    if name in DOCUMENTS and member.size > MAX_DOCUMENT:
        raise BundleError(f"{name} has {member.size} bytes, more than any engine reads")
    return name


def _list_members(tar: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    members: dict[str, tarfile.TarInfo] = {}
    name = ""
    try:
        for member in tar:
            name = clean_name(member)
            if name in members and not member.isdir():
                raise BundleError(f"it holds {name} twice")
            members[name] = member
    except tarfile.ReadError as error:
        raise BundleError(f"it is truncated: it ends in {name}", hint=_HINT) from error
    for name in ("oci-layout", "index.json"):
        if name not in members:
            raise BundleError(f"it has no {name}: it is truncated, or no image layout", hint=_HINT)
    return members


def _require_digest(tar: tarfile.TarFile, member: tarfile.TarInfo, digest: str) -> None:
    found = hashlib.sha256()
    with _extract(tar, member) as data:
        for piece in iter(lambda: data.read(_PIECE), b""):
            found.update(piece)
    if found.hexdigest() != digest:
        raise BundleError(f"the blob sha256:{digest} is damaged: its content is another", hint=_HINT)


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    return cast("IO[bytes]", tar.extractfile(member))  # only folders and links have nothing to extract


class _Reader:
    """The documents of a layout whose blobs are what their names say."""

    def __init__(self, tar: tarfile.TarFile, members: Mapping[str, tarfile.TarInfo]) -> None:
        self._tar = tar
        self._members = members

    def read(self) -> Layout:
        require_layout_version(self._text("oci-layout"))
        images: dict[str, BundledImage] = {}
        loaded: dict[str, set[tuple[str, tuple[str, ...]]]] = {}
        for entry in parse_index(self._text("index.json"), "index.json"):
            if not entry.ref:
                raise BundleError(f"index.json gives no name to the image {entry.digest}")
            if entry.ref in images:
                raise BundleError(f"index.json names two images {entry.ref}")
            blobs, manifests = self._walk(entry)
            loaded[entry.ref] = {
                (found.config.digest, tuple(layer.digest for layer in found.layers)) for found in manifests
            }
            images[entry.ref] = BundledImage(
                ref=entry.ref,
                size=sum(blobs.values()),
                ids=frozenset({entry.digest, *(found.config.digest for found in manifests)}),
            )
        if not images:
            raise BundleError("index.json names no image")
        self._require_same(loaded)
        sizes = [member.size for name, member in self._members.items() if BLOB.fullmatch(name)]
        return Layout(
            images=tuple(images[ref] for ref in sorted(images)),
            blobs=len(sizes),
            size=sum(sizes),
        )

    def _walk(self, entry: Descriptor) -> tuple[dict[str, int], list[Manifest]]:
        """Return the bytes of each blob of an image, and its manifests: several when it is for several platforms."""
        sizes: dict[str, int] = {}
        manifests: list[Manifest] = []
        left = [entry]
        while left:
            descriptor = left.pop()
            self._require(descriptor, entry.ref)
            if descriptor.digest in sizes:
                continue
            sizes[descriptor.digest] = descriptor.size
            where, text = descriptor.digest, self._text(_file(descriptor.digest))
            if descriptor.media_type in INDEXES:
                left += parse_index(text, where)
                continue
            manifests.append(manifest := parse_manifest(text, where))
            for blob in (manifest.config, *manifest.layers):
                self._require(blob, entry.ref)
                sizes[blob.digest] = blob.size
        return sizes, manifests

    def _require(self, descriptor: Descriptor, ref: str) -> None:
        member = self._members.get(_file(descriptor.digest))
        if member is None:
            raise BundleError(f"{ref} needs the blob {descriptor.digest}, which is not in it", hint=_HINT)
        if member.size != descriptor.size:
            raise BundleError(f"the blob {descriptor.digest} has {member.size} bytes, not {descriptor.size}")

    def _require_same(self, loaded: Mapping[str, set[tuple[str, tuple[str, ...]]]]) -> None:
        """Raise BundleError when docker's own list, where there is one, has other images than the index."""
        if "manifest.json" not in self._members:
            return
        listed: dict[str, tuple[str, tuple[str, ...]]] = {}
        for image in parse_list(self._text("manifest.json")):
            for ref in image.refs:
                if ref in listed:
                    raise BundleError(f"manifest.json names two images {ref}")
                listed[ref] = (image.config, image.layers)
        for ref in sorted(loaded.keys() | listed.keys()):
            if listed.get(ref) not in loaded.get(ref, ()):
                raise BundleError(f"manifest.json and index.json do not have the same image {ref}")

    def _text(self, name: str) -> bytes:
        member = self._members[name]
        if member.size > MAX_DOCUMENT:
            raise BundleError(f"{name} has {member.size} bytes, more than any engine reads")
        with _extract(self._tar, member) as data:
            return data.read()


class _Source:
    """A file for `tarfile`, which reads what a header announces into memory: never much of it at once."""

    def __init__(self, file: BinaryIO, report: Callable[[int], None]) -> None:
        self._file = file
        self._report = report

    def read(self, size: int) -> bytes:
        if size > MAX_DOCUMENT:
            raise tarfile.ReadError(f"a header of {size} bytes")
        data = self._file.read(size)
        self._report(self._file.tell())
        return data

    def seek(self, position: int) -> int:
        return self._file.seek(position)

    def tell(self) -> int:
        return self._file.tell()


def _file(digest: str) -> str:
    return digest.replace("sha256:", "blobs/sha256/", 1)
