"""Copy the image layout that an engine writes, so that the same images give the same bytes.

The blobs go through as they are. What an engine says differently each time is said in one way: headers have no times
and no owners, and lists are sorted. Each image gets its whole name also as OCI's `ref.name`, where engines write its
tag alone: skopeo and podman choose and name images by that.
"""

from __future__ import annotations

import io
import json
import tarfile
from operator import itemgetter
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

from builder.bundle.documents import REF_NAME, parse_index, parse_list
from builder.bundle.layout import BLOB, clean_name
from builder.errors import BundleError, EngineError
from builder.failures import DISK_FULL, HINT_DISK, HINT_RERUN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_TAIL = 4096
"""Bytes at the end of a reply in which an engine's error is looked for."""

_OLD = "Docker Engine 25.0 and newer write one; `docker version` tells which this is."


def copy_layout(chunks: Iterator[bytes], out: BinaryIO, report: Callable[[int], None] = lambda _: None) -> None:
    """Write the layout that an engine's `/images/get` sends; `report` is told how many bytes came.

    Nothing is verified here. Raises EngineError when the engine gives up, or is too old to write a layout; OSError.
    """
    source = Reply(chunks, report)
    documents: dict[str, bytes] = {}
    try:
        with (
            tarfile.open(fileobj=cast("IO[bytes]", source), mode="r|") as reply,
            tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as bundle,
        ):
            for member in reply:
                name = clean_name(member)
                data = reply.extractfile(member)
                if data is None:
                    continue
                if BLOB.fullmatch(name):
                    bundle.addfile(_make_entry(name, member.size), data)
                else:
                    documents[name] = data.read()
            for name, text in _rewrite(documents):
                bundle.addfile(_make_entry(name, len(text)), io.BytesIO(text))
    except (tarfile.TarError, BundleError) as error:
        raise source.explain() from error
    source.drain()
    if "index.json" not in documents:
        raise source.explain()


def _make_entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o644
    return entry


def _rewrite(documents: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield the documents in one form. `repositories`, which engines before 1.10 read, is left out."""
    if "index.json" not in documents:
        return
    entries = parse_index(documents["index.json"], "index.json")
    index = json.loads(documents["index.json"])
    named = sorted(zip((entry.ref for entry in entries), index["manifests"], strict=True), key=itemgetter(0))
    for ref, image in named:
        image.setdefault("annotations", {})[REF_NAME] = ref
    yield "index.json", _dump(index | {"manifests": [image for _, image in named]})
    if "manifest.json" in documents:
        parse_list(documents["manifest.json"])
        yield "manifest.json", _dump(sorted(json.loads(documents["manifest.json"]), key=itemgetter("RepoTags")))
    yield "oci-layout", _dump({"imageLayoutVersion": "1.0.0"})


def _dump(document: Any) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


class Reply:
    """An engine's reply as a file for `tarfile`, that keeps its last bytes."""

    def __init__(self, chunks: Iterator[bytes], report: Callable[[int], None] = lambda _: None) -> None:
        self._chunks = chunks
        self._report = report
        self._tail = b""
        self._count = 0

    def read(self, _size: int = 0) -> bytes:
        """Return the next chunk, of whatever size: tarfile takes what comes."""
        chunk = next(self._chunks, b"")
        self._tail = (self._tail + chunk[-_TAIL:])[-_TAIL:]
        self._count += len(chunk)
        self._report(self._count)
        return chunk

    def drain(self) -> None:
        """Read what follows the archive: nothing, or the engine's error."""
        while self.read():
            pass

    def explain(self) -> EngineError:
        """Return why the reply is no layout. An engine that gives up says so behind what it has sent by then."""
        self.drain()
        _, found, said = self._tail.rpartition(b'{"errorDetail":')
        if not found:
            return EngineError("the engine wrote no OCI image layout", hint=_OLD)
        try:
            message = str(json.loads(found + said)["errorDetail"]["message"])
        except (ValueError, LookupError, TypeError):
            message = said.decode(errors="replace")
        hint = HINT_DISK if DISK_FULL in message else HINT_RERUN
        return EngineError(f"the engine gave up: {message}", hint=hint)
