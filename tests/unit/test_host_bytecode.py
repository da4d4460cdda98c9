"""The bytecode that a step leaves: templates/host/bytecode.py."""

from __future__ import annotations

import hashlib
import json
import marshal
import os
import py_compile
import subprocess
import sys
import sysconfig
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.host_scripts import HOST, load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType

bytecode = load("bytecode")


def test_bytecode_does_not_depend_on_what_was_compiled_before() -> None:
    folder = Path(sysconfig.get_path("stdlib"))
    script = "import sys; sys.path.insert(0, sys.argv[1]); import bytecode, hashlib\n" + (
        "for path in sys.argv[2:]: last = bytecode.compile_source(path, open(path, 'rb').read())\n"
        "print(hashlib.sha256(last).hexdigest())"
    )
    others = [str(folder / name) for name in ("ast.py", "inspect.py", "optparse.py", "typing.py")]
    command = [sys.executable, "-sSB", "-c", script, str(HOST)]
    found = {
        subprocess.run([*command, *first, str(folder / "argparse.py")], capture_output=True, check=True).stdout
        for first in ([], others, others[::-1])
    }
    assert len(found) == 1


def test_bytecode_goes_by_the_hash_of_its_source(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text("x = 1\n")
    made = bytecode.compile_source(str(source), source.read_bytes())
    expected = py_compile.compile(
        str(source), cfile=str(tmp_path / "x.pyc"), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
    assert made[:16] == Path(expected).read_bytes()[:16]
    assert marshal.loads(made[16:]).co_filename == str(source)


@pytest.mark.parametrize("source", [b"print 'x'\n", b"\xff", b"x = '\0'", b"# coding: nonsense\n"])
def test_what_cannot_be_compiled_has_no_bytecode(source: bytes) -> None:
    assert bytecode.compile_source("x.py", source) == b""


def bring_bytecode(prefix: Path, module: Path, mode: py_compile.PycInvalidationMode) -> str:
    """Compile a module as a conda package does that brings bytecode; return the listing of what its step changed."""
    target = py_compile.compile(str(module), dfile="where/it/was/built.py", invalidation_mode=mode, doraise=True)
    assert target
    paths = [
        {"_path": str(path.relative_to(prefix)), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in (module, Path(target))
    ]
    record = prefix / "conda-meta" / "piece-1-0.json"
    record.parent.mkdir(exist_ok=True)
    record.write_text(
        json.dumps({"files": [path["_path"] for path in paths], "paths_data": {"paths_version": 1, "paths": paths}})
    )
    return write_listing(prefix, module, Path(target), record)


def finish_step(listing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bytecode.py", listing])
    bytecode.main()


def read_bytecode(module: Path) -> CodeType:
    """Return the code of the .pyc of a module, whose head must say that its source is not to be looked at."""
    made = Path(bytecode.cache_from_source(str(module))).read_bytes()
    assert made[:16] == bytecode.make_head(module.read_bytes())
    code: CodeType = marshal.loads(made[16:])
    return code


@pytest.mark.parametrize("mode", py_compile.PycInvalidationMode)
def test_bytecode_that_a_conda_package_brought_is_kept(
    mode: py_compile.PycInvalidationMode, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = library / "site-packages" / "piece" / "__init__.py"
    module.write_text("x = 1\n")
    os.utime(module, (5_000_000_000, 5_000_000_000))  # a .pyc has the last 32 bits of it
    finish_step(bring_bytecode(tmp_path, module, mode), monkeypatch)
    assert read_bytecode(module).co_filename == "where/it/was/built.py"


@contextmanager
def edit_record(module: Path) -> Iterator[dict[str, Any]]:
    path = module.parents[4] / "conda-meta" / "piece-1-0.json"
    record = json.loads(path.read_text())
    yield record
    path.write_text(json.dumps(record))


def change_source(module: Path) -> None:
    module.write_text("x = 2\n")
    os.utime(module, (2_000_000_000, 2_000_000_000))


def change_size(module: Path) -> None:
    stat = module.stat()
    module.write_text("x = 234\n")
    os.utime(module, (stat.st_atime, stat.st_mtime))


def change_bytecode(module: Path) -> None:
    target = Path(bytecode.cache_from_source(str(module)))
    target.write_bytes(target.read_bytes().replace(b"built.py", b"other.py"))


def change_magic(module: Path) -> None:
    """Compile for another Python, in the package itself."""
    target = Path(bytecode.cache_from_source(str(module)))
    target.write_bytes(b"\0\0\r\n" + target.read_bytes()[4:])
    with edit_record(module) as record:
        record["paths_data"]["paths"][1]["sha256"] = hashlib.sha256(target.read_bytes()).hexdigest()


def change_flags(module: Path) -> None:
    """Give the bytecode, in the package itself, a flag that Python does not know."""
    target = Path(bytecode.cache_from_source(str(module)))
    made = target.read_bytes()
    target.write_bytes(made[:4] + bytes([made[4] | 4]) + made[5:])
    with edit_record(module) as record:
        record["paths_data"]["paths"][1]["sha256"] = hashlib.sha256(target.read_bytes()).hexdigest()


def compile_on_installation(module: Path) -> None:
    """Write the record of a noarch package, whose bytecode its installer made."""
    with edit_record(module) as record:
        del record["paths_data"]["paths"][1]["sha256"]


def forget_paths(module: Path) -> None:
    """Write the record that an older package leaves, which knows no hash of a file."""
    with edit_record(module) as record:
        del record["paths_data"]


def leave_paths_empty(module: Path) -> None:
    with edit_record(module) as record:
        record |= {"paths_data": {"paths": None}, "files": None}


def leave_record_empty(module: Path) -> None:
    with edit_record(module) as record:
        record |= {"paths_data": None}


def remove_bytecode(module: Path) -> None:
    Path(bytecode.cache_from_source(str(module))).unlink()


@pytest.mark.parametrize("mode", py_compile.PycInvalidationMode)
@pytest.mark.parametrize(
    "change",
    [
        change_source,
        change_size,
        change_bytecode,
        change_magic,
        change_flags,
        compile_on_installation,
        forget_paths,
        leave_paths_empty,
        leave_record_empty,
        remove_bytecode,
    ],
)
def test_brought_bytecode_that_python_would_not_take_is_made_anew(
    change: Callable[[Path], None],
    mode: py_compile.PycInvalidationMode,
    library: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = library / "site-packages" / "piece" / "__init__.py"
    module.write_text("x = 1\n")
    listing = bring_bytecode(tmp_path, module, mode)
    change(module)
    finish_step(listing, monkeypatch)
    assert read_bytecode(module).co_filename == str(module)


@pytest.mark.parametrize("turn", [1, -1])
def test_bytecode_of_two_packages_at_one_place_does_not_depend_on_the_order_of_their_records(
    turn: int, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = library / "site-packages" / "piece" / "__init__.py"
    listing = Path(bring_bytecode(tmp_path, module, py_compile.PycInvalidationMode.TIMESTAMP))
    with edit_record(module) as record:
        other = json.loads(json.dumps(record))
    other["paths_data"]["paths"][1]["sha256"] = "0" * 64
    (tmp_path / "conda-meta" / "other-1-0.json").write_text(json.dumps(other))
    changed = [*map(Path, listing.read_text().split("\0")[:-1]), tmp_path / "conda-meta" / "other-1-0.json"]
    finish_step(write_listing(tmp_path, *changed[::turn]), monkeypatch)
    assert read_bytecode(module).co_filename == "where/it/was/built.py"


def write_listing(tmp_path: Path, *changed: Path) -> str:
    listing = tmp_path / "changed"
    listing.write_bytes(b"".join(bytes(path) + b"\0" for path in changed))
    return str(listing)


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library of which `old` and `other` have their .pyc, and nvidia's wheels in the neutral folder beside it."""
    folder = tmp_path / "lib" / "python3"
    for name in ("old.py", "other.py", "site-packages/piece/__init__.py"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        py_compile.compile(str(path))
    (tmp_path / "lib" / "neutral" / "nvidia" / "one").mkdir(parents=True)
    monkeypatch.setattr(bytecode, "LIBRARY", str(folder))
    monkeypatch.setattr(bytecode, "NEUTRAL", str(tmp_path / "lib" / "neutral"))
    monkeypatch.setattr(bytecode, "PREFIX", str(tmp_path))
    monkeypatch.setattr(bytecode, "RECORDS", str(tmp_path / "conda-meta") + os.sep)
    monkeypatch.setattr(bytecode, "CACHE", str(tmp_path / "cache"))
    return folder


def test_only_what_changed_is_compiled(library: Path, tmp_path: Path) -> None:
    new = library / "site-packages" / "piece" / "new.py"
    new.write_text("")
    listing = write_listing(tmp_path, new, new.parent, library / "other.py", library.parent / "libz.so")
    sources, leftovers = bytecode.list_work(bytecode.read_changed(listing))
    assert sources == sorted([str(new), str(library / "other.py")])
    assert leftovers == []


def test_bytecode_whose_source_is_gone_goes_too(library: Path, tmp_path: Path) -> None:
    (library / "old.py").unlink()
    sources, (leftover,) = bytecode.list_work(bytecode.read_changed(write_listing(tmp_path, library)))
    assert sources == []
    assert Path(leftover).name.startswith("old.")


def test_new_link_leads_to_sources_without_bytecode(library: Path, tmp_path: Path) -> None:
    (tmp_path / "lib" / "neutral" / "nvidia" / "one" / "__init__.py").write_text("")
    link = library / "site-packages" / "nvidia"
    link.symlink_to("../../neutral/nvidia")
    sources, _ = bytecode.list_work(bytecode.read_changed(write_listing(tmp_path, link)))
    assert sources == [f"{link}/one/__init__.py"]


def test_newer_neutral_source_is_compiled_where_the_library_has_it(library: Path, tmp_path: Path) -> None:
    source = tmp_path / "lib" / "neutral" / "nvidia" / "one" / "__init__.py"
    source.write_text("")
    link = library / "site-packages" / "nvidia"
    link.symlink_to("../../neutral/nvidia")
    py_compile.compile(f"{link}/one/__init__.py")
    sources, _ = bytecode.list_work(bytecode.read_changed(write_listing(tmp_path, source)))
    assert sources == [f"{link}/one/__init__.py"]
