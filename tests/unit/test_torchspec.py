from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from packaging.version import Version

from builder.compat import Source, TorchBuild, find_builds
from builder.errors import SolveError
from builder.torchspec import request_torch, verify_torch
from tests.samples import make_conda, make_environment, make_wheel

if TYPE_CHECKING:
    from builder.lock import Environment


def pick(torch: str, cuda: str | None, source: Source, python: str = "3.10") -> TorchBuild:
    version = Version(cuda) if cuda else None
    return find_builds(python=Version(python), cuda=version, torch=Version(torch), sources=[source])[0]


def conda_torch(version: str, build: str) -> Environment:
    return make_environment(conda=[make_conda("pytorch", version, build)])


def wheel_torch(version: str, *requires: str) -> Environment:
    return make_environment(conda=(), pip=[make_wheel("torch", version, requires=requires)])


CU118 = pick("2.5.1", "11.8", Source.PYTORCH)
CU126 = pick("2.7.1", "12.6", Source.CONDA_FORGE)
WHEEL = pick("2.7.1", "11.8", Source.WHEELS)
PYPI = pick("2.7.1", "12.6", Source.PYPI)
CPU = pick("2.7.1", None, Source.WHEELS)

RIGHT = [
    (CU118, conda_torch("2.5.1", "py3.10_cuda11.8_cudnn9.1.0_0")),
    (replace(CU118, cuda=None), conda_torch("2.5.1", "py3.10_cpu_0")),
    (CU126, conda_torch("2.7.1", "cuda126_mkl_py310_h7f0d7bc_300")),
    (WHEEL, wheel_torch("2.7.1+cu118")),
    (PYPI, wheel_torch("2.7.1", "nvidia-cudnn-cu12", "sympy")),
    (CPU, wheel_torch("2.7.1+cpu")),
]


@pytest.mark.parametrize(("build", "environment"), RIGHT)
def test_the_build_that_was_asked_for_is_accepted(build: TorchBuild, environment: Environment) -> None:
    verify_torch(environment, build)


@pytest.mark.parametrize(
    ("build", "environment", "says"),
    [
        (CU118, conda_torch("2.5.1", "py3.10_cpu_0"), "2.5.1 built for the CPU"),
        (CU118, conda_torch("2.5.1", "py3.10_cuda12.1_cudnn9.1.0_0"), "built for CUDA 121"),
        (CU118, conda_torch("2.4.1", "py3.10_cuda11.8_cudnn9.1.0_0"), "torch 2.4.1"),
        (CU126, conda_torch("2.7.1", "cpu_mkl_py310_h1_100"), "built for the CPU"),
        (CU126, conda_torch("2.7.1", "cuda118_py310_h1_300"), "built for CUDA 118"),
        (WHEEL, wheel_torch("2.7.1+cpu"), "built for the CPU"),
        (WHEEL, wheel_torch("2.7.1+cu126"), "built for CUDA 126"),
        (WHEEL, wheel_torch("2.7.1", "nvidia-cudnn-cu12"), "built for CUDA 126"),
        (PYPI, wheel_torch("2.7.1", "sympy"), "built for the CPU"),
        (CPU, wheel_torch("2.7.1", "nvidia-cudnn-cu12"), "built for CUDA 126"),
        (CPU, wheel_torch("2.7.1+cu118"), "built for CUDA 118"),
        (CPU, make_environment(conda=[make_conda("pytorch-mutex")]), "no torch at all"),
    ],
)
def test_every_other_torch_is_refused(build: TorchBuild, environment: Environment, says: str) -> None:
    with pytest.raises(SolveError, match=says) as caught:
        verify_torch(environment, build)
    assert caught.value.exit_code == 6


def test_pytorch_channel_is_asked_for_the_cuda_build_with_an_older_mkl() -> None:
    spec = request_torch(CU118)
    assert spec.conda == ("pytorch 2.5.1 *_cuda11.8_*",)
    assert spec.channels == ("pytorch", "nvidia")
    assert "mkl <2024.1" in spec.constraints


def test_conda_forge_is_asked_for_the_cuda_build_and_its_cuda_version() -> None:
    assert request_torch(CU126).conda == ("pytorch 2.7.1 cuda126*", "cuda-version 12.6.*")
    assert request_torch(pick("2.7.1", None, Source.CONDA_FORGE)).conda == ("pytorch 2.7.1 cpu*",)


def test_wheels_come_from_the_folder_of_their_cuda_with_their_family() -> None:
    spec = request_torch(WHEEL)
    assert spec.pip == ("torch==2.7.1+cu118",)
    assert spec.index == "https://download.pytorch.org/whl/cu118"
    assert spec.pip_constraints == ("torchvision==0.22.1+cu118", "torchaudio==2.7.1+cu118")


def test_default_wheel_comes_from_the_default_index() -> None:
    spec = request_torch(PYPI)
    assert (spec.pip, spec.index, spec.conda) == (("torch==2.7.1",), None, ())


@pytest.mark.parametrize("source", [Source.PYTORCH, Source.WHEELS, Source.CONDA_FORGE])
def test_torch_of_before_numpy_2_keeps_numpy_1(source: Source) -> None:
    assert "numpy <2" in request_torch(pick("2.1.2", "11.8", source)).constraints
    assert "numpy <2" not in request_torch(pick("2.5.1", "11.8", source)).constraints
