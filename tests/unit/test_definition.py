from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version

from builder.compat import ALL_SOURCES, Source
from builder.definition import find_base, find_definitions, load_bases, load_definition
from builder.definition_values import BadValueError, read_arch, read_cuda, read_python, read_torch
from builder.errors import DefinitionError, ImgbuildError

if TYPE_CHECKING:
    from collections.abc import Callable

    from builder.definition_yaml import Value

IMAGES = Path(__file__).parents[2] / "images"
MALFORMED = sorted((Path(__file__).parent / "malformed").glob("*.yaml"))
MINIMAL = 'name: {name}\nbase: miniforge\nmatrix: {{python: ["3.11"], cuda: [cpu]}}\n'


def write_image(images: Path, name: str, text: str) -> Path:
    path = images / name / "image.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def minimal(name: str = "demo", more: str = "") -> str:
    return MINIMAL.format(name=name) + more


def refusal(path: Path) -> DefinitionError:
    with pytest.raises(DefinitionError) as caught:
        load_definition(path)
    return caught.value


@pytest.mark.parametrize("fixture", MALFORMED, ids=lambda path: path.stem)
def test_malformed_definition_is_refused_with_line_and_hint(fixture: Path, tmp_path: Path) -> None:
    raw = fixture.read_bytes()
    line, says = re.match(r"# line: (\d+)\n# says: (.*)\n", raw.decode("utf-8", "replace")).groups()  # type: ignore[union-attr]
    path = tmp_path / "demo" / "image.yaml"
    path.parent.mkdir()
    path.write_bytes(raw)

    text = str(refusal(path))

    assert text.startswith(f"{path}:{line}: ")
    assert re.search(says, text, re.S)
    assert "\n  → " in text
    assert "hunter2" not in text
    assert text.count("\n") < 24
    assert text.isprintable() or set(filter(lambda character: not character.isprintable(), text)) == {"\n"}


def test_there_are_enough_malformed_definitions() -> None:
    assert len(MALFORMED) >= 40


def test_several_faults_are_told_in_the_order_of_their_lines(tmp_path: Path) -> None:
    fault = 'name: demo\nbase: miniforge\nfoo: 1\nmatrix:\n  cuda: ["11,8"]\n  python: [3.10]\n'
    path = write_image(tmp_path, "demo", fault)
    lines = str(refusal(path)).splitlines()
    places = [line.split(": ")[0] for line in lines if line.startswith(str(path))]
    assert places == [f"{path}:3", f"{path}:5", f"{path}:6"]
    assert len(lines) == 6


def test_every_part_of_a_list_or_mapping_has_its_faults_told(tmp_path: Path) -> None:
    env = 'env: {"2B": x, GOOD: x, API_KEY: x, C: [x]}\n'
    fault = f'name:\nbase: miniforge\nmatrix:\n  python: ["3.11", "3.x"]\n  torch: {{cu118: auto}}\n{env}'
    path = write_image(tmp_path, "demo", fault)
    told = [line.removeprefix(f"{path}:") for line in str(refusal(path)).splitlines() if line.startswith(str(path))]
    assert told == [
        "1: name: has no value",
        '4: matrix.python: "3.x" is a range',
        '5: matrix.torch: "cu118" is not a CUDA version',
        '6: env: "2B" cannot name a variable',
        "6: env: API_KEY looks like a secret",
        "6: env.C: is not one line of text",
    ]


def test_a_file_full_of_faults_still_fits_on_a_screen(tmp_path: Path) -> None:
    faults = "".join(f"key{number}: 1\n" for number in range(50))
    text = str(refusal(write_image(tmp_path, "demo", minimal(more=faults))))
    assert "and 44 more" in text
    assert text.count("\n") < 24


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\xff\xfe"])
def test_byte_order_mark_is_refused(tmp_path: Path, mark: bytes) -> None:
    path = write_image(tmp_path, "demo", "")
    path.write_bytes(mark + minimal().encode())
    error = refusal(path)
    assert "byte order mark" in error.message
    assert error.line == 1


def test_zero_bytes_hold_nothing(tmp_path: Path) -> None:
    assert "holds nothing" in refusal(write_image(tmp_path, "demo", "")).message


