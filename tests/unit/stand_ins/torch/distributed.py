"""Processes that add up what each has, of which each began with its rank plus 1."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from torch import FAULT, USING

if TYPE_CHECKING:
    from torch import Tensor

_sizes: list[int] = []


def init_process_group(_backend: str, *, init_method: str, rank: int, world_size: int) -> None:
    if [rank] != USING:
        raise RuntimeError(f"rank {rank} uses {USING}")
    if FAULT == "no connection":
        time.sleep(0 if rank else 600)
        raise RuntimeError(f"NCCL: nobody answers at {init_method}")
    _sizes.append(world_size)


def all_reduce(tensor: Tensor) -> None:
    if FAULT != "all-reduce":
        tensor.value = float(sum(range(1, _sizes[-1] + 1)))


def destroy_process_group() -> None:
    _sizes.pop()
