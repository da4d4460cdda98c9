"""What the checks say of files that are not as their packages brought them, in a small environment."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

LIBRARY = "lib/python3.11"
SITE = f"{LIBRARY}/site-packages"
INFO = f"{SITE}/tool-1.0.dist-info"
TEXT = "x = 1\n"
TAG = sys.implementation.cache_tag


def write(prefix: Path, *paths: str, text: str = TEXT) -> None:
    for path in paths:
        (prefix / path).parent.mkdir(parents=True, exist_ok=True)
        (prefix / path).write_text(text)


def sign(text: str = TEXT, algorithm: str = "sha256") -> str:
    digest = hashlib.new(algorithm, text.encode()).digest()
    return f"{algorithm}={base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


@pytest.fixture
def prefix(tmp_path: Path, scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment with one package of conda, one wheel as pip leaves it, and bytecode, links and logs of both."""
    digest = hashlib.sha256(TEXT.encode()).hexdigest()
    paths = [
        {"_path": "lib/libz.so.1.3", "path_type": "hardlink", "sha256": digest, "sha256_in_prefix": digest},
        {"_path": "lib/libz.so.1", "path_type": "softlink", "sha256": "0" * 64},
        {"_path": "lib/libgone.so", "path_type": "softlink"},
        {"_path": "bin/zip", "path_type": "unix_python_entry_point"},
        {"_path": "lib/moved.txt", "path_type": "hardlink", "sha256": "0" * 64, "prefix_placeholder": "/build"},
        {"_path": f"{LIBRARY}/os.py", "path_type": "hardlink", "sha256": digest},
        {"_path": f"{LIBRARY}/__pycache__/os.{TAG}.pyc", "path_type": "pyc_file"},
    ]
    record = {"name": "zlib", "version": "1", "build": "0", "files": [it["_path"] for it in paths]}
    write(tmp_path, *record["files"][:1], *record["files"][3:])
    (tmp_path / "lib/libz.so.1").symlink_to("libz.so.1.3")
    (tmp_path / "lib/libgone.so").symlink_to("of-another-package.so")
    write(tmp_path, "conda-meta/zlib-1-0.json", text=json.dumps(record | {"paths_data": {"paths": paths}}))
    write(tmp_path, "conda-meta/history", text="")
    write(tmp_path, f"{SITE}/tool.py", f"{SITE}/__pycache__/tool.{TAG}.pyc", f"{SITE}/tool.pth", "bin/tool")
    write(tmp_path, f"{INFO}/REQUESTED", text="")
    write(tmp_path, f"{INFO}/METADATA", text="Metadata-Version: 2.1\nName: tool\nVersion: 1.0\n")
    rows = [f"tool.py,{sign()},6", f"__pycache__/tool.{TAG}.pyc,,", f"../../../bin/tool,{sign(algorithm='sha512')},6"]
    rows += [f"tool.pth,{sign()},6", f"tool-1.0.dist-info/REQUESTED,{sign('')},0", "tool-1.0.dist-info/RECORD,,"]
    write(tmp_path, f"{INFO}/RECORD", text="\n".join(rows) + "\n")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path / SITE))
    monkeypatch.setattr(scripts["ownership"], "LIBRARY", LIBRARY)
    forget(scripts)
    return tmp_path


def forget(scripts: dict[str, ModuleType]) -> None:
    """Have the records read again."""
    scripts["records"].read_packages.cache_clear()
    scripts["records"].read_wheel_files.cache_clear()


def test_environment_as_installers_leave_it_passes(prefix: Path, scripts: dict[str, ModuleType]) -> None:
    assert scripts["ownership"].owners({}) == "7 files of conda's, 1 wheels"
    assert scripts["ownership"].files({}) == "12 files"
    assert prefix.is_dir()


@pytest.mark.parametrize(
    "path",
    [
        f"{SITE}/sitecustomize.py",
        f"{SITE}/tool/native.so",
        f"{SITE}/start.pth",
        f"{SITE}/nobody.pyc",
        f"{LIBRARY}/usercustomize.py",
        "lib/neutral/more.py",
        "bin/tool2",
    ],
)
def test_code_of_nobody_is_named(path: str, prefix: Path, scripts: dict[str, ModuleType]) -> None:
    write(prefix, path)
    with pytest.raises(scripts["verdict"].Failed, match=f"1 modules or programs belong to no package: {path}"):
        scripts["ownership"].owners({})


def test_what_programs_leave_that_is_no_code_is_nobodys_fault(prefix: Path, scripts: dict[str, ModuleType]) -> None:
    write(prefix, "etc/loaders.cache", "share/icons/index", f"{SITE}/tool/data.json")
    assert scripts["ownership"].owners({})


def remove(path: str) -> Callable[[Path], None]:
    return lambda prefix: (prefix / path).unlink()