def test_huge_file_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    path = write_image(tmp_path, "demo", minimal(more="#" * 70_000))
    assert "larger than 64 KiB" in refusal(path).message


def test_thirty_thousand_open_brackets_do_not_crash_the_process(tmp_path: Path) -> None:
    path = write_image(tmp_path, "demo", "a: " + "[" * 30_000)
    assert "nested too deep" in refusal(path).message


def test_directory_missing_file_and_pipe_are_refused(tmp_path: Path) -> None:
    assert "is a directory" in refusal(tmp_path).message
    assert "no such file" in refusal(tmp_path / "image.yaml").message
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refusal(tmp_path / "pipe").message


def test_definition_holds_what_is_written(tmp_path: Path) -> None:
    path = write_image(
        tmp_path,
        "demo",
        """\
name: demo
base: kit
channels: ["https://conda.example.org/kit", defaults]
accept-anaconda-terms: true
torch-source: [conda-forge, wheels]
arches: [sm_80, sm_90a]
matrix:
  python: ["3.11", "3.13"]
  cuda: [cpu, "12.6"]
  torch: {cpu: "2.9.0", "12.6": auto}
conda: [numpy, "scipy>=1.11,<2", "pandas 2.*", conda-forge::pyyaml=6.0=py311*]
pip: ["tqdm>=4.66", "foo[bar]==1; python_version < '3.12'", "foo==2; python_version >= '3.12'"]
apt: [git, "libssl3:amd64", "curl=7.88.1-10+deb12u8"]
env: {TOKENIZERS_PARALLELISM: false, VERSION: 3.10, EMPTY: ""}
""",
    )
    definition = load_definition(path)
    assert definition.path == path
    assert definition.python == (Version("3.11"), Version("3.13"))
    assert definition.cuda == (None, Version("12.6"))
    assert definition.torch.version_for(None) == Version("2.9.0")
    assert definition.torch.version_for(Version("12.6")) is None
    assert definition.torch_source == (Source.CONDA_FORGE, Source.WHEELS)
    assert definition.gpu_arches == ("sm_80", "sm_90a")
    assert definition.accept_anaconda_terms
    assert definition.channels == ("https://conda.example.org/kit", "defaults")
    assert definition.conda[1:3] == ("scipy>=1.11,<2", "pandas 2.*")
    assert len(definition.pip) == 3
    assert definition.apt[2] == "curl=7.88.1-10+deb12u8"
    assert definition.env == (("EMPTY", ""), ("TOKENIZERS_PARALLELISM", "false"), ("VERSION", "3.10"))


def test_defaults_are_conda_forge_and_the_newest_torch_from_anywhere(tmp_path: Path) -> None:
    definition = load_definition(write_image(tmp_path, "demo", minimal()))
    assert definition.channels == ("conda-forge",)
    assert not definition.accept_anaconda_terms
    assert definition.torch.wanted
    assert definition.torch.version_for(None) is None
    assert definition.torch_source == ALL_SOURCES
    assert definition.extends is None


def test_child_adds_to_its_parents_lists_and_replaces_the_same_package(tmp_path: Path) -> None:
    parent = "conda: [numpy, scipy]\npip: [tqdm]\napt: [git]\nenv: {A: '1', B: '1'}\nchannels: [kit]\n"
    write_image(tmp_path, "parent", minimal("parent", parent))
    child = "name: child\nextends: parent\nconda: ['numpy<2', pandas]\npip: [Tqdm>=4.66]\nenv: {B: '2'}\n"
    definition = load_definition(write_image(tmp_path, "child", child + "matrix: {cuda: ['12.6']}\n"))
    assert definition.name == "child"
    assert definition.extends == "parent"
    assert definition.base == "miniforge"
    assert definition.channels == ("kit",)
    assert definition.python == (Version("3.11"),)
    assert definition.cuda == (Version("12.6"),)
    assert definition.conda == ("numpy<2", "scipy", "pandas")
    assert definition.pip == ("Tqdm>=4.66",)
    assert definition.apt == ("git",)
    assert definition.env == (("A", "1"), ("B", "2"))


