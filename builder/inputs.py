"""What a cell is solved from, and the digest that tells whether its lock is stale. Light: no solver is loaded."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.torchspec import TorchSpec, request_torch

if TYPE_CHECKING:
    from builder.definition import Base, Definition
    from builder.matrix import Cell

_SCHEME = 1
"""Raised when the same inputs would be solved in another way, so that older locks count as stale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One cell to solve, with what it is solved from."""

    cell: Cell
    definition: Definition
    base: Base

    @property
    def torch(self) -> TorchSpec:
        """How the cell's torch is asked for."""
        return request_torch(self.cell.build) if self.cell.build else TorchSpec()

    @property
    def conda(self) -> tuple[str, ...]:
        """What conda is asked for: the cell's Python, pip to install wheels with, torch, and the definition's list."""
        return (f"python {self.cell.python}.*", "pip", *self.torch.conda, *self.definition.conda)

    @property
    def pip(self) -> tuple[str, ...]:
        """What pip is asked for."""
        return (*self.torch.pip, *self.definition.pip)

    @property
    def arches(self) -> tuple[str, ...]:
        """The GPU architectures that the image promises: the definition's, or all that its torch was built for."""
        return self.definition.gpu_arches or tuple(self.cell.build.arches or () if self.cell.build else ())

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels by priority: those that torch comes from, then the definition's."""
        own = self.torch.channels
        return (*own, *(name for name in self.definition.channels if name not in own))


def digest_inputs(job: Job) -> str:
    """Return the digest (`sha256:…`) of everything that decides a cell's solution, and of nothing else.

    Sources are left out on purpose: a mirror serves the same packages.
    """
    inputs = {
        "scheme": _SCHEME,
        "conda": job.conda,
        "constraints": job.torch.constraints,
        "pip_constraints": job.torch.pip_constraints,
        "channels": job.channels,
        "pip": job.pip,
        "index": job.torch.index,
        "cuda": str(job.cell.cuda),
        "glibc": str(job.base.glibc),
    }
    return "sha256:" + hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