def replace(path: str, text: str) -> Callable[[Path], None]:
    def spoil(prefix: Path) -> None:
        (prefix / path).unlink()
        write(prefix, path, text=text)

    return spoil


def link(path: str, target: str) -> Callable[[Path], None]:
    def spoil(prefix: Path) -> None:
        (prefix / path).unlink()
        (prefix / path).symlink_to(target)

    return spoil


def make_folder(path: str) -> Callable[[Path], None]:
    def spoil(prefix: Path) -> None:
        (prefix / path).unlink()
        (prefix / path).mkdir()

    return spoil


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (remove(f"{INFO}/RECORD"), "tool 1.0 has no list of its files"),
        (replace(f"{INFO}/RECORD", ""), "tool 1.0 has no list of its files"),
        (replace(f"{INFO}/RECORD", f"tool.py,{sign()},6\n"), "tool 1.0 has no list of its files"),
        (
            replace(f"{INFO}/RECORD", f"tool.py,,\nother.py,{sign()},6\ntool-1.0.dist-info/RECORD,,\n"),
            "lists 1 files without a hash: .*tool.py",
        ),
        (replace(f"{SITE}/tool.py", "y = 1\n"), "tool.py has changed"),
        (replace("bin/tool", "y = 1\n"), "bin/tool has changed"),
        (replace("lib/libz.so.1.3", "y = 1\n"), "libz.so.1.3 has changed"),
        (remove("lib/libz.so.1"), "libz.so.1 is missing"),
        (link("lib/libz.so.1.3", "/etc/passwd"), "libz.so.1.3 has changed"),
        (replace("lib/libz.so.1", TEXT), "libz.so.1 is a link no more"),
        (make_folder("lib/libz.so.1.3"), "libz.so.1.3 is a file no more"),
        (make_folder("lib/moved.txt"), "moved.txt is a file no more"),
        (remove("bin/zip"), "bin/zip is missing"),
    ],
)
def test_file_that_is_not_as_recorded_fails(
    spoil: Callable[[Path], None], words: str, prefix: Path, scripts: dict[str, ModuleType]
) -> None:
    spoil(prefix)
    with pytest.raises(scripts["verdict"].Failed, match=words):
        scripts["ownership"].files({})


def test_large_and_small_files_that_changed_are_both_named(
    prefix: Path, scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts["ownership"], "LARGE", len(TEXT))
    replace("bin/tool", "y = 1\n")(prefix)
    replace("lib/libz.so.1.3", "y = 1\n" * 9)(prefix)
    replace(f"{SITE}/tool.py", "y = 1\n" * 9)(prefix)
    said = r"^3 of 12 files are not as installed: bin/tool has .*; lib/libz\S+ has .*; lib/python\S+tool.py has "
    with pytest.raises(scripts["verdict"].Failed, match=said):
        scripts["ownership"].files({})


def test_path_that_two_packages_bring_is_as_one_of_them_has_it(prefix: Path, scripts: dict[str, ModuleType]) -> None:
    other = {"_path": "lib/libz.so.1", "path_type": "hardlink", "sha256": hashlib.sha256(b"other").hexdigest()}
    record = {"name": "compat", "version": "1", "build": "0", "files": ["lib/libz.so.1"]}
    write(prefix, "conda-meta/compat-1-0.json", text=json.dumps(record | {"paths_data": {"paths": [other]}}))
    forget(scripts)
    assert scripts["ownership"].files({})
    replace("lib/libz.so.1", "other")(prefix)
    assert scripts["ownership"].files({})


def test_distribution_that_nothing_lists_is_not_taken_for_one_without_modules(
    prefix: Path, scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(prefix / SITE)])
    assert scripts["packages"].list_modules("tool") == ["tool"]
    (prefix / INFO / "RECORD").unlink()
    with pytest.raises(scripts["verdict"].Failed, match="tool has no list of its files"):
        scripts["packages"].list_modules("tool")


def test_distribution_of_conda_is_listed_by_condas_record(
    prefix: Path, scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    (prefix / INFO / "RECORD").unlink()
    record = {"name": "tool", "version": "1.0", "build": "0", "files": [f"{SITE}/tool.py", f"{INFO}/METADATA"]}
    write(prefix, "conda-meta/tool-1.0-0.json", text=json.dumps(record))
    scripts["records"].read_packages.cache_clear()
    monkeypatch.setattr(sys, "path", [str(prefix / SITE)])
    assert scripts["packages"].list_modules("tool") == ["tool"]


def test_wheel_that_came_without_hashes_is_no_fault(prefix: Path, scripts: dict[str, ModuleType]) -> None:
    rows = f"tool.py,,\ntool-1.0.dist-info/INSTALLER,{sign()},2\ntool-1.0.dist-info/RECORD,,\n"
    replace(f"{INFO}/RECORD", rows)(prefix)
    write(prefix, f"{INFO}/INSTALLER")
    assert scripts["ownership"].files({})
