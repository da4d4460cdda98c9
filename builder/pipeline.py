"""Compose the steps: a locked cell → its context → an image that was built, checked, and only then tagged."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from builder.checks import require_pass, run_checks
from builder.checks.expected import describe_cell
from builder.checks.suites import digest_checks
from builder.errors import BuildError, Cancelled, CheckError
from builder.events import Built, Event, Log, Step
from builder.hostenv import SECRET, render_settings
from builder.memo import digest_recipe
from builder.progress_text import headline, shorten, tail
from builder.render import find_epoch, load_templates, render_context
from builder.schedule import Outcome, order_cells, run_tasks, sort_named
from builder.steps import PREFIX
from builder.tags import list_moving_tags, tag_lasting
from builder.work import CellWork, Ended, LayerWork, Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from builder.checks import GpuUse, Verdict
    from builder.context import Context
    from builder.engine import Engine
    from builder.inputs import Job
    from builder.locked import LockedCell
    from builder.memo import Memo
    from builder.progress import Progress
    from builder.project import Project
    from builder.sources import Sources
    from builder.work import State

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


def render_cell(project: Project, locked: LockedCell) -> Context:
    """Return the build context of a locked cell."""
    return render_context(locked, templates=load_templates(project.root), checks=digest_checks(locked.job.definition))


def describe_work(locked: LockedCell) -> CellWork:
    """Return what a locked cell has to install, layer by layer."""
    titles = locked.titles
    return CellWork(
        cell=locked.id,
        layers=tuple(LayerWork(id=it.id, title=titles[it.id], size=it.size) for it in locked.layers),
    )


def build_cells(
    project: Project,
    cells: Sequence[LockedCell],
    *,
    engine: Engine,
    memo: Memo,
    sources: Sources,
    progress: Progress,
    workers: int,
    registry: str | None,
    gpu: GpuUse,
) -> Iterator[Ended]:
    """Yield how each of some locked cells ended, in the order given, as soon as that can be told.

    `workers` of them are built at once, and pushed to a registry (`host/path`) if there is one. A cell that fails
    stops no other. A lost engine, SIGINT or SIGTERM stops all; no ref moves from then on.
    """
    cancelled = threading.Event()

    def cancel() -> None:
        cancelled.set()
        engine.cancel()

    works = {describe_work(locked): locked for locked in cells}
    progress.plan(tuple(works))
    build = partial(
        build_cell,
        project,
        engine=engine,
        memo=memo,
        sources=sources,
        progress=progress,
        cancelled=cancelled,
        registry=registry,
        gpu=gpu,
    )
    tasks = {work.cell: partial(build, works[work]) for work in order_cells(tuple(works))}

    def tell() -> Iterator[tuple[str, Ended]]:
        for outcome in run_tasks(tasks, workers=workers, cancel=cancel):
            ended = _describe_end(outcome, sources.redact)
            progress.event(ended.cell, ended)
            yield ended.cell, ended

    yield from sort_named(tell(), [work.cell for work in works])


def build_cell(
    project: Project,
    locked: LockedCell,
    *,
    engine: Engine,
    memo: Memo,
    sources: Sources,
    progress: Progress,
    cancelled: threading.Event,
    registry: str | None,
    gpu: GpuUse,
) -> Image:
    """Build one locked cell, check the image, let its ref name it, and push it. Threads may build several.

    The ref moves only after every check passed: an image that is found under its ref with the content that the
    build yields has passed these checks before. Raises BuildError, CheckError, EngineError or Cancelled; no ref
    moved then. Raises PushError when a registry does not take the image.
    """
    context = render_cell(project, locked)
    image = _build_checked(
        locked,
        context,
        engine=engine,
        memo=memo,
        sources=sources,
        progress=progress,
        cancelled=cancelled,
        gpu=gpu,
    )
    if registry is None:
        return image
    progress.event(locked.id, Phase(text="pushing the image"))
    return replace(image, ref=_publish(image, locked.job, context, engine=engine, registry=registry))


def _publish(image: Image, job: Job, context: Context, *, engine: Engine, registry: str) -> str:
    """Push an image under all its tags, and return the ref of the cell's own; the tag that lasts stays as it is."""
    name = f"{registry}/{job.cell.image}"
    lasting = f"{name}:{tag_lasting(job, context)}"
    moving = [f"{name}:{tag}" for tag in list_moving_tags(job)]
    for ref in [*([] if engine.find_published(lasting) else [lasting]), *moving]:
        for _ in engine.push(image.image_id, ref):
            pass
    return moving[0]


