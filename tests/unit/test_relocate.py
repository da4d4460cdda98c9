"""An environment of an image, packed as in its container, unpacked elsewhere. In a real image: tests/docker."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.bundle.relocating import read_library
from tests.unit.host_scripts import load_script

SCRIPT = Path(__file__).parents[2] / "builder" / "bundle" / "scripts" / "relocate.py"
PLACEHOLDER = "/" + "placeholder_" * 20


def install(data: bytes, placeholder: bytes, prefix: bytes) -> bytes:
    """Return a binary as conda installs it: string by string, each as long as before."""
    strings = []
    for string in data.split(b"\0"):
        shorter = string.replace(placeholder, prefix)
        strings.append(shorter + bytes(len(string) - len(shorter)))
    return b"\0".join(strings)


TEXTS = st.lists(st.sampled_from([b"a", b"-L", b"/lib", b":", PLACEHOLDER.encode()]), max_size=5).map(b"".join)


@given(st.lists(TEXTS, max_size=6))
def test_placeholder_comes_back_wherever_the_prefix_was_put(strings: list[bytes]) -> None:
    data = b"\x7fELF\0" + b"\0".join(strings) + b"\0"
    installed = install(data, PLACEHOLDER.encode(), b"/opt/env")
    assert load_script(SCRIPT).restore(installed, b"/opt/env", PLACEHOLDER.encode()) == data


@given(st.binary(max_size=300), st.integers(0, 300))
def test_binary_keeps_its_length_whatever_it_is(data: bytes, zeros: int) -> None:
    data = data + b"/opt/env" + bytes(zeros) + data
    assert len(load_script(SCRIPT).restore(data, b"/opt/env", PLACEHOLDER.encode())) == len(data)


def test_prefix_that_never_was_a_placeholder_stays() -> None:
    data = b"\x7fELF\0/opt/env/bin/sh\0\0\0other\0"
    assert load_script(SCRIPT).restore(data, b"/opt/env", PLACEHOLDER.encode()) == data


@pytest.fixture
def moved(tmp_path: Path) -> Path:
    """An environment of one conda package and what pip added, packed and unpacked under a far longer path."""
    prefix = tmp_path / "env"
    library = f"\x7fELF\0{PLACEHOLDER}/ssl:{PLACEHOLDER}/etc\0end\0".encode()
    files: dict[str, bytes] = {
        "lib/library.so": install(library, PLACEHOLDER.encode(), str(prefix).encode()),
        "etc/settings": f"root={prefix}\n".encode(),
        "lib/neutral/nvidia/lib.so": b"\x7fELF\0data\0",
        "lib/python3.11/site-packages/piece.py": b"name = 'piece'\n",
        "bin/tool": f"#!{prefix}/bin/python3.11\nprint('tool')\n".encode(),
    }
    for name, data in files.items():
        (prefix / name).parent.mkdir(parents=True, exist_ok=True)
        (prefix / name).write_bytes(data)
    (prefix / "bin" / "tool").chmod(0o755)
    (prefix / "lib/python3.11/site-packages/nvidia").symlink_to("../../neutral/nvidia")
    paths: list[dict[str, Any]] = [
        {"_path": "lib/library.so", "file_mode": "binary", "prefix_placeholder": PLACEHOLDER},
        {"_path": "etc/settings", "file_mode": "text", "prefix_placeholder": PLACEHOLDER},
    ]
    record = {
        "name": "package", "version": "1", "url": "https://conda.example.org/package", "link": {"source": "/gone"},
        "files": [path["_path"] for path in paths], "paths_data": {"paths": paths},
    }  # fmt: skip
    (prefix / "conda-meta").mkdir()
    (prefix / "conda-meta" / "package-1-0.json").write_text(json.dumps(record))

    tools = tmp_path / "tools"
    for name, data in read_library().items():
        path = tools / "library" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    shutil.copy(SCRIPT, tools)
    archive = tmp_path / "env.tar.gz"
    subprocess.run([sys.executable, "-E", "-s", "-B", tools / "relocate.py", prefix, archive], check=True)
    shutil.rmtree(prefix)
    there = tmp_path / "a" / "far" / "longer" / "path" / "than" / "before"
    with tarfile.open(archive) as tar:
        tar.extractall(there, filter="tar")
    subprocess.run([sys.executable, there / "bin" / "conda-unpack"], check=True)
    return there


def test_environment_knows_its_new_place(moved: Path) -> None:
    assert (moved / "etc" / "settings").read_text() == f"root={moved}\n"
    binary = (moved / "lib" / "library.so").read_bytes()
    assert f"\0{moved}/ssl:{moved}/etc\0".encode() in binary
    assert b"placeholder" not in binary
    assert binary.endswith(b"\0end\0")
    assert (moved / "bin" / "tool").read_text().startswith("#!/usr/bin/env python3.11\n")
    assert (moved / "bin" / "tool").stat().st_mode & 0o111


def test_links_to_libraries_for_any_python_still_lead_there(moved: Path) -> None:
    link = moved / "lib/python3.11/site-packages/nvidia"
    assert link.is_symlink()
    assert link.resolve() == (moved / "lib/neutral/nvidia").resolve()
    assert (link / "lib.so").read_bytes() == b"\x7fELF\0data\0"


def test_only_what_names_the_prefix_is_gone_through_when_unpacking(moved: Path) -> None:
    assert "piece.py" not in (moved / "bin" / "conda-unpack").read_text()


def test_nothing_but_conda_packs_own_code_goes_into_the_container() -> None:
    names = read_library()
    assert "conda_pack/core.py" in names
    assert all(name.startswith("conda_pack") and "tests" not in name for name in names)
