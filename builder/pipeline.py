"""Compose the steps: a locked cell → its context → an image that was built, checked, and only then tagged."""

from __future__ import annotations

import contextlib
import threading
from collections import defaultdict, deque
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import TYPE_CHECKING

from builder.checks import check_container, require_pass
from builder.checks.expected import describe_cell
from builder.checks.inventory import ask_inventory, take_inventory
from builder.checks.suites import digest_checks
from builder.early import EarlyImages
from builder.errors import BuildError, CheckError
from builder.events import Built, Event, Log, Step
from builder.hostenv import SECRET, render_settings
from builder.memo import digest_recipe
from builder.outcome import Found, Image, describe_end
from builder.progress_text import headline, tail
from builder.render import find_epoch, load_templates, render_context
from builder.schedule import order_cells, run_tasks, sort_named
from builder.steps import PREFIX
from builder.work import CellWork, Ended, LayerWork, Phase

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from builder.checks import GpuUse
    from builder.context import Context
    from builder.engine import Engine
    from builder.inputs import Job
    from builder.locked import LockedCell
    from builder.memo import Memo
    from builder.progress import Progress
    from builder.project import Project
    from builder.publish import Publisher
    from builder.sbom.inventory import Inventory
    from builder.sources import Sources
    from builder.verdicts import Verdicts

