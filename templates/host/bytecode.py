"""bytecode.py CHANGED: give every module in the library of this Python a .pyc that fits it, and remove all others.

CHANGED lists what a step changed, each path ended by a NUL; what this changes is added. All else was in order before.

Times are rewritten when a step ends, so a .pyc that goes by the time of its source would be stale in the image. These
go by the source's hash (PEP 552, unchecked), and nothing is compiled again when they are imported. Those that a conda
package brought are kept, with a new head. All others are made here, none is taken from an installer: what a process
compiles depends on what else it has loaded, and a layer's bytes may depend on nothing but its packages. So the
interpreter runs without site and with a fixed hash seed. What was compiled once is kept in a cache mount. It runs in
every Python that an image can have.
"""

from __future__ import annotations

import hashlib
import json
import marshal
import os
import sys
import tempfile
from importlib.util import MAGIC_NUMBER, cache_from_source, source_hash
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import Any

LIBRARY = os.path.dirname(os.__file__)
PREFIX = os.path.dirname(os.path.dirname(LIBRARY))
NEUTRAL = os.path.join(PREFIX, "lib", "neutral")
RECORDS = os.path.join(PREFIX, "conda-meta", "")
CACHE = "/cache/bytecode"
# The head of a .pyc: a magic number, flags, then the time and the size of its source, or its hash (PEP 552).
TIMED, UNCHECKED, CHECKED = (flags.to_bytes(4, "little") for flags in (0, 1, 3))
HEAD = 16
NOT_COMPILABLE = (SyntaxError, ValueError, RecursionError, OverflowError, MemoryError)


def read_changed(listing: str) -> list[str]:
    """Return what changed: a folder of the library that is a link into the neutral one has what changed there."""
    with open(listing, "rb") as stream:
        changed = [os.fsdecode(path) for path in stream.read().split(b"\0")[:-1]]
    neutral = [path for path in changed if path.startswith(NEUTRAL)]
    links = find_links(NEUTRAL, os.path.join(LIBRARY, "site-packages")) if neutral else ()
    for source, target in links:
        changed += [target + path[len(source) :] for path in neutral if path.startswith(source + os.sep)]
    return changed


def find_links(source: str, target: str) -> Iterator[tuple[str, str]]:
    """Return the folders below a source that have a link at the same place below a target, and these links."""
    for entry in os.scandir(source):
        there = os.path.join(target, entry.name)
        if entry.is_dir() and os.path.islink(there):
            yield entry.path, there
        elif entry.is_dir() and os.path.isdir(there):
            yield from find_links(entry.path, there)


def list_folders(changed: list[str]) -> set[str]:
    """Return the folders of the library in which something changed; a new link leads to more of it."""
    folders = set()
    for path in changed:
        if not path.startswith(LIBRARY):
            continue
        if os.path.islink(path):
            folders |= {folder for folder, _, _ in os.walk(path)}
        else:
            folders.add(path if os.path.isdir(path) else os.path.dirname(path))
    if os.path.realpath(sys.executable) in changed:
        folders |= {folder for folder, _, _ in os.walk(LIBRARY)}
    return {os.path.dirname(path) if os.path.basename(path) == "__pycache__" else path for path in folders}


def list_work(changed: list[str]) -> tuple[list[str], list[str]]:
    """Return the sources to compile, those that are new or have no .pyc, and the .pyc files that go with no source."""
    sources, leftovers = {path for path in changed if path.startswith(LIBRARY) and path.endswith(".py")}, []
    for folder in list_folders(changed):
        expected = {cache_from_source(os.path.join(folder, name)): name for name in list_files(folder, ".py")}
        cache = os.path.join(folder, "__pycache__")
        made = {os.path.join(cache, name) for name in list_files(cache, ".pyc")}
        sources |= {os.path.join(folder, name) for target, name in expected.items() if target not in made}
        leftovers += made - expected.keys()
    return sorted(filter(os.path.isfile, sources)), leftovers


def list_files(folder: str, ending: str) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if name.endswith(ending)]
    except FileNotFoundError:
        return []


def compile_source(path: str, source: bytes) -> bytes:
    """Return the .pyc of a source; empty for what is not of this Python, such as the test data of a converter."""
    try:
        code = compile(source, path, "exec", dont_inherit=True)
    except NOT_COMPILABLE:
        return b""
    return make_head(source) + marshal.dumps(code)


def make_head(source: bytes) -> bytes:
    return MAGIC_NUMBER + UNCHECKED + source_hash(source)


