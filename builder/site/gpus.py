"""Which GPUs an image's torch has kernels for, by the names that people know them by. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.compat import has_kernels

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """GPUs of one compute capability: its arch (`sm_80`), NVIDIA's name of the generation, and some models."""

    arch: str
    generation: str
    models: str

    @property
    def capability(self) -> str:
        """The compute capability as NVIDIA writes it: `8.0`."""
        digits = self.arch.removeprefix("sm_")
        return f"{digits[:-1]}.{digits[-1]}"


GPUS = tuple(
    Gpu(arch=arch, generation=generation, models=models)
    for arch, generation, models in (
        ("sm_37", "Kepler", "K80"),
        ("sm_52", "Maxwell", "M40, GTX 900"),
        ("sm_60", "Pascal", "P100"),
        ("sm_61", "Pascal", "P40, GTX 10"),
        ("sm_70", "Volta", "V100"),
        ("sm_75", "Turing", "T4, RTX 20"),
        ("sm_80", "Ampere", "A100, A30"),
        ("sm_86", "Ampere", "A10, A40, RTX 30"),
        ("sm_89", "Ada", "L4, L40S, RTX 40"),
        ("sm_90", "Hopper", "H100, H200"),
        ("sm_100", "Blackwell", "B200"),
        ("sm_120", "Blackwell", "RTX 50, RTX PRO 6000"),
    )
)
"""Common GPUs, oldest first. Sources: NVIDIA's lists of compute capabilities, https://developer.nvidia.com/cuda-gpus
and https://developer.nvidia.com/cuda-legacy-gpus."""


def find_served(arches: Sequence[str]) -> tuple[Gpu, ...]:
    """Return the GPUs that kernels for these arches run on, oldest first."""
    return tuple(gpu for gpu in GPUS if has_kernels(arches, gpu.arch))


def name_generations(gpus: Iterable[Gpu]) -> str:
    """Return the generations in short: `Turing to Blackwell` where none between them is missing."""
    found = list(dict.fromkeys(gpu.generation for gpu in gpus))
    every = list(dict.fromkeys(gpu.generation for gpu in GPUS))
    if len(found) > 2 and found == every[every.index(found[0]) : every.index(found[-1]) + 1]:
        return f"{found[0]} to {found[-1]}"
    return ", ".join(found)
