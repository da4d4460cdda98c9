"""Give every module in the library of the Python that runs this a .pyc that fits it, and remove all others.

Times are rewritten when a step ends, so a .pyc that goes by the time of its source would be stale in the image. These
go by the source's hash (PEP 552, unchecked), and nothing is compiled again when they are imported. All are made here,
none is taken from an installer or a package: what a process compiles depends on what else it has loaded, and a
layer's bytes may depend on nothing but its packages. So the interpreter runs without site and with a fixed hash seed.
What was compiled once is kept in a cache mount. It runs in every Python that an image can have.
"""

from __future__ import annotations

import hashlib
import json
import marshal
import os
import tempfile
from importlib.util import MAGIC_NUMBER, cache_from_source, source_hash
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LIBRARY = os.path.dirname(os.__file__)
CACHE = "/cache/bytecode"
BEGAN = "/dev/shm/began"  # noqa: S108 (a memory file system of this step alone)
UNCHECKED = (1).to_bytes(4, "little")
NOT_COMPILABLE = (SyntaxError, ValueError, RecursionError, OverflowError, MemoryError)


def walk_library() -> Iterator[tuple[str, list[str]]]:
    """Return each folder of the library with its files; links in site-packages lead to more of it."""
    with os.scandir(os.path.join(LIBRARY, "site-packages")) as entries:
        links = sorted(entry.path for entry in entries if entry.is_symlink() and entry.is_dir())
    for root in (LIBRARY, *links):
        for folder, _, files in os.walk(root):
            yield folder, files


def list_work(began: int) -> tuple[list[str], list[str]]:
    """Return the sources to compile, those that are new or have no .pyc, and the .pyc files that go with no source.

    New is what changed its status since the step began, whatever time an installer gave it.
    """
    sources, leftovers = [], []
    for folder, files in walk_library():
        if os.path.basename(folder) == "__pycache__":
            beside = os.listdir(os.path.dirname(folder))
            expected = {os.path.basename(cache_from_source(name)) for name in beside if name.endswith(".py")}
            leftovers += [
                os.path.join(folder, name) for name in files if name.endswith(".pyc") and name not in expected
            ]
            continue
        paths = [os.path.join(folder, name) for name in files if name.endswith(".py")]
        sources += [path for path in paths if is_new(path, began) or not os.path.exists(cache_from_source(path))]
    return sorted(filter(os.path.isfile, sources)), leftovers


def is_new(path: str, began: int) -> bool:
    return os.lstat(path).st_ctime_ns >= began


def compile_source(path: str, source: bytes) -> bytes:
    """Return the .pyc of a source; empty for what is not of this Python, such as the test data of a converter."""
    try:
        code = compile(source, path, "exec", dont_inherit=True)
    except NOT_COMPILABLE:
        return b""
    return b"".join((MAGIC_NUMBER, UNCHECKED, source_hash(source), marshal.dumps(code)))


def make_bytecode(path: str) -> bytes:
    """Return the .pyc of a source, from the cache if it was made before."""
    with open(path, "rb") as stream:
        source = stream.read()
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


def write_bytecode(path: str) -> None:
    target = cache_from_source(path)
    if made := make_bytecode(path):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as stream:
            stream.write(made)
    elif os.path.exists(target):
        os.unlink(target)


def share_work(sources: list[str]) -> None:
    """Write the .pyc of all sources, on every core. Raises SystemExit when one cannot be written."""
    workers = []
    for first in range(min(os.cpu_count() or 1, len(sources))):
        worker = os.fork()
        if not worker:
            for path in sources[first :: os.cpu_count() or 1]:
                write_bytecode(path)
            os._exit(0)
        workers.append(worker)
    ended = [os.waitpid(worker, 0)[1] for worker in workers]
    if any(ended):
        raise SystemExit("bytecode.py: not every module could be compiled")


def complete_records(began: int) -> None:
    """Add the new .pyc files to the records of new conda packages, so that they go when the package goes."""
    prefix = os.path.dirname(os.path.dirname(LIBRARY))
    with os.scandir(os.path.join(prefix, "conda-meta")) as entries:
        paths = [entry.path for entry in entries if entry.name.endswith(".json") and is_new(entry.path, began)]
    for path in paths:
        with open(path, encoding="utf-8") as stream:
            record = json.load(stream)
        files = set(record["files"])
        pyc = {cache_from_source(file) for file in files if file.endswith(".py")} - files
        found = sorted(file for file in pyc if os.path.exists(os.path.join(prefix, file)))
        record["files"] = sorted([*files, *found])
        record.setdefault("paths_data", {"paths_version": 1, "paths": []})["paths"] += [
            {"_path": file, "path_type": "pyc_file"} for file in found
        ]
        if found:
            with open(path, "w", encoding="utf-8") as stream:
                json.dump(record, stream, indent=2, sort_keys=True)


def main() -> None:
    began = os.stat(BEGAN).st_ctime_ns
    sources, leftovers = list_work(began)
    share_work(sources)
    for path in leftovers:
        os.unlink(path)
        if not os.listdir(os.path.dirname(path)):
            os.rmdir(os.path.dirname(path))
    complete_records(began)


if __name__ == "__main__":
    main()
