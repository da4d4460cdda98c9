"""Publish the image of a cell: under a tag that lasts, with its documents, and then under the tags that move."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from builder.attach import Facts, attach_documents, describe_subject
from builder.checks.suites import digest_checks
from builder.errors import RegistryError
from builder.moving import move_tags
from builder.registry.content import Descriptor, parse_descriptor
from builder.reuse import attach_recipe, find_made_from
from builder.sbom.files import list_files
from builder.signing.vouching import list_signed, sign_image
from builder.tags import list_moving_tags, tag_image, tag_lasting, tag_waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from builder.checks import Verdict
    from builder.context import Context
    from builder.engine import Engine
    from builder.inputs import Job
    from builder.locked import LockedCell
    from builder.registry.content import Manifest
    from builder.registry.writing import Writer
    from builder.sbom.builders import Revision
    from builder.sbom.inventory import Inventory
    from builder.signing.vouching import Signer


@dataclass(frozen=True, slots=True, kw_only=True)
class Publisher:
    """Publishes images of one engine below `path` of a registry. Any number of threads may use it.

    `sources` are the files that describe each image, by its name, `builder_id` is who builds, and `revision` from
    what: for provenance. With a `signer` each image is signed, together with its documents; without `documents` it
    gets neither. Where images are `staged`, it is `Staging.promote` that lets the tags that move name them.
    """

    engine: Engine
    writer: Writer
    path: str
    sources: Mapping[str, Mapping[str, str]]
    builder_id: str
    revision: Revision | None = None
    documents: bool = True
    staged: bool = False
    signer: Signer | None = None
    _silent: threading.Event = field(default_factory=threading.Event)

    def find(self, locked: LockedCell, context: Context, recipe: str) -> Descriptor | None:
        """Return the image that was published from the same recipe with all its documents, None where there is none.

        Whoever built it had it checked. With a signer only what the same has signed counts. A registry that cannot be
        asked has none, and is not asked for the next cell: what is built is not lost, should it not take that either.
        """
        job = locked.job
        if not (recipe and self.documents) or self._silent.is_set():
            return None
        # The newest first: what nothing fixes, apt's packages, may be newer in it.
        tags = (*([tag_waiting(job, context)] if self.staged else ()), job.cell.tag, tag_lasting(job, context))
        voucher = self.signer.public if self.signer else None
        try:
            return find_made_from(self.writer, self._repository(job), tags, recipe, voucher=voucher)
        except RegistryError:
            self._silent.set()
            return None

    def publish_again(
        self, image: Descriptor, locked: LockedCell, context: Context, report: Callable[[str], None]
    ) -> str:
        """Let the tags that move name an image that was found, and return its ref, both as `publish` does.

        Where images are staged and no tag that lasts is known to name it, that is its ref by digest. Raises
        RegistryError.
        """
        job, repository = locked.job, self._repository(locked.job)
        self._point_tags(job, context, image, report)
        if not self.staged:
            return self._name(repository, job.cell.tag)
        lasting = tag_lasting(job, context)
        known = self.writer.find(repository, lasting)
        by_tag = known is not None and known.digest == image.digest
        return self._name(repository, lasting) if by_tag else f"{self.writer.host}/{repository}@{image.digest}"

    def publish(
        self,
        image_id: str,
        locked: LockedCell,
        context: Context,
        recipe: str,
        *,
        find_verdicts: Callable[[], Sequence[Verdict]],
        take_inventory: Callable[[], Inventory],
        report: Callable[[str], None],
    ) -> str:
        """Publish an image under all its tags, and return the ref of the cell's own.

        The tags that move do so last, when everything that belongs to the image is in the registry; where images are
        staged only the one that says what waits does, and the ref of the tag that lasts is returned. `recipe` is the
        digest of what it was made from, empty where nobody knows. `find_verdicts` returns what the checks found in it,
        and is asked before any tag of the registry names it, and once more for its documents; `take_inventory` returns
        its files, where they are still to be told; `report` is told what is going on. Raises RegistryError, of which
        PushError is one, when the registry does not take something, EngineError when the engine is lost, Cancelled,
        and what `find_verdicts` and `take_inventory` raise.
        """
        job = locked.job
        repository = self._repository(job)
        report("pushing the image")
        tag, image = self._push_lasting(image_id, locked, context, repository, require_verdicts=find_verdicts)
        subject = describe_subject(job, locked.environment, self._name(repository, tag), image.digest)
        facts = Facts(
            subject=subject,
            sources=self.sources[job.cell.image],
            builder_id=self.builder_id,
            revision=self.revision,
            checks=digest_checks(job.definition),
            list_files=lambda: list_files(locked.environment, locked.layers, take_inventory()),
            find_verdicts=lambda: {it.check: it.verdict for it in find_verdicts()},
            measure=partial(self.engine.measure, image_id),
        )
        if self.documents:
            report("attaching its documents")
            self._attach(repository, image, facts, recipe)
        self._point_tags(job, context, image, report)
        return subject.ref if self.staged else self._name(repository, job.cell.tag)

    def cancel(self) -> None:
        """Let whatever is going on raise Cancelled soon, but for what the engine does; from any thread."""
        self.writer.cancel()

    def _push_lasting(
        self,
        image_id: str,
        locked: LockedCell,
        context: Context,
        repository: str,
        *,
        require_verdicts: Callable[[], object],
    ) -> tuple[str, Descriptor]:
        """Let a tag that lasts name an image that passed its checks, and return it with the image's manifest.

        That is the tag of what the image was made from; where that names another image, which was made from the same
        and has other bytes, the tag of the image itself.
        """
        for tag in (tag_lasting(locked.job, context), tag_image(locked.job, image_id)):
            found = self.writer.read(repository, tag)
            if found is None:
                require_verdicts()
                for _ in self.engine.push(image_id, self._name(repository, tag)):
                    pass
                found = self.writer.read(repository, tag)
            if found and _is_image(found, image_id):
                return tag, Descriptor(media_type=found.media_type, digest=found.digest, size=len(found.data))
        message = f"{self._name(repository, tag)} is not the image that was pushed there"
        raise RegistryError(message, hint="who else pushes there? Run the same command again.")

    def _attach(self, repository: str, image: Descriptor, facts: Facts, recipe: str) -> None:
        # Only what the same has signed before may be signed again without being made again.
        signed = list_signed(self.writer, repository, image.digest, self.signer.public) if self.signer else None
        attached = {*attach_documents(self.writer, repository, image, facts, trusted=signed).values()}
        if recipe:
            attached.add(attach_recipe(self.writer, repository, image, recipe))
        if self.signer and signed is not None and not attached <= signed:
            sign_image(self.writer, repository, image, attached, self.signer)

    def _point_tags(self, job: Job, context: Context, image: Descriptor, report: Callable[[str], None]) -> None:
        repository = self._repository(job)
        if self.staged:
            self.writer.copy_tag(repository, image.digest, tag_waiting(job, context))
            return
        report("moving its tags")
        move_tags(self.writer, repository, image, list_moving_tags(job), record=self.documents)

    def _repository(self, job: Job) -> str:
        return "/".join(filter(None, (self.path, job.cell.image)))

    def _name(self, repository: str, tag: str) -> str:
        return f"{self.writer.host}/{repository}:{tag}"


def _is_image(manifest: Manifest, image_id: str) -> bool:
    """Return whether a manifest is that of an image of the engine.

    The containerd store knows an image by its manifest, the graphdriver store by its configuration.
    """
    if manifest.digest == image_id or manifest.is_index:
        return manifest.digest == image_id
    return parse_descriptor(manifest.parse().get("config"), manifest.digest).digest == image_id
