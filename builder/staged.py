"""Images that wait in a registry until something lets the moving tags name them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.attach import attach_results, describe_subject, require_documents
from builder.checks.suites import digest_checks
from builder.errors import CheckError
from builder.moving import move_tags
from builder.signing.vouching import list_signed, sign_image
from builder.tags import list_moving_tags, tag_lasting, tag_waiting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builder.checks import Verdict
    from builder.context import Context
    from builder.inputs import Job
    from builder.lock import Environment
    from builder.registry.content import Descriptor
    from builder.registry.writing import Writer
    from builder.signing.vouching import Signer


@dataclass(frozen=True, slots=True, kw_only=True)
class Staging:
    """The images of cells in `place` (`host/path`); `contexts` are what the cells are built from, by id.

    With a `signer` an image that the same has signed is signed once more, together with what a test found; no other is
    found or promoted. Without `documents` it needs none, and what a test found is not attached.
    """

    registry: Writer
    place: str
    contexts: Mapping[str, Context]
    documents: bool = True
    signer: Signer | None = None

    def name(self, job: Job) -> str:
        """Return what the engine calls the repository of a cell's images."""
        return f"{self.place}/{job.cell.image}"

    def find(self, job: Job) -> Descriptor:
        """Return the manifest of a cell's image: the one that waits, else the first that was published from the same.

        Raises CheckError when neither is there, and RegistryError, also for one that the signer has not signed with
        all its documents: whoever may push there can let these tags name another image.
        """
        context, repository = self.contexts[job.cell.id], self._repository(job)
        tag = tag_lasting(job, context)
        found = self.registry.find(repository, tag_waiting(job, context)) or self.registry.find(repository, tag)
        if found is None:
            hint = f"run `imgbuild build --push {self.place} --stage` for it first."
            raise CheckError(f"{self.name(job)}:{tag} is not in the registry", hint=hint)
        if self.signer:
            self._require_documents(repository, found.digest)
        return found

    def promote(
        self, job: Job, environment: Environment, image: Descriptor, verdicts: Sequence[Verdict]
    ) -> tuple[str, ...]:
        """Let the moving tags of a cell name an image that passed a test, and return their refs.

        What the test found is attached to the image before; nothing of the image itself is uploaded. Raises
        RegistryError, also for an image whose documents are not all attached, as where its publishing was stopped, or
        that the signer has not signed with all of them; then none, or the first of them, have moved.
        """
        repository = self._repository(job)
        if self.documents:
            signed = self._require_documents(repository, image.digest)
            results = self._attach(job, environment, image, verdicts)
            if self.signer and results not in signed:
                sign_image(self.registry, repository, image, signed | {results}, self.signer)
        tags = list_moving_tags(job)
        move_tags(self.registry, repository, image, tags, record=self.documents)
        return tuple(f"{self.name(job)}:{tag}" for tag in tags)

    def _require_documents(self, repository: str, digest: str) -> frozenset[str]:
        """Return what the signer has signed of an image, with all its documents; without a signer, nothing.

        Raises RegistryError unless all are attached, and signed where there is a signer, who vouches for nothing new
        but what a test found.
        """
        if self.signer is None:
            require_documents(self.registry, repository, digest)
            return frozenset()
        signed = list_signed(self.registry, repository, digest, self.signer.public)
        require_documents(self.registry, repository, digest, signed=signed, who=self.signer.public.name)
        return signed

    def _attach(self, job: Job, environment: Environment, image: Descriptor, verdicts: Sequence[Verdict]) -> str:
        subject = describe_subject(job, environment, f"{self.name(job)}@{image.digest}", image.digest)
        found = {it.check: it.verdict for it in verdicts}
        checks = digest_checks(job.definition)
        return attach_results(self.registry, self._repository(job), image, subject, found, checks=checks)

    def _repository(self, job: Job) -> str:
        return self.name(job).partition("/")[2]
