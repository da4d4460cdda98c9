"""How a cell's torch is asked for, in the words of the solver that will find it, and the proof that it was found."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.version import Version

from builder.channels import TORCH_WHEELS
from builder.compat import Source, TorchBuild, name_cuda
from builder.errors import SolveError

if TYPE_CHECKING:
    from builder.lock import Environment

_NUMPY_2 = Version("2.3.0")
"""First torch that was built against numpy 2 (pytorch/builder release/2.3, conda/pytorch-nightly/meta.yaml)."""

_CUDA_WHEELS = ("nvidia-", "cuda-")
_CONDA_CUDA = re.compile(r"cuda_?(\d+)\.?(\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchSpec:
    """What to ask for: conda specs, channels to put first, constraints of conda, wheels, and their index folder."""

    conda: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()
    pip_constraints: tuple[str, ...] = ()
    index: str | None = None


def request_torch(build: TorchBuild) -> TorchSpec:
    """Return how to ask for a build of the compatibility table so that no solver can pick another."""
    constraints = ("numpy <2",) if build.torch < _NUMPY_2 else ()
    cuda = build.cuda
    match build.source:
        case Source.PYPI:
            return TorchSpec(constraints=constraints, pip=(f"torch=={build.torch}",))
        case Source.WHEELS:
            variant = build.wheel_index
            return TorchSpec(
                constraints=constraints,
                pip=(f"torch=={build.torch}+{variant}",),
                pip_constraints=(
                    f"torchvision=={build.torchvision}+{variant}",
                    f"torchaudio=={build.torchaudio}+{variant}",
                ),
                index=f"{TORCH_WHEELS}/{variant}",
            )
        case Source.CONDA_FORGE:
            # Without a pin of cuda-version the solver may take a build for an older CUDA of the same family.
            pin = (f"cuda-version {cuda}.*",) if cuda else ()
            variant = f"cuda{cuda.major}{cuda.minor}" if cuda else "cpu"
            return TorchSpec(conda=(f"pytorch {build.torch} {variant}*", *pin), constraints=constraints)
        case Source.PYTORCH:
            # MKL 2024.1 removed a symbol that these builds use: https://github.com/pytorch/pytorch/issues/123097
            return TorchSpec(
                conda=(f"pytorch {build.torch} *_{f'cuda{cuda}' if cuda else 'cpu'}_*",),
                channels=("pytorch", "nvidia") if cuda else ("pytorch",),
                constraints=(*constraints, "mkl <2024.1"),
            )


def verify_torch(environment: Environment, build: TorchBuild) -> None:
    """Raise SolveError unless the environment holds the torch of that version, built for that CUDA or for the CPU."""
    found = _found_torch(environment)
    wanted = f"torch {build.torch} for {name_cuda(build.cuda)}"
    if found is None:
        raise SolveError(f"{environment.name}: asked for {wanted}, and the solution has no torch at all")
    version, cuda = found
    if Version(version).public != str(build.torch) or cuda != _digits(build):
        what = f"torch {version} built for {f'CUDA {cuda}' if cuda else 'the CPU'}"
        message = f"{environment.name}: asked for {wanted}, and the solver picked {what}"
        raise SolveError(message, hint="look at the channels and indexes of the sources: one of them hides the build.")


def _digits(build: TorchBuild) -> str | None:
    return None if build.cuda is None else f"{build.cuda.major}{build.cuda.minor}"


def _found_torch(environment: Environment) -> tuple[str, str | None] | None:
    """Return version and CUDA digits ("118", None for CPU) of the environment's torch."""
    for package in environment.conda:
        if package.name == "pytorch":
            match = _CONDA_CUDA.search(package.build)
            return package.version, "".join(filter(None, match.groups())) if match else None
    for wheel in environment.pip:
        if wheel.name == "torch":
            local = Version(wheel.version).local
            if local:
                return wheel.version, local.removeprefix("cu") if local.startswith("cu") else None
            return wheel.version, _cuda_of_default(wheel.version, wheel.requires)
    return None


def _cuda_of_default(version: str, requires: tuple[str, ...]) -> str | None:
    # PyPI's wheel does not say its CUDA in its name, but only CUDA builds pull NVIDIA's wheels; which CUDA the default
    # of each release has is a fact of the compatibility table.
    if not any(name.startswith(_CUDA_WHEELS) for name in requires):
        return None
    from builder.compat_table import load_builds

    default = (build for build in load_builds() if build.source is Source.PYPI and build.torch == Version(version))
    return next((_digits(build) for build in default), None)
