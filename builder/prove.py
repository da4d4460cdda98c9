"""Run the checks of images that were built before: what `imgbuild test` does."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from builder.built import find_built
from builder.checks import run_checks
from builder.checks.expected import describe_cell
from builder.pipeline import image_ref
from builder.schedule import run_tasks, sort_named
from builder.steps import PREFIX
from builder.work import CellWork, Phase

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from builder.checks import GpuUse, Verdict
    from builder.engine import Engine
    from builder.inputs import Job
    from builder.lock import Environment
    from builder.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What the checks of one cell's image found, in `seconds`; an `error` where they could not be run."""

    cell: str
    ref: str
    verdicts: tuple[Verdict, ...] = ()
    error: Exception | None = None
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether every check was run, and none failed."""
        return self.error is None and all(verdict.verdict != "fail" for verdict in self.verdicts)


def prove_cells(
    cells: Sequence[tuple[Job, Environment]], *, engine: Engine, gpu: GpuUse, progress: Progress, workers: int
) -> Iterator[Proof]:
    """Yield what the checks found in the image of each cell, in the order given, `workers` at once.

    A lost engine, SIGINT or SIGTERM stops all.
    """
    cancelled = threading.Event()
    progress.plan(tuple(CellWork(cell=job.cell.id, layers=()) for job, _ in cells))
    prove = partial(_prove, engine=engine, gpu=gpu, progress=progress, cancelled=cancelled)
    tasks = {job.cell.id: partial(prove, job, environment) for job, environment in cells}
    refs = {job.cell.id: image_ref(job) for job, _ in cells}

    def tell() -> Iterator[tuple[str, Proof]]:
        for outcome in run_tasks(tasks, workers=workers, cancel=cancelled.set):
            failed = Proof(cell=outcome.name, ref=refs[outcome.name], error=outcome.error, seconds=outcome.seconds)
            yield outcome.name, outcome.value or failed

    yield from sort_named(tell(), list(tasks))


def _prove(
    job: Job,
    environment: Environment,
    *,
    engine: Engine,
    gpu: GpuUse,
    progress: Progress,
    cancelled: threading.Event,
) -> Proof:
    ref = image_ref(job)
    progress.event(job.cell.id, Phase(text="checking the image"))
    began = time.monotonic()
    image_id, labels = find_built(job, environment, engine)
    expected = describe_cell(job, environment, PREFIX, labels)
    verdicts = run_checks(image_id, job.definition, expected, gpu=gpu, cancelled=cancelled)
    return Proof(cell=job.cell.id, ref=ref, verdicts=verdicts, seconds=time.monotonic() - began)
