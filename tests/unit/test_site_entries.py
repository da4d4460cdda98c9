"""The file that holds what was published: what it may say, and how a mistake in it is told."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packaging.version import Version

from builder.errors import ImgbuildError
from builder.site.entries import read_entries
from tests.catalogue import make_cpu_node, make_node, write_catalogue

GUIDE = Path(__file__).parents[2] / "docs" / "site.md"
PACKAGE = {"name": "numpy", "version": "1", "kind": "pip"}


def read_fault(path: Path, *nodes: dict[str, Any]) -> str:
    with pytest.raises(ImgbuildError) as caught:
        read_entries(write_catalogue(path, *nodes))
    assert caught.value.path == path
    return caught.value.message


def test_entries_are_values(tmp_path: Path) -> None:
    gpu, cpu = read_entries(write_catalogue(tmp_path / "e.json", make_node(), make_cpu_node(python="3.12")))
    assert (gpu.python, gpu.cuda, gpu.torch) == (Version("3.10"), Version("11.8"), Version("2.7.1"))
    assert gpu.min_driver == Version("450.80.02")
    assert gpu.created is not None
    assert gpu.created.isoformat() == "2026-08-13T09:30:00+00:00"
    assert [package.name for package in gpu.packages] == ["numpy", "python", "torch"]
    assert (cpu.cuda, cpu.min_driver, cpu.arches) == (None, None, ())


def test_driver_that_is_not_given_is_that_of_the_table(tmp_path: Path) -> None:
    node = make_node(cuda="12.6")
    del node["min_driver"]
    (entry,) = read_entries(write_catalogue(tmp_path / "e.json", node))
    assert entry.min_driver == Version("525.60.13")


def test_build_of_torch_is_left_to_its_cuda(tmp_path: Path) -> None:
    (entry,) = read_entries(write_catalogue(tmp_path / "e.json", make_node(torch="2.7.1+cu118")))
    assert str(entry.torch) == "2.7.1"


def test_what_nobody_knows_may_be_left_out(tmp_path: Path) -> None:
    node = make_node()
    for key in ("torch", "arches", "unpacked", "created", "revision", "packages", "verdicts", "previous"):
        del node[key]
    (entry,) = read_entries(write_catalogue(tmp_path / "e.json", node))
    assert (entry.torch, entry.unpacked, entry.created, entry.revision, entry.previous) == (None,) * 5
    assert (entry.arches, entry.packages, entry.verdicts) == ((), (), ())


def test_file_in_the_guide_is_read(tmp_path: Path) -> None:
    shown = re.search(r"```json\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert shown
    path = tmp_path / "e.json"
    path.write_text(shown[1], encoding="utf-8")
    assert len(read_entries(path)) == 1
    (node,) = json.loads(shown[1])["entries"]
    assert node.keys() == make_node().keys()


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"digset": "x"}, "entries[0]: unknown key 'digset'; did you mean digest?"),
        ({"ref": None}, "entries[0].ref: is missing"),
        ({"ref": "pytorch"}, "entries[0].ref: should be like registry.example/team/pytorch:2.7.1-cu118-py310"),
        ({"ref": "r.example/a:1; rm -rf ~"}, "entries[0].ref: should be like"),
        ({"ref": "r.example/a:1\n"}, "entries[0].ref: should be one line"),
        ({"digest": "sha256:abc"}, "entries[0].digest: should be like sha256:"),
        ({"python": 3.1}, "entries[0].python: a text should stand here"),
        ({"python": "3.10.2"}, "entries[0].python: should be like 3.11, and is '3.10.2'"),
        ({"cuda": "cu118"}, "entries[0].cuda: should be like 12.6, or cpu, and is 'cu118'"),
        ({"cuda": "cpu"}, "entries[0]: an image for the CPU has neither min_driver nor arches"),
        ({"torch": "newest"}, "entries[0].torch: should be a version like 2.7.1, and is 'newest'"),
        ({"min_driver": "525"}, "entries[0].min_driver: should be like 525.60.13"),
        ({"arches": "sm_80"}, "entries[0].arches: a list should stand here"),
        ({"arches": ["sm_80", "8.0"]}, "entries[0].arches[1]: should be like sm_90 or compute_120"),
        ({"compressed": -1}, "entries[0].compressed: should be a whole number, not negative"),
        ({"compressed": True}, "entries[0].compressed: should be a whole number, not negative"),
        ({"compressed": 1e9}, "entries[0].compressed: should be a whole number, not negative"),
        ({"compressed": None}, "entries[0].compressed: is missing"),
        ({"created": "yesterday"}, "entries[0].created: should be a time with its zone"),
        ({"created": "2026-08-13T09:30:00"}, "entries[0].created: should be a time with its zone"),
        ({"image": " "}, "entries[0].image: should be one line of 1 to 500 printable characters"),
        ({"image": "a\u202eb"}, "entries[0].image: should be one line of 1 to 500 printable characters"),
        ({"image": "\ud800"}, "entries[0].image: should be one line of 1 to 500 printable characters"),
        ({"packages": [{**PACKAGE, "kind": "apt"}]}, "entries[0].packages[0].kind: should be like conda or pip"),
        ({"packages": [PACKAGE, PACKAGE]}, "entries[0].packages[1].name: is that of entries[0].packages[0] too"),
        ({"packages": ["numpy"]}, "entries[0].packages[0]: an object should stand here"),
        ({"verdicts": [{"check": "a", "verdict": "ok"}]}, "entries[0].verdicts[0].verdict: should be like pass"),
        ({"previous": {"packages": []}}, "entries[0].previous.digest: is missing"),
    ],
)
def test_mistake_is_told_with_its_place(tmp_path: Path, more: dict[str, Any], fault: str) -> None:
    assert read_fault(tmp_path / "e.json", make_node(**more)).startswith(fault)


def test_two_entries_of_one_ref_are_refused(tmp_path: Path) -> None:
    assert read_fault(tmp_path / "e.json", make_node(), make_node()) == "entries[1].ref: is that of entries[0] too"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"", "e.json:1: no JSON"),
        (b'{"version": 1,\n]', "e.json:2: no JSON"),
        (b"[]", "an object should stand here"),
        (b'{"entries": []}', "version: is missing"),
        (b'{"version": 2, "entries": []}', "version: 2; this imgbuild reads 1"),
        (b'{"version": 1, "version": 1}', "the key 'version' is given twice in one object"),
        (b'{"version": 1, "entries": [3]}', "entries[0]: an object should stand here"),
        (b"\xff\xfe\xff", "no JSON in UTF-8 that can be read"),
        (b"[" * 100_000, "no JSON in UTF-8 that can be read"),
        (b"9" * 5000, "no JSON in UTF-8 that can be read"),
    ],
)
def test_file_that_is_none_is_refused(tmp_path: Path, text: bytes, fault: str) -> None:
    path = tmp_path / "e.json"
    path.write_bytes(text)
    with pytest.raises(ImgbuildError) as caught:
        read_entries(path)
    assert fault in str(caught.value)


def test_colours_of_a_terminal_do_not_reach_a_page(tmp_path: Path) -> None:
    verdict = {"check": "gpu", "verdict": "fail", "detail": "Traceback:\n\t\x1b[31mno\x00"}
    (entry,) = read_entries(write_catalogue(tmp_path / "e.json", make_node(verdicts=[verdict])))
    assert entry.verdicts[0].detail == "Traceback:\n\t\N{REPLACEMENT CHARACTER}[31mno\N{REPLACEMENT CHARACTER}"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*make_node(), "name", "kind"]), inner)
    ),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(list(make_node())), value=_JSON)
def test_any_value_anywhere_is_read_or_told(tmp_path: Path, key: str, value: Any) -> None:
    path = tmp_path / "e.json"
    try:
        read_entries(write_catalogue(path, make_node(**{key: value})))
    except ImgbuildError as error:
        told = error.message
    else:
        return
    assert told.startswith("entries[0]")
    assert "\n" not in told