_WORDS = 200
"""How many pieces of a step's output are kept for the case that it fails."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Builder:
    """Builds locked cells of a project on one engine; with a publisher, it publishes what passed its checks."""

    project: Project
    engine: Engine
    memo: Memo
    verdicts: Verdicts
    sources: Sources
    progress: Progress
    publisher: Publisher | None
    gpu: GpuUse
    _cancelled: threading.Event = field(default_factory=threading.Event)

    def build_cells(self, cells: Sequence[LockedCell], *, workers: int) -> Iterator[Ended]:
        """Yield how each of some cells ended, in the order given, as soon as that can be told.

        `workers` of them are built at once. A cell that fails stops no other. A lost engine, SIGINT or SIGTERM stops
        all; no ref moves from then on.
        """
        works = {describe_work(locked): locked for locked in cells}
        self.progress.plan(tuple(works))

        def tell(early: EarlyImages) -> Iterator[tuple[str, Ended]]:
            tasks = {work.cell: partial(self.build_cell, works[work], early) for work in order_cells(tuple(works))}
            for outcome in run_tasks(tasks, workers=workers, cancel=self._cancel):
                ended = describe_end(outcome, self.sources.redact)
                self.progress.event(ended.cell, ended)
                yield ended.cell, ended

        with EarlyImages(self.engine.again) as early:
            yield from sort_named(tell(early), [work.cell for work in works])

    def build_cell(self, locked: LockedCell, early: EarlyImages) -> Image:
        """Build one cell, check the image, let its ref name it, and publish it. Threads may build several.

        The ref moves only after every check passed. An image that is found under its ref with the content that the
        build yields is checked where nobody knows that it passed before. One that another machine has published from
        the same is not built, and no local ref names it. Raises BuildError, CheckError, EngineError
        or Cancelled; no ref moved then. Raises RegistryError when a registry does not take the image, or what belongs
        to it.
        """
        context = render_cell(self.project, locked)
        recipe = self._digest_recipe(locked, context)
        image = self._find_built(locked, recipe)
        if image is None and (published := self._find_published(locked, context, recipe)):
            return published
        image = image or self._build_checked(locked, context, recipe, early)
        if self.publisher is None:
            return image
        find = cache(lambda: image.found or self._recall(locked, image.image_id))
        take = partial(take_inventory, image.image_id, locked.environment, prefix=PREFIX, cancelled=self._cancelled)
        ref = self.publisher.publish(
            image.image_id,
            locked,
            context,
            recipe,
            find_verdicts=lambda: find().verdicts,
            take_inventory=lambda: find().inventory or take(),
            report=partial(self._say, locked),
        )
        return replace(image, ref=ref)

    def _cancel(self) -> None:
        self._cancelled.set()
        self.engine.cancel()
        if self.publisher:
            self.publisher.cancel()

    def _digest_recipe(self, locked: LockedCell, context: Context) -> str:
        """Return the digest of all that is fixed of the image, empty where nobody can tell what the base is."""
        base, mirrored = locked.job.base, self.sources.base_ref(locked.job.base.key)
        on = base.digest if base.digest and not mirrored else self.engine.find_base(mirrored or base.ref)
        if not on:
            return ""
        # A project's own Dockerfile need not have these two in it.
        told = (str(find_epoch(locked.environment)), digest_checks(locked.job.definition))
        return digest_recipe(context, *told, base=on, export=self.engine.export)

    def _find_built(self, locked: LockedCell, recipe: str) -> Image | None:
        ref = image_ref(locked.job)
        if recipe and (image_id := self.memo.find(ref, recipe)) and self.engine.find_image(ref) == image_id:
            return Image(ref=ref, image_id=image_id, fresh=False)
        return None

    def _find_published(self, locked: LockedCell, context: Context, recipe: str) -> Image | None:
        """Return the image that another machine has published, whose tags name it then; None where there is none.

        Also where this machine has an older one under the cell's ref, which would stay that, and where it has a GPU:
        what was checked elsewhere may have been so without one.
        """
        job, report = locked.job, partial(self._say, locked)
        tests_gpu = job.cell.cuda and self.gpu.state != "none"
        if self.publisher is None or tests_gpu or self.engine.find_image(image_ref(job)):
            return None
        report("looking for it in the registry")
        image = self.publisher.find(locked, context, recipe)
        if image is None:
            return None
        return Image(
            ref=self.publisher.publish_again(image, locked, context, report), image_id=image.digest, fresh=False
        )

    def _build_checked(self, locked: LockedCell, context: Context, recipe: str, early: EarlyImages) -> Image:
        engine, job = self.engine, locked.job
        ref = image_ref(job)
        with early.beside(locked, context, partial(self._build_lower, locked)):
            image_id = _follow(job.cell.id, self._build(locked, context, engine), self.progress)
        fresh = engine.find_image(ref) != image_id
        # Bake names what it builds, and a bundle what is in it: nobody knows of checks there.
        found = self._check(locked, image_id) if fresh else self._recall(locked, image_id)
        if fresh:
            engine.tag(image_id, ref)
        if recipe:
            self.memo.keep(ref, recipe, image_id)
        return Image(ref=ref, image_id=image_id, fresh=fresh, found=found)

    def _find_arguments(self, locked: LockedCell) -> dict[str, str]:
        base = self.sources.base_ref(locked.job.base.key)
        return {"SOURCE_DATE_EPOCH": str(find_epoch(locked.environment)), **({"BASE": base} if base else {})}

    def _build(self, locked: LockedCell, context: Context, engine: Engine) -> Iterator[Event]:
        """Yield the events of a build of the context with what the steps of a cell are told."""
        return engine.build(
            context,
            secrets={SECRET: render_settings(self.sources, locked.environment)},
            credentials=engine.credentials,
            build_args=self._find_arguments(locked),
            network=self.sources.network,
        )

    def _build_lower(self, locked: LockedCell, engine: Engine, context: Context) -> str:
        image_id = ""
        for event in self._build(locked, context, engine):
            if isinstance(event, Built):
                image_id = event.image_id
        return image_id

    def _check(self, locked: LockedCell, image_id: str) -> Found:
        """Return what is found in an image. Raises CheckError when a check fails; the image is gone then.

        A publisher tells of every file: the container that is there answers sooner than another one. Where it does not
        tell, the image passed all the same, and the publisher asks again.
        """
        job = locked.job
        self._say(locked, "checking the image")
        inventory: Inventory | None = None
        try:
            config, history = self.engine.read_config(image_id), self.engine.read_history(image_id)
            expected = describe_cell(job, locked.environment, PREFIX, config, history)
            container = check_container(image_id, job.definition, expected, gpu=self.gpu, cancelled=self._cancelled)
            with container as (running, verdicts):
                require_pass(verdicts, job.cell.id)
                if self.publisher and self.publisher.documents:
                    with contextlib.suppress(CheckError):
                        inventory = ask_inventory(running, locked.environment, prefix=PREFIX)
        except CheckError:
            self.engine.remove(image_id)
            raise
        self.verdicts.keep(image_ref(job), image_id, verdicts)
        return Found(verdicts=verdicts, inventory=inventory)

    def _say(self, locked: LockedCell, text: str) -> None:
        self.progress.event(locked.id, Phase(text=text))

    def _recall(self, locked: LockedCell, image_id: str) -> Found:
        """Return what the checks found in an image when it was built; where nobody knows any more, they run again."""
        known = self.verdicts.find(image_ref(locked.job), image_id)
        return Found(verdicts=known) if known else self._check(locked, image_id)


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
                case Step() if event.error and not event.cancelled and failed is None:
                    failed = event
                case Built():  # the last one; what the build holds open is closed when the loop asks for more
                    image_id = event.image_id
    except BuildError as error:
        step = f"{headline(failed.name)}: " if failed else ""
        said = tail("".join(words[failed.digest]).splitlines()) if failed else ""
        raise BuildError(f"{name}: {step}{error.message}\n{said}".rstrip(), hint=error.hint) from error
    return image_id
