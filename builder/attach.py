"""Which documents a published image has, and how they are attached to it.

Each is a manifest of its own that names the image's as its subject, and says in an annotation which document it is.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Literal

from builder.errors import RegistryError
from builder.registry.writing import Artifact, NoArtifactsError
from builder.render import LABEL, find_epoch
from builder.sbom.subject import Subject, find_created

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from builder.inputs import Job
    from builder.lock import Environment
    from builder.project import Project
    from builder.registry.client import Registry
    from builder.registry.content import Descriptor
    from builder.registry.writing import Writer
    from builder.sbom.builders import Revision
    from builder.sbom.files import FileList

Kind = Literal["cyclonedx", "files", "spdx", "provenance", "checks"]

DOCUMENT = f"{LABEL}.document"
"""Annotation that says which of the documents it is."""

PREDICATE_TYPE = "in-toto.io/predicate-type"
"""Annotation that says what a statement tells (docs.docker.com, "Image attestation storage")."""

CYCLONEDX = "application/vnd.cyclonedx+json"
"""The type of a bill of materials that scanners read (iana.org, media types)."""

UNPACKED = f"{LABEL}.unpacked"
"""Annotation of the results of the checks: how many bytes the image's files have, which its manifest does not tell."""

TYPES: Mapping[Kind, str] = {
    "cyclonedx": CYCLONEDX,
    "files": "application/vnd.imgbuild.files.v1",
    "spdx": "application/spdx+json",
    "provenance": "application/vnd.in-toto+json",
    "checks": "application/vnd.in-toto+json",
}
"""The documents of an image, and their types (iana.org, media types; github.com/in-toto/attestation, spec/v1).

Scanners take the first attached bill with a type they know, and only one with a single payload (trivy,
pkg/oci/artifact.go): the lists of files, which are several, have a type of their own.
"""

RETEST = "test"
"""The results of a later test than the one before publishing: an image may have some from machines with a GPU."""