def test_circle_names_every_file_of_it(tmp_path: Path) -> None:
    first = write_image(tmp_path, "first", "name: first\nextends: second\n")
    second = write_image(tmp_path, "second", "name: second\nextends: first\n")
    error = refusal(first)
    assert error.path == second
    assert f"{first} → {second} → {first}" in error.message


def test_unknown_parent_names_both_files_and_the_nearest_image(tmp_path: Path) -> None:
    write_image(tmp_path, "base", minimal("base"))
    child = write_image(tmp_path, "child", "name: child\nextends: bsae\n")
    error = refusal(child)
    assert (error.path, error.line) == (child, 2)
    assert str(tmp_path / "bsae" / "image.yaml") in error.message
    assert error.hint == "did you mean base?"


def test_parents_fault_is_told_with_the_parents_file(tmp_path: Path) -> None:
    parent = write_image(tmp_path, "parent", minimal("parent", "foo: 1\n"))
    child = write_image(tmp_path, "child", "name: child\nextends: parent\n")
    assert refusal(child).path == parent


def test_inherited_anaconda_channel_needs_no_second_consent(tmp_path: Path) -> None:
    parent = "channels: [defaults]\naccept-anaconda-terms: true\n"
    write_image(tmp_path, "parent", minimal("parent", parent))
    child = load_definition(write_image(tmp_path, "child", "name: child\nextends: parent\n"))
    assert child.accept_anaconda_terms
    withdrawn = write_image(tmp_path, "other", "name: other\nextends: parent\naccept-anaconda-terms: false\n")
    assert refusal(withdrawn).line == 3


KEYS = ["name", "base", "extends", "matrix", "channels", "torch-source", "arches", "conda", "pip", "apt", "env"]
AXES = ["python", "cuda", "torch"]
MARKS = ["~", "-", ":", "[", "]", "{", "}", "\n", "\n  ", "\n- ", "\t", "&a", "*a", "!!x", "\x85", "'", '"', "#"]
VALUES = ["demo", "auto", "none", "cpu", '"3.11"', "3.10", '"12.6"', "numpy>=1", "tqdm @ https://a:b@c"]
WORDS = st.lists(st.sampled_from(KEYS + AXES + MARKS + VALUES)).map(" ".join)


def told_well(path: Path) -> bool:
    """Return whether the file is a definition, or is refused with a line and a hint; anything else raises."""
    try:
        load_definition(path)
    except DefinitionError as error:
        return bool(error.hint) and error.line is not None
    return True


@settings(max_examples=300)
@given(st.one_of(st.text(), WORDS, WORDS.map(lambda more: minimal(more=more))))
def test_any_text_is_a_definition_or_a_told_error(text: str) -> None:
    with TemporaryDirectory() as folder:
        assert told_well(write_image(Path(folder), "demo", text.encode("utf-8", "replace").decode()))


YAML_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300)
@given(st.sampled_from([*KEYS, "accept-anaconda-terms"]), st.sampled_from([None, *AXES]), YAML_VALUES)
def test_any_value_of_any_key_is_taken_or_refused_with_its_line(key: str, axis: str | None, value: object) -> None:
    matrix: dict[str, object] = {"python": ["3.11"], "cuda": ["cpu"]}
    fields: dict[str, object] = {"name": "demo", "base": "kit", "matrix": matrix}
    (fields if axis is None else matrix)[axis or key] = value
    with TemporaryDirectory() as folder:
        assert told_well(write_image(Path(folder), "demo", yaml.safe_dump(fields, sort_keys=False)))


def test_no_definition_at_all_says_where_one_belongs(tmp_path: Path) -> None:
    with pytest.raises(ImgbuildError, match="no image definition"):
        find_definitions(tmp_path)


def test_shipped_definitions_stand_on_shipped_bases() -> None:
    bases = load_bases(IMAGES / "bases.yaml")
    definitions = [load_definition(path) for path in find_definitions(IMAGES)]
    assert [definition.name for definition in definitions] == ["base", "jupyter", "jupyter-ssh", "pytorch", "train"]
    assert set(bases) == {"miniconda", "miniforge", "micromamba", "kit"}
    for definition in definitions:
        assert find_base(definition, bases).key == definition.base
    for base in bases.values():
        assert base.glibc >= Version("2.28")  # torch wheels since 2.7 are manylinux_2_28
        assert base.install.format(prefix="/opt/env", file="list.txt").startswith("install ")
        assert base.install.format(prefix="/opt/env", file="list.txt").startswith("install ")