def _build_checked(
    locked: LockedCell,
    context: Context,
    *,
    engine: Engine,
    memo: Memo,
    sources: Sources,
    progress: Progress,
    cancelled: threading.Event,
    gpu: GpuUse,
) -> Image:
    job, environment = locked.job, locked.environment
    ref = image_ref(job)
    base = sources.base_ref(job.base.key)
    build_args = {"SOURCE_DATE_EPOCH": str(find_epoch(environment)), **({"BASE": base} if base else {})}
    on = job.base.digest if job.base.digest and not base else engine.find_base(base or job.base.ref)
    recipe = digest_recipe(context, build_args, on, engine.export) if on else ""
    if recipe and (image_id := memo.find(ref, recipe)) and engine.find_image(ref) == image_id:
        return Image(ref=ref, image_id=image_id, fresh=False)
    events = engine.build(
        context,
        secrets={SECRET: render_settings(sources, environment)},
        credentials=engine.credentials,
        build_args=build_args,
        network=sources.network,
    )
    image_id = _follow(job.cell.id, events, progress)
    fresh = engine.find_image(ref) != image_id
    verdicts: tuple[Verdict, ...] = ()
    if fresh:
        verdicts = _check(locked, image_id, engine=engine, progress=progress, cancelled=cancelled, gpu=gpu)
        engine.tag(image_id, ref)
    if recipe:
        memo.keep(ref, recipe, image_id)
    return Image(ref=ref, image_id=image_id, fresh=fresh, verdicts=verdicts)


def _check(
    locked: LockedCell,
    image_id: str,
    *,
    engine: Engine,
    progress: Progress,
    cancelled: threading.Event,
    gpu: GpuUse,
) -> tuple[Verdict, ...]:
    """Return the verdicts on an image. Raises CheckError when one is a failure; the image is gone then."""
    job = locked.job
    progress.event(job.cell.id, Phase(text="checking the image"))
    try:
        expected = describe_cell(job, locked.environment, PREFIX, engine.read_labels(image_id))
        verdicts = run_checks(image_id, job.definition, expected, gpu=gpu, cancelled=cancelled)
        require_pass(verdicts, job.cell.id)
    except CheckError:
        engine.remove(image_id)
        raise
    return verdicts


def _follow(name: str, events: Iterable[Event], progress: Progress) -> str:
    """Draw the events of a build and return the image's content digest."""
    words: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=_WORDS))
    failed: Step | None = None
    image_id = ""
    try:
        for event in events:
            progress.event(name, event)
            match event:
                case Log():
                    words[event.step].append(event.text)
                case Step() if event.error and failed is None:
                    failed = event
                case Built():  # the last one; what the build holds open is closed when the loop asks for more
                    image_id = event.image_id
    except BuildError as error:
        step = f"{headline(failed.name)}: " if failed else ""
        said = tail("".join(words[failed.digest]).splitlines()) if failed else ""
        raise BuildError(f"{name}: {step}{error.message}\n{said}".rstrip(), hint=error.hint) from error
    return image_id


def _describe_end(outcome: Outcome[Image], redact: Callable[[str], str]) -> Ended:
    match outcome:
        case Outcome(value=Image() as image):
            return Ended(
                cell=outcome.name,
                state="built" if image.fresh else "up to date",
                text=_describe_image(image),
                seconds=outcome.seconds,
                ref=image.ref,
            )
        case Outcome(error=Cancelled()):
            state: State = "cancelled" if outcome.began else "not started"
            text = ""
        case _:
            state = "failed"
            text = shorten(redact(str(outcome.error).removeprefix(f"{outcome.name}: ")))
    return Ended(cell=outcome.name, state=state, text=text, seconds=outcome.seconds, error=outcome.error)


def _describe_image(image: Image) -> str:
    if not image.fresh:
        return f"{image.ref} is up to date"
    passed = sum(verdict.verdict == "pass" for verdict in image.verdicts)
    skipped: dict[str, list[str]] = defaultdict(list)
    for verdict in image.verdicts:
        if verdict.verdict == "skip":
            skipped[verdict.detail].append(verdict.check)
    reasons = [f"{', '.join(checks)} ({why})" for why, checks in skipped.items()]
    return f"{image.ref}: {passed} checks passed" + (f", skipped: {'; '.join(reasons)}" if reasons else "")
