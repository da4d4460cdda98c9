from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from packaging.version import Version

from builder.definition import Definition, TorchRequest
from builder.errors import CellError
from builder.matrix import expand_cells, matrix_as_json, parse_cuda, parse_python, select_cells
from builder.project import load_project

PROJECT = Path(__file__).parents[2]
CPU = None


@pytest.fixture
def shipped() -> tuple[Definition, ...]:
    """The first two images of the family: one without torch, one with."""
    return tuple(it for it in load_project(PROJECT).definitions if it.name in {"base", "pytorch"})


@pytest.fixture
def pytorch(shipped: tuple[Definition, ...]) -> Definition:
    return next(definition for definition in shipped if definition.name == "pytorch")


def refusal(definitions: tuple[Definition, ...], **asked: str | list[str]) -> str:
    with pytest.raises(CellError) as caught:
        select_cells(definitions, **asked)
    return str(caught.value)


def test_shipped_pytorch_image_has_twelve_cells_and_excludes_none(pytorch: Definition) -> None:
    cells, excluded = expand_cells(pytorch)
    assert len(cells) == 12
    assert excluded == ()
    assert len({cell.environment for cell in cells}) == len({cell.tag for cell in cells}) == 12


def test_the_main_command_selects_one_cell(shipped: tuple[Definition, ...]) -> None:
    (cell,) = select_cells(shipped, cuda="11.8", python="3.10")
    assert cell.id == "pytorch-py3.10-cu118"
    assert cell.tag == "2.7.1-cu118-py310"
    assert cell.environment == "py310-cu118"
    assert cell.variant == "cu118"
    assert cell.build is not None
    assert (cell.build.wheel_index, cell.build.torch) == ("cu118", cell.torch)


def test_the_main_command_selects_one_cell_of_each_image_of_the_family() -> None:
    cells = select_cells(load_project(PROJECT).definitions, cuda="11.8", python="3.10")
    assert [cell.image for cell in cells] == ["jupyter", "jupyter-ssh", "pytorch", "train"]
    assert {cell.tag for cell in cells} == {"2.7.1-cu118-py310"}


def test_cell_without_torch_has_neither_version_nor_build(shipped: tuple[Definition, ...]) -> None:
    cells = select_cells(shipped, image="base", python="3.10")
    assert [(cell.id, cell.tag, cell.torch, cell.build) for cell in cells] == [
        ("base-py3.10-cpu", "cpu-py310", None, None)
    ]


def test_pairs_that_cannot_exist_are_excluded_with_their_reason(pytorch: Definition) -> None:
    wide = replace(pytorch, python=(Version("3.10"), Version("3.14")), cuda=(Version("11.8"), Version("12.7"), CPU))
    cells, excluded = expand_cells(wide)
    assert [cell.id for cell in cells] == ["pytorch-py3.10-cu118", "pytorch-py3.10-cpu", "pytorch-py3.14-cpu"]
    assert [(str(pair.python), str(pair.cuda)) for pair in excluded] == [
        ("3.10", "12.7"),
        ("3.14", "11.8"),
        ("3.14", "12.7"),
    ]
    assert excluded[0].reason == "CUDA 12.7 was never released"
    assert "2.7.1" in excluded[1].reason


def test_image_without_torch_still_cannot_have_a_cuda_that_never_was(pytorch: Definition) -> None:
    plain = replace(pytorch, torch=TorchRequest(wanted=False), cuda=(Version("12.7"), Version("12.5")))
    cells, excluded = expand_cells(plain)
    assert {str(cell.cuda) for cell in cells} == {"12.5"}
    assert {str(pair.cuda) for pair in excluded} == {"12.7"}


def test_versions_asked_for_each_cuda_are_taken(pytorch: Definition) -> None:
    request = TorchRequest(per_cuda=((Version("12.6"), Version("2.7.1")), (CPU, Version("2.9.0"))))
    cells, _ = expand_cells(replace(pytorch, torch=request))
    assert {(cell.variant, str(cell.torch)) for cell in cells} == {
        ("cu118", "2.7.1"),
        ("cu126", "2.7.1"),
        ("cu128", "2.11.0"),
        ("cpu", "2.9.0"),
    }


def test_cell_that_is_only_not_in_the_matrix_comes_with_the_line_to_write(shipped: tuple[Definition, ...]) -> None:
    text = refusal(shipped, cuda="11.8", python="3.13")
    assert "python 3.13 not in its matrix" in text
    assert 'write  python: ["3.10", "3.11", "3.12", "3.13"]  under matrix: in' in text
    assert str(Path("pytorch") / "image.yaml") in text
    assert "nearest: pytorch-py3.12-cu118, pytorch-py3.11-cu118, pytorch-py3.10-cu118" in text