_ROUNDS = 2
_HINT_NONE = "Does it take artifacts at all, as newer ones do? --no-documents publishes images without any."


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the documents of one image tell; what is a function is asked for only when it is needed, and once.

    `measure` returns the bytes of the image, unpacked. `sources`, `builder_id` and `revision` are what
    `dump_provenance` takes, `checks` and the verdicts what `dump_results` does.
    """

    subject: Subject
    sources: Mapping[str, str]
    builder_id: str
    revision: Revision | None
    checks: str
    list_files: Callable[[], tuple[FileList, ...]]
    find_verdicts: Callable[[], Mapping[str, str]]
    measure: Callable[[], int]


def attach_documents(
    writer: Writer, repository: str, image: Descriptor, facts: Facts, *, trusted: Collection[str] | None = None
) -> dict[Kind, str]:
    """Attach to a manifest what it lacks of its documents, and return the digest of each document's manifest.

    Those that are there stay as they are; with `trusted` only these count as there, and others are made once more.
    Raises RegistryError when the registry does not take them, and what asking for files and verdicts raises.
    """
    facts = replace(facts, list_files=cache(facts.list_files))  # two documents need them
    made: dict[Kind, Artifact] = {}
    known: dict[Kind, str] = {}
    with _telling(facts.subject.ref):
        # Once more where another who attached at the same time has overwritten the list.
        for _ in range(_ROUNDS):
            there = _list_documents(
                writer, repository, image.digest, None if trusted is None else {*trusted, *known.values()}
            )
            missing = [kind for kind in TYPES if kind not in there]
            known |= there
            if not missing:
                break
            for kind in missing:
                made[kind] = made.get(kind) or make_artifact(kind, facts)
                known[kind] = writer.attach(repository, image, made[kind]).digest
    return known


def require_documents(
    registry: Registry, repository: str, digest: str, *, signed: Collection[str] | None = None, who: str = ""
) -> None:
    """Raise RegistryError unless all documents are attached to the manifest of a digest.

    With `signed`, the digests that somebody vouches for, only these count; `who` is what a person calls them.
    """
    missing = list_missing(registry, repository, digest, signed=signed)
    if not missing:
        return
    name = f"{registry.host}/{repository}"
    which = "documents" if signed is None else f"documents that {who} has signed"
    hint = (
        "`imgbuild build --push` attaches what is missing: run it again; --no-documents does without."
        if signed is None
        else f"`imgbuild build --push {name.rpartition('/')[0]} --stage` and the same --sign-key or --sign-as."
    )
    raise RegistryError(f"{name}@{digest} lacks {which}: {', '.join(missing)}", hint=hint)


def list_missing(
    registry: Registry, repository: str, digest: str, *, signed: Collection[str] | None = None
) -> list[Kind]:
    """Return which documents are not attached to the manifest of a digest; with `signed` only these digests count."""
    there = _list_documents(registry, repository, digest, signed)
    return [kind for kind in TYPES if kind not in there]


def attach_results(
    writer: Writer, repository: str, image: Descriptor, subject: Subject, verdicts: Mapping[str, str], *, checks: str
) -> str:
    """Attach to a manifest what a test of it found, and return the digest of that document's own manifest.

    The same results are attached once. Raises RegistryError.
    """
    from builder.sbom.results import PREDICATE, dump_results

    told = ((DOCUMENT, RETEST), (PREDICATE_TYPE, PREDICATE))
    data = dump_results(subject, verdicts, checks=checks).encode()
    form = TYPES["checks"]
    artifact = Artifact(artifact_type=form, media_type=form, blobs=(data,), annotations=told)
    with _telling(subject.ref):
        return writer.attach(repository, image, artifact).digest


def describe_subject(job: Job, environment: Environment, ref: str, digest: str | None = None) -> Subject:
    """Return the image of a cell as its documents name it."""
    return Subject(
        cell=job.cell.id,
        ref=ref,
        digest=digest,
        base_ref=job.base.ref,
        base_digest=job.base.digest,
        environment=environment,
        created=find_created(find_epoch(environment)),
    )


def make_artifact(kind: Kind, facts: Facts) -> Artifact:
    """Return one of the documents of an image."""
    told: dict[str, str] = {DOCUMENT: kind}
    if kind == "files":
        form, blobs = CYCLONEDX, tuple(it.data for it in facts.list_files())
    else:
        text, predicate = _dump(kind, facts)
        form, blobs = TYPES[kind], (text.encode(),)
        told |= {PREDICATE_TYPE: predicate} if predicate else {}
        told |= {UNPACKED: str(facts.measure())} if kind == "checks" else {}
    return Artifact(artifact_type=TYPES[kind], media_type=form, blobs=blobs, annotations=tuple(told.items()))


def digest_sources(project: Project, image: str) -> dict[str, str]:
    """Return the files that describe an image, by path in the project with `/`, with the sha256 of their bytes.

    One that is not there yet, the lock of an image that nobody has solved, is left out.
    """
    return {
        path.relative_to(project.root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in project.list_sources(image)
        if path.is_file()
    }


@contextmanager
def _telling(ref: str) -> Iterator[None]:
    """Say of a fault what was going on, and what else can be done where the registry takes no artifact at all."""
    try:
        yield
    except RegistryError as error:
        hint = f"{error.hint} {_HINT_NONE}" if isinstance(error, NoArtifactsError) else error.hint
        raise RegistryError(f"{ref}: its documents cannot be attached: {error.message}", hint=hint) from error


def _list_documents(
    registry: Registry, repository: str, digest: str, trusted: Collection[str] | None
) -> dict[Kind, str]:
    found: dict[Kind, str] = {}
    for it in registry.list_referrers(repository, digest):
        if trusted is None or it.digest in trusted:
            told = dict(it.annotations).get(DOCUMENT)
            found |= {kind: it.digest for kind in TYPES if kind == told}
    return found


def _dump(kind: Literal["cyclonedx", "spdx", "provenance", "checks"], facts: Facts) -> tuple[str, str]:
    """Return a document, and the type of its predicate where it is a statement."""
    from builder.sbom import cyclonedx, provenance, results, spdx  # the libraries of the formats are slow to import

    match kind:
        case "cyclonedx":
            return cyclonedx.dump_cyclonedx(facts.subject, facts.list_files()), ""
        case "spdx":
            return spdx.dump_spdx(facts.subject), ""
        case "provenance":
            told = provenance.dump_provenance(
                facts.subject, sources=facts.sources, builder_id=facts.builder_id, revision=facts.revision
            )
            return told, provenance.PREDICATE
        case "checks":
            told = results.dump_results(facts.subject, facts.find_verdicts(), checks=facts.checks)
            return told, results.PREDICATE
