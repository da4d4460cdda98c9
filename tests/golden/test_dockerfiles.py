"""Dockerfiles and package lists as files: after a wanted change, `pytest tests/golden --update-golden` writes them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder.definition import load_bases
from builder.render import load_templates, render_context
from tests.samples import BASE, PROJECT, digest, make_environment, make_job, make_locked, make_python, make_wheel

if TYPE_CHECKING:
    from builder.inputs import Job
    from builder.lock import Environment

HERE = Path(__file__).parent
HADOLINT = Path(sys.executable).with_name("hadolint")
AWKWARD = (("GREETING", 'say "hi" for $5 \\ é'), ("OMP_NUM_THREADS", "1"))
TORCH = make_wheel("torch", "2.7.1+cu118", size=905_000_000)
NVIDIA = make_wheel(
    "nvidia-cudnn-cu12",
    "9.5.1.17",
    url="https://files.example/nvidia_cudnn_cu12-9.5.1.17-py3-none-manylinux_2_28_x86_64.whl",
    size=571_000_000,
)
PLAIN = make_job().definition.torch

CASES: dict[str, tuple[Job, Environment]] = {
    "gpu": (
        make_job(apt=("git", "libgl1"), env=AWKWARD),
        make_environment(pip=[make_wheel("sympy", "1.14.0", size=6_300_000), TORCH]),
    ),
    "gpu-other-python": (
        make_job("3.11", apt=("git", "libgl1"), env=AWKWARD),
        make_environment(conda=make_python("3.11.9"), pip=[TORCH]),
    ),
    "cpu-without-wheels": (make_job("3.10", "cpu", torch=replace(PLAIN, wanted=False)), make_environment()),
    "fast": (
        replace(make_job("3.10", "12.6"), base=replace(BASE, python="/opt/conda/bin/python", installer="rattler")),
        make_environment(pip=[NVIDIA, make_wheel("torch", "2.7.1", size=821_000_000)]),
    ),
    "micromamba": (
        replace(make_job("3.10", "cpu"), base=load_bases(PROJECT / "images" / "bases.yaml")["micromamba"]),
        make_environment(pip=[make_wheel("torch", "2.14.1+cpu", size=190_000_000)]),
    ),
}


TOGETHER = ("gpu", "gpu-other-python")
"""The cases that are cells of one matrix."""


def write_case(name: str, folder: Path) -> None:
    names = TOGETHER if name in TOGETHER else (name,)
    locked = make_locked(*(CASES[it] for it in names))[names.index(name)]
    context = render_context(locked, templates=load_templates(PROJECT), checks=f"sha256:{digest('checks')}")
    for file in context.files:
        if not file.path.startswith("host/"):  # those are scripts, the same in every context
            path = folder / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.data)


def read_files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text("utf-8") for path in sorted(folder.rglob("*")) if path.is_file()
    }


@pytest.mark.parametrize("name", CASES)
def test_context_is_the_golden_one(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-golden"):
        shutil.rmtree(HERE / name, ignore_errors=True)
        write_case(name, HERE / name)
    write_case(name, tmp_path / name)
    assert read_files(tmp_path / name) == read_files(HERE / name)


def test_every_golden_context_has_a_case() -> None:
    assert {path.name for path in HERE.iterdir() if (path / "Dockerfile").exists()} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_hadolint_finds_nothing(name: str) -> None:
    done = subprocess.run(
        [HADOLINT, "--no-color", HERE / name / "Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
        env={key: value for key, value in os.environ.items() if not key.startswith("HADOLINT")},
    )
    assert (done.stdout, done.returncode) == ("", 0), done.stderr


def test_hadolint_finds_something_where_there_is_something(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM debian\nRUN cd /tmp && sudo apt-get install git\n")
    done = subprocess.run([HADOLINT, tmp_path / "Dockerfile"], capture_output=True, text=True, check=False)
    assert "DL3006" in done.stdout
    assert done.returncode != 0