def fits_source(made: bytes, path: str, source: bytes) -> bool:
    """Return whether Python would take a .pyc for a source; by its time only if the installer has kept that."""
    told = source_hash(source)
    if made[4:8] == TIMED:
        numbers = int(os.stat(path).st_mtime), len(source)
        told = b"".join((number % 2**32).to_bytes(4, "little") for number in numbers)
    return made[4:8] in (TIMED, UNCHECKED, CHECKED) and made[:HEAD] == MAGIC_NUMBER + made[4:8] + told


def read_records(changed: list[str]) -> dict[str, dict[str, Any]]:
    """Return the records of new conda packages by their paths; what an installer left out of one is empty."""
    records = {}
    for path in changed:
        if path.startswith(RECORDS) and path.endswith(".json"):
            with open(path, encoding="utf-8") as stream:
                record = json.load(stream)
            paths = {"paths_version": 1, **(record.get("paths_data") or {})}
            paths["paths"] = paths.get("paths") or []
            records[path] = {**record, "files": record.get("files") or [], "paths_data": paths}
    return records


def list_brought(records: Collection[dict[str, Any]]) -> set[str]:
    """Return the SHA-256 of each .pyc that packages brought, not of what their installer compiled."""
    entries = [entry for record in records for entry in record["paths_data"]["paths"]]
    return {entry["sha256"] for entry in entries if entry["_path"].endswith(".pyc") and entry.get("sha256")}


def take_bytecode(path: str, source: bytes, brought: Collection[str]) -> bytes:
    """Return the .pyc of a source that a package brought; empty if there is none, or not one that fits."""
    target = cache_from_source(path)
    if not brought or not os.path.exists(target):
        return b""
    with open(target, "rb") as stream:
        made = stream.read()
    if hashlib.sha256(made).hexdigest() not in brought or not fits_source(made, path, source):
        return b""
    return make_head(source) + made[HEAD:]


def make_bytecode(path: str, source: bytes) -> bytes:
    """Return the .pyc of a source, from the cache if it was made before."""
    key = hashlib.blake2b(b"\0".join((MAGIC_NUMBER, os.fsencode(path), source)), digest_size=20).hexdigest()
    kept = os.path.join(CACHE, key[:2], key[2:])
    try:
        with open(kept, "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        made = compile_source(path, source)
    os.makedirs(os.path.dirname(kept), exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(kept), delete=False) as partial:
        partial.write(made)
    os.replace(partial.name, kept)  # steps may run at the same time
    return made


def write_bytecode(path: str, brought: Collection[str]) -> None:
    target = cache_from_source(path)
    with open(path, "rb") as stream:
        source = stream.read()
    if made := take_bytecode(path, source, brought) or make_bytecode(path, source):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as stream:
            stream.write(made)
    elif os.path.exists(target):
        os.unlink(target)


def share_work(sources: list[str], brought: Collection[str]) -> None:
    """Write the .pyc of all sources, on every core. Raises SystemExit when one cannot be written."""
    workers = []
    for first in range(min(os.cpu_count() or 1, len(sources))):
        worker = os.fork()
        if not worker:
            for path in sources[first :: os.cpu_count() or 1]:
                write_bytecode(path, brought)
            os._exit(0)
        workers.append(worker)
    ended = [os.waitpid(worker, 0)[1] for worker in workers]
    if any(ended):
        raise SystemExit("bytecode.py: not every module could be compiled")


def complete_records(records: dict[str, dict[str, Any]]) -> None:
    """Name the .pyc files in the records of new conda packages, so that they go when the package goes.

    Those that the package brought have another head: their hashes go from the record.
    """
    for path, record in records.items():
        pyc = {cache_from_source(file) for file in record["files"] if file.endswith(".py")}
        found = sorted(file for file in pyc if os.path.exists(os.path.join(PREFIX, file)))
        record["files"] = sorted({*record["files"], *found})
        paths = record["paths_data"]
        kept = [entry for entry in paths["paths"] if entry["_path"] not in pyc]
        paths["paths"] = kept + [{"_path": file, "path_type": "pyc_file"} for file in found]
        if found:
            with open(path, "w", encoding="utf-8") as stream:
                json.dump(record, stream, indent=2, sort_keys=True)


def main() -> None:
    listing = sys.argv[1]
    changed = read_changed(listing)
    sources, leftovers = list_work(changed)
    records = read_records(changed)
    share_work(sources, list_brought(records.values()))
    for path in leftovers:
        os.unlink(path)
        if not os.listdir(os.path.dirname(path)):
            os.rmdir(os.path.dirname(path))
    complete_records(records)
    caches = {os.path.dirname(path) for path in (*map(cache_from_source, sources), *leftovers)}
    touched = {*map(cache_from_source, sources), *caches, *map(os.path.dirname, caches)}
    with open(listing, "ab") as stream:
        stream.writelines(os.fsencode(path) + b"\0" for path in sorted(touched))


if __name__ == "__main__":
    main()
