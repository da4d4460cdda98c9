"""Which cells of a matrix a machine can run on its GPU, and why not: from the driver and architecture tables. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from builder.compat import driver_for, name_driver, runs_on

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from builder.host_gpu import HostGpus
    from builder.matrix import Cell

Fit = Literal["runs", "CPU only", "does not run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a cell can do on a machine: run with all it has, on the CPU only, or not as it should; and why."""

    cell: str
    fit: Fit
    why: str


def judge_cells(cells: Iterable[Cell], gpus: HostGpus, unreachable: str) -> Iterator[Judgement]:
    """Yield the judgement of each cell; `unreachable` is why containers get no GPU, empty where they do."""
    for cell in cells:
        fit, why = _judge(cell, gpus, unreachable)
        yield Judgement(cell=cell.id, fit=fit, why=why)


def _judge(cell: Cell, gpus: HostGpus, unreachable: str) -> tuple[Fit, str]:
    if cell.cuda is None:
        return "runs", "needs no GPU"
    if gpus.fault:
        return "CPU only", gpus.fault
    if not gpus.names:
        return "CPU only", "no GPU here"
    needed = driver_for(cell.cuda)
    if gpus.driver and needed.minimum and gpus.driver < needed.minimum:
        own, least = name_driver(gpus.driver), name_driver(needed.minimum)
        return "does not run", f"driver {own} is older than CUDA {cell.cuda} needs: {least} or newer"
    if cell.build:
        for arch in gpus.arches:
            if runs_on(cell.build, arch) is False:
                kernels = " ".join(cell.build.arches or ())
                return "does not run", f"torch {cell.torch} for CUDA {cell.cuda} has no kernels for {arch}: {kernels}"
    if unreachable:
        return "CPU only", unreachable
    unknown = not gpus.arches or (cell.build and cell.build.arches is None)
    return "runs", "which GPUs its torch has kernels for is not known" if unknown else f"on {', '.join(gpus.arches)}"
