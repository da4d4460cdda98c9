"""Where an image comes from: an in-toto statement with SLSA's provenance as its predicate.

Sources: slsa.dev/spec/v1.0/provenance; github.com/in-toto/attestation, spec/v1 (Statement, ResourceDescriptor,
DigestSet). What `buildType` means is written in docs/provenance.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from builder import __version__
from builder.errors import ImgbuildError
from builder.sbom.components import list_components
from builder.sbom.document import HOME, STATEMENT, dump_document, split_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.sbom.builders import Revision
    from builder.sbom.components import Component
    from builder.sbom.subject import Subject

BUILD_TYPE = f"{HOME}/buildtypes/image/v1"
"""How the parameters of a build are to be read: docs/provenance.md."""

PREDICATE = "https://slsa.dev/provenance/v1"


def dump_provenance(
    subject: Subject, *, sources: Mapping[str, str], builder_id: str, revision: Revision | None = None
) -> str:
    """Return the statement of one published image, as JSON: the same bytes for the same image.

    `sources` are the files that describe the image, by their path in the project with `/`: the definition, those that
    it extends, the lock; each with the sha256 of its bytes in hexadecimal digits. `builder_id` is the URI of who
    built and is trusted for it (slsa.dev, "builder.id"), `revision` what they say to have built from. Both times are
    the subject's: what an image is does not depend on when it was built. Raises ImgbuildError for an image without a
    digest, which nobody could verify.
    """
    if subject.digest is None:
        raise ImgbuildError(f"{subject.ref} has no digest to tell the provenance of", hint="push the image first.")
    created = subject.created.strftime("%Y-%m-%dT%H:%M:%SZ")
    files = [{"name": path, "digest": {"sha256": digest}} for path, digest in sorted(sources.items())]
    definition = {
        "buildType": BUILD_TYPE,
        "externalParameters": {"cell": subject.cell, "sources": files},
        "resolvedDependencies": [
            _describe_base(subject),
            *([_describe_revision(revision)] if revision else []),
            *map(_describe_package, list_components(subject.environment)),
        ],
    }
    run = {
        "builder": {"id": builder_id, "version": {"imgbuild": __version__}},
        "metadata": {"startedOn": created, "finishedOn": created},
    }
    statement = {
        "_type": STATEMENT,
        "subject": [{"name": subject.ref, "digest": split_digest(subject.digest)}],
        "predicateType": PREDICATE,
        "predicate": {"buildDefinition": definition, "runDetails": run},
    }
    return dump_document(statement)


def _describe_base(subject: Subject) -> dict[str, Any]:
    digest = {"digest": split_digest(subject.base_digest)} if subject.base_digest else {}
    return {"name": "base", "uri": subject.base_purl, **digest}


def _describe_revision(revision: Revision) -> dict[str, Any]:
    return {"name": "source", "uri": revision.uri, "digest": {"gitCommit": revision.commit}}


def _describe_package(component: Component) -> dict[str, Any]:
    return {"name": component.name, "uri": component.url, "digest": dict(component.hashes)}
