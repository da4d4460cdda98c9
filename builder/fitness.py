"""Which cells of a matrix a machine can run on its GPU, and why not: from the driver and architecture tables. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from builder.compat import driver_for, name_driver, runs_on

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from builder.host_gpu import HostGpus
    from builder.matrix import Cell

Fit = Literal["runs", "CPU only", "does not run", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a cell can do on a machine: run with all it has, on the CPU only, or not as it should; and why.

    It is unknown where the machine's GPUs cannot be seen.
    """

    cell: str
    fit: Fit
    why: str


def judge_cells(cells: Iterable[Cell], gpus: HostGpus | None, unreachable: str) -> Iterator[Judgement]:
    """Yield the judgement of each cell; `unreachable` is why containers get no GPU, empty where they do.

    `gpus` is None for those of another machine, which nobody sees from here.
    """
    for cell in cells:
        fit, why = _judge(cell, gpus, unreachable)
        yield Judgement(cell=cell.id, fit=fit, why=why)


def _judge(cell: Cell, gpus: HostGpus | None, unreachable: str) -> tuple[Fit, str]:
    if cell.cuda is None:
        return "runs", "needs no GPU"
    if gpus is None:
        return ("CPU only", unreachable) if unreachable else ("unknown", "GPUs of another machine cannot be seen")
    if gpus.fault:
        return "CPU only", gpus.fault
    if not gpus.names:
        return "CPU only", "no GPU here"
    needed = driver_for(cell.cuda)
    if gpus.driver and needed.minimum and gpus.driver < needed.minimum:
        own, least = name_driver(gpus.driver), name_driver(needed.minimum)
        return "does not run", f"driver {own} is older than CUDA {cell.cuda} needs: {least} or newer"
    left_out = [arch for arch in gpus.arches if cell.build and runs_on(cell.build, arch) is False]
    lacks = f"no kernels for {_name(left_out)}"
    if cell.build and len(left_out) == len(gpus.names):
        kernels = " ".join(cell.build.arches or ())
        return "does not run", f"torch {cell.torch} for CUDA {cell.cuda} has {lacks}: {kernels}"
    if unreachable:
        return "CPU only", unreachable
    if cell.build and cell.build.arches is None:
        return "runs", "which GPUs its torch has kernels for is not known"
    if served := _name(arch for arch in gpus.arches if arch not in left_out):
        return "runs", f"on {served}; {lacks}" if left_out else f"on {served}"
    return "runs", "the GPU's architecture is not known, nor whether its torch has kernels for it"


def _name(arches: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(arches))
