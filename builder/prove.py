"""Run the checks of images that were built before: what `imgbuild test` does."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from builder.built import find_built, require_packages
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
    from builder.staged import Staging


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What the checks of one cell's image found, in `seconds`; an `error` where they could not be run.

    `promoted` are the refs that name the image since then.
    """

    cell: str
    ref: str
    verdicts: tuple[Verdict, ...] = ()
    promoted: tuple[str, ...] = ()
    error: Exception | None = None
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether every check was run, and none failed."""
        return self.error is None and all(verdict.verdict != "fail" for verdict in self.verdicts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prover:
    """Proves the images of cells: those of an engine or, with a staging, those that wait in a registry.

    With `promote`, each image of a registry that passed gets its tags, whatever becomes of the others.
    """

    engine: Engine
    gpu: GpuUse
    progress: Progress
    staging: Staging | None = None
    promote: bool = False
    _cancelled: threading.Event = field(default_factory=threading.Event)

    def prove_cells(self, cells: Sequence[tuple[Job, Environment]], *, workers: int) -> Iterator[Proof]:
        """Yield what the checks found in the image of each cell, in the order given, `workers` at once.

        A lost engine, SIGINT or SIGTERM stops all.
        """
        self.progress.plan(tuple(CellWork(cell=job.cell.id, layers=()) for job, _ in cells))
        tasks = {job.cell.id: partial(self._prove, job, environment) for job, environment in cells}
        refs = {job.cell.id: image_ref(job) for job, _ in cells}

        def tell() -> Iterator[tuple[str, Proof]]:
            for outcome in run_tasks(tasks, workers=workers, cancel=self._cancel):
                failed = Proof(cell=outcome.name, ref=refs[outcome.name], error=outcome.error)
                yield outcome.name, replace(outcome.value or failed, seconds=outcome.seconds)

        yield from sort_named(tell(), list(tasks))

    def _cancel(self) -> None:
        self._cancelled.set()
        self.engine.cancel()
        if self.staging:
            self.staging.registry.cancel()

    def _prove(self, job: Job, environment: Environment) -> Proof:
        if self.staging is None:
            self._say(job, "checking the image")
            image_id, _ = find_built(job, environment, self.engine)
            return Proof(cell=job.cell.id, ref=image_ref(job), verdicts=self._check(job, environment, image_id))
        found = self.staging.find(job)
        ref = f"{self.staging.name(job)}@{found.digest}"
        self._say(job, "pulling the image")
        for event in self.engine.pull(self.staging.name(job), found.digest):
            self.progress.event(job.cell.id, event)
        self._say(job, "checking the image")
        require_packages(self.engine.read_labels(ref), environment, ref)
        proof = Proof(cell=job.cell.id, ref=ref, verdicts=self._check(job, environment, ref))
        if not (self.promote and proof.passed):
            return proof
        return replace(proof, promoted=self.staging.promote(job, environment, found, proof.verdicts))

    def _check(self, job: Job, environment: Environment, image: str) -> tuple[Verdict, ...]:
        config, history = self.engine.read_config(image), self.engine.read_history(image)
        expected = describe_cell(job, environment, PREFIX, config, history)
        return run_checks(image, job.definition, expected, gpu=self.gpu, cancelled=self._cancelled)

    def _say(self, job: Job, text: str) -> None:
        self.progress.event(job.cell.id, Phase(text=text))
