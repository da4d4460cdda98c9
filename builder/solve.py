"""Cells → locked environments: conda first, then pip beside it, then the proof that torch is the one asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name
from packaging.version import Version

from builder.channels import channel_urls
from builder.errors import SolveError
from builder.inputs import Job, digest_inputs
from builder.lock import CondaPackage, Environment, Lock
from builder.solve_conda import CondaRequest, solve_conda
from builder.solve_pip import PipRequest, solve_pip
from builder.torchspec import verify_torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from builder.sources import Sources


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """Which packages may leave the version of the previous lock: all of them, or those named."""

    everything: bool = False
    packages: frozenset[str] = frozenset()

    def keeps(self, name: str) -> bool:
        """Return whether a package has to stay at its locked version if the specs allow it."""
        return not self.everything and canonicalize_name(name) not in self.packages


def solve_cells(
    jobs: Sequence[Job],
    *,
    sources: Sources,
    previous: Lock,
    upgrade: Upgrade,
    cache: Path,
    report: Callable[[str], None],
    warn: Callable[[str], None],
) -> list[Environment]:
    """Return the solved environment of each job; `report` is told each stage shortly, `warn` what may surprise.

    Raises SolveError for the first cell without a solution, or whose torch is not the one it promises.
    """
    before = [previous.find(job.cell.environment) for job in jobs]
    report(f"conda: solving {len(jobs)} cell{'s' * (len(jobs) != 1)}")
    requests = [
        CondaRequest(
            name=job.cell.id,
            specs=job.conda,
            constraints=job.torch.constraints,
            channels=job.channels,
            cuda=job.cell.cuda,
            glibc=job.base.glibc,
            keep=tuple(package for package in old.conda if upgrade.keeps(package.name)) if old else (),
        )
        for job, old in zip(jobs, before, strict=True)
    ]
    solutions = solve_conda(requests, sources, cache)
    solved = []
    for job, old, conda in zip(jobs, before, solutions, strict=True):
        report(f"{job.cell.id}: pip")
        solved.append(_finish(job, old, conda, sources=sources, upgrade=upgrade, cache=cache, warn=warn))
    return solved


def _finish(
    job: Job,
    old: Environment | None,
    conda: tuple[CondaPackage, ...],
    *,
    sources: Sources,
    upgrade: Upgrade,
    cache: Path,
    warn: Callable[[str], None],
) -> Environment:
    kept = ((package.name, package.version) for package in old.pip if upgrade.keeps(package.name)) if old else ()
    request = PipRequest(
        name=job.cell.id,
        requirements=job.pip,
        constraints=job.torch.pip_constraints,
        python=_python_version(job, conda),
        glibc=job.base.glibc,
        conda=conda,
        index=job.torch.index,
        keep=tuple(kept),
    )
    environment = Environment(
        name=job.cell.environment,
        inputs=digest_inputs(job),
        channels=tuple(url for channel in job.channels for url in channel_urls(channel)),
        conda=conda,
        pip=solve_pip(request, sources, cache, warn),
    )
    if job.cell.build is not None:
        verify_torch(environment, job.cell.build)
    return environment


def _python_version(job: Job, conda: Sequence[CondaPackage]) -> Version:
    found = next((package.version for package in conda if package.name == "python"), None)
    if found is None or Version(found).release[:2] != job.cell.python.release[:2]:
        raise SolveError(f"{job.cell.id}: conda's solution has Python {found}, not {job.cell.python}")
    return Version(found)