def test_cell_that_cannot_exist_comes_with_the_reason_and_no_line(shipped: tuple[Definition, ...]) -> None:
    text = refusal(shipped, cuda="11.8", python="3.14")
    assert "no torch for CUDA 11.8 has Python 3.14" in text
    assert "write" not in text
    assert "nearest: pytorch-py3.12-cu118" in text


def test_both_axes_may_be_missing(pytorch: Definition) -> None:
    text = refusal((pytorch,), cuda="12.9", python="3.13")
    assert 'python: ["3.10", "3.11", "3.12", "3.13"] and cuda: ["11.8", "12.6", "12.8", "12.9", cpu]' in text


def test_definition_without_any_cell_gets_what_the_table_has(pytorch: Definition) -> None:
    empty = replace(pytorch, python=(Version("3.14"),), cuda=(Version("11.8"),))
    assert "nearest: py3.13-cu118, py3.12-cu118" in refusal((empty,), python="3.14")


def test_every_value_that_is_asked_for_needs_a_cell(shipped: tuple[Definition, ...]) -> None:
    assert len(select_cells(shipped, python=["3.10", "3.11"], cuda=["cu118", "12.6"])) == 4
    assert "CUDA 12.7 was never released" in refusal(shipped, cuda=["11.8", "12.7"])
    assert "base has no cell for CUDA 11.8" in refusal(shipped, image=["base", "pytorch"], cuda="11.8")


def test_without_a_question_every_cell_is_selected(shipped: tuple[Definition, ...]) -> None:
    assert len(select_cells(shipped)) == 15
    assert len(select_cells(shipped, cuda="cpu")) == 6


def test_nothing_to_select_from_is_told(pytorch: Definition) -> None:
    assert "there is no image" in refusal(())
    assert "has no cell for any pair: CUDA 12.7 was never" in refusal((replace(pytorch, cuda=(Version("12.7"),)),))


def test_unknown_image_names_the_nearest(shipped: tuple[Definition, ...]) -> None:
    text = refusal(shipped, image="pytroch")
    assert "there is no image 'pytroch'" in text
    assert "did you mean pytorch?" in text


@pytest.mark.parametrize("text", ["3.10", "310", "py310", "python3.10", " PY3.10 "])
def test_python_has_many_spellings(text: str) -> None:
    assert parse_python(text) == Version("3.10")


@pytest.mark.parametrize("text", ["11.8", "118", "cu118", "CU11.8", "cuda11.8"])
def test_cuda_has_many_spellings(text: str) -> None:
    assert parse_cuda(text) == Version("11.8")
    assert parse_cuda("cpu") is None


@pytest.mark.parametrize("text", ["", "3", "3.13t", "3.10.4", "2.7", "three", "3.010", "3.10\n3.11", "*"])
def test_junk_is_not_a_python(text: str) -> None:
    with pytest.raises(CellError, match=r"→ write it like 3\.10"):
        parse_python(text)


@pytest.mark.parametrize("text", ["", "11", "11.8.0", "gpu", "12.x", "rocm6.2", "-1"])
def test_junk_is_not_a_cuda(text: str) -> None:
    with pytest.raises(CellError, match=r"→ write it like 11\.8"):
        parse_cuda(text)


def test_json_is_plain_and_complete(shipped: tuple[Definition, ...], pytorch: Definition) -> None:
    wide = replace(pytorch, cuda=(Version("12.7"), CPU), python=(Version("3.10"),))
    base, _ = shipped
    assert matrix_as_json([replace(base, python=(Version("3.10"),)), wide]) == {
        "cells": [
            {"id": "base-py3.10-cpu", "image": "base", "python": "3.10", "cuda": "cpu", "torch": None},
            {"id": "pytorch-py3.10-cpu", "image": "pytorch", "python": "3.10", "cuda": "cpu", "torch": "2.14.1"},
        ],
        "excluded": [
            {"image": "pytorch", "python": "3.10", "cuda": "12.7", "reason": "CUDA 12.7 was never released"},
        ],
    }


def test_matrix_needs_neither_engine_nor_network() -> None:
    loaded = "import sys, builder.matrix, builder.definition; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout.split()
    assert not {"docker", "rattler", "requests", "urllib3", "testcontainers"} & set(modules)