def test_shipped_definitions_are_read_without_what_takes_long_to_import() -> None:
    code = (
        "import pathlib, sys; from builder.project import load_project;"
        "assert load_project(pathlib.Path(sys.argv[1]).parent).definitions;"
        "print(*sorted({'difflib', 'email', 'importlib.metadata', 'packaging.requirements'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, IMAGES], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_unknown_base_names_the_nearest(tmp_path: Path) -> None:
    text = minimal().replace("miniforge", "minforge")
    definition = load_definition(write_image(tmp_path, "demo", text))
    with pytest.raises(DefinitionError, match="did you mean miniforge"):
        find_base(definition, load_bases(IMAGES / "bases.yaml"))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("pkgs_dir: ", "cache_dir: ", "mine: unknown key"),
        ("  ref: kit\n", "", "mine.ref: is missing"),
        ('glibc: "2.36"', "glibc: 2.36", "mine.glibc: 2.36 without quotes"),
        ('glibc: "2.36"', "glibc: new", 'mine.glibc: "new" is not a version'),
        ("digest: null", "digest: sha256:beef", 'mine.digest: "sha256:beef" is not a digest'),
        (" --file {file}", "", "mine.install: lacks {file}"),
        ("ref: kit", "ref:", "mine.ref: has no value"),
        ("python: ", "installer: ratler\n  python: ", 'mine.installer: "ratler" is not an installer'),
        ("python: /opt/conda/bin/python", "installer: rattler", "mine.installer: rattler needs a Python"),
    ],
)
def test_malformed_base_is_refused(tmp_path: Path, old: str, new: str, says: str) -> None:
    good = """\
mine:
  ref: kit
  digest: null
  conda: conda
  install: install --prefix {prefix} --file {file}
  clean: clean --all
  pkgs_dir: /opt/conda/pkgs
  python: /opt/conda/bin/python
  glibc: "2.36"
"""
    path = tmp_path / "bases.yaml"
    path.write_text(good)
    assert load_bases(path)["mine"].digest is None
    path.write_text(good.replace(old, new, 1))
    with pytest.raises(DefinitionError) as caught:
        load_bases(path)
    assert says in str(caught.value)
    assert caught.value.line is not None
    assert caught.value.hint


def test_aliases_are_the_images_own(tmp_path: Path) -> None:
    write_image(tmp_path, "demo", minimal(more="aliases: {latest: cpu-py311, 2026-11: cpu-py311}\n"))
    child = write_image(tmp_path, "child", "name: child\nextends: demo\n")
    parent = load_definition(tmp_path / "demo" / "image.yaml")
    assert parent.aliases == (("2026-11", "cpu-py311"), ("latest", "cpu-py311"))
    assert load_definition(child).aliases == ()


@pytest.mark.parametrize(
    ("read", "text", "hint"),
    [
        (read_cuda, "12.06", 'write major.minor such as "11.8", or cpu'),
        (read_cuda, "12.6.3", 'write "12.6"'),
        (read_cuda, "cu12.10", 'write "12.10"'),
        (read_cuda, "12", 'write major.minor such as "11.8", or cpu'),
        (read_cuda, "1\u0662.6", 'write major.minor such as "11.8", or cpu'),
        (read_python, "3.1\u0661", 'write one such as "3.10"'),
        (read_python, f"3.{'9' * 5000}", 'write one such as "3.10"'),
        (read_torch, "2.7.\u0661", 'write all three numbers, such as "2.7.1", or auto'),
        (read_torch, f"2.7.{'9' * 5000}", 'write all three numbers, such as "2.7.1", or auto'),
        (read_arch, "sm_\uff190", "write one such as sm_80"),
    ],
)
def test_hint_for_a_number_that_is_none(read: Callable[[Value], object], text: str, hint: str) -> None:
    with pytest.raises(BadValueError) as caught:
        read(text)
    assert caught.value.hint == hint
