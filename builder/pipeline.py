"""Compose the steps: a locked cell → its context → an image that was built, checked, and only then tagged."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.checks import describe_cell, digest_checks, require_pass, run_checks
from builder.errors import BuildError, CheckError, EngineError
from builder.events import Built, Event, Log, Step
from builder.hostenv import SECRET, render_settings
from builder.progress import headline, tail
from builder.render import PREFIX, load_templates, render_context

if TYPE_CHECKING:
    from collections.abc import Iterable

    from builder.checks import Verdict
    from builder.context import Context
    from builder.engine import Engine
    from builder.inputs import Job
    from builder.lock import Environment
    from builder.progress import Progress
    from builder.project import Project
    from builder.sources import Sources


_WORDS = 200
"""How many pieces of a step's output are kept for the case that it fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image that passed its checks: its ref and content digest; `fresh` unless it was there before."""

    ref: str
    image_id: str
    fresh: bool
    verdicts: tuple[Verdict, ...] = ()


def image_ref(job: Job) -> str:
    """Return the local ref of a cell's image: `pytorch:2.7.1-cu118-py310`."""
    return f"{job.cell.image}:{job.cell.tag}"


def render_cell(project: Project, job: Job, environment: Environment) -> Context:
    """Return the build context of a locked cell."""
    templates = load_templates(project.root)
    return render_context(job.cell, job.definition, job.base, environment, templates=templates, checks=digest_checks())


def build_cell(
    project: Project,
    job: Job,
    environment: Environment,
    *,
    engine: Engine,
    sources: Sources,
    progress: Progress,
) -> Image:
    """Build one locked cell, check the image, and let its ref name it.

    The ref moves only after every check passed: an image that is found under its ref with the content that the
    build yields has passed these checks before. Raises BuildError, CheckError or EngineError; no ref moved then.
    """
    ref = image_ref(job)
    base = sources.base_ref(job.base.key)
    events = engine.build(
        render_cell(project, job, environment),
        secrets={SECRET: render_settings(sources, environment)},
        credentials=engine.credentials,
        build_args={"BASE": base} if base else {},
        network=sources.network,
    )
    image_id = _follow(job.cell.id, events, progress)
    if engine.find_image(ref) == image_id:
        return Image(ref=ref, image_id=image_id, fresh=False)
    progress.stage(f"{job.cell.id}: checking the image")
    try:
        verdicts = run_checks(image_id, describe_cell(job.cell, environment, job.base, PREFIX))
        require_pass(verdicts, job.cell.id)
    except CheckError:
        engine.remove(image_id)
        raise
    engine.tag(image_id, ref)
    return Image(ref=ref, image_id=image_id, fresh=True, verdicts=verdicts)


def _follow(name: str, events: Iterable[Event], progress: Progress) -> str:
    """Draw the events of a build and return the image's content digest."""
    words: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=_WORDS))
    failed: Step | None = None
    try:
        for event in events:
            progress.event(name, event)
            match event:
                case Log():
                    words[event.step].append(event.text)
                case Step() if event.error and failed is None:
                    failed = event
                case Built():
                    return event.image_id
    except BuildError as error:
        step = f"{headline(failed.name)}: " if failed else ""
        said = tail("".join(words[failed.digest]).splitlines()) if failed else ""
        raise BuildError(f"{name}: {step}{error.message}\n{said}".rstrip(), hint=error.hint) from error
    raise EngineError(f"{name}: the engine ended the build without a result")
