"""A bill of materials in SPDX 2.3, as JSON: the packages of an image and what they need.

It names no files: SPDX 2.3 wants a SHA-1 of each (section 8.4), which no record has and which would have to be read
from every byte of the image; and the library takes 4 s for 60,000 of them. CycloneDX has them.

Source: spdx.github.io/spdx-spec/v2.3.
"""

from __future__ import annotations

import re
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING

from builder import __version__
from builder.sbom.components import list_components
from builder.sbom.document import HOME, dump_document, name_document
from builder.sbom.subject import split_tag

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from license_expression import LicenseExpression
    from spdx_tools.spdx.model import Document, Package, Relationship

    from builder.sbom.components import Component
    from builder.sbom.subject import Subject

_ROOT = "SPDXRef-image"
_BASE = "SPDXRef-base"
_DOCUMENT = "SPDXRef-DOCUMENT"


def dump_spdx(subject: Subject) -> str:
    """Return the document of an image: the same bytes for the same image."""
    from spdx_tools.spdx.jsonschema.document_converter import DocumentConverter

    return dump_document(DocumentConverter().convert(make_document(subject)))  # type: ignore[no-untyped-call]


def make_document(subject: Subject) -> Document:
    """Return the document as the library has it, to be validated or written in SPDX's other formats."""
    from spdx_tools.spdx.model import Actor, ActorType, CreationInfo, Document

    components = list_components(subject.environment)
    info = CreationInfo(
        spdx_version="SPDX-2.3",
        spdx_id=_DOCUMENT,
        name=subject.ref,
        document_namespace=f"{HOME}/spdx/{subject.cell}-{name_document('spdx', subject)}",
        creators=[Actor(ActorType.TOOL, f"imgbuild-{__version__}")],
        created=subject.created.replace(tzinfo=None),  # the library takes it for UTC
    )
    return Document(
        info,
        packages=[
            _make_image(_ROOT, subject.ref, subject.digest, subject.purl),
            _make_image(_BASE, subject.base_ref, subject.base_digest, subject.base_purl),
            *map(_make_package, components),
        ],
        relationships=list(_relate(components)),
    )


def _relate(components: Iterable[Component]) -> Iterator[Relationship]:
    from spdx_tools.spdx.model import Relationship, RelationshipType

    yield Relationship(_DOCUMENT, RelationshipType.DESCRIBES, _ROOT)
    yield Relationship(_ROOT, RelationshipType.DESCENDANT_OF, _BASE)
    for it in components:
        yield Relationship(_ROOT, RelationshipType.CONTAINS, _identify(it.purl))
        for purl in it.needs:
            yield Relationship(_identify(it.purl), RelationshipType.DEPENDS_ON, _identify(purl))


def _make_package(component: Component) -> Package:
    from spdx_tools.spdx.model import Checksum, ChecksumAlgorithm, PackagePurpose

    algorithms = {"md5": ChecksumAlgorithm.MD5, "sha256": ChecksumAlgorithm.SHA256}
    package = _make_bare(_identify(component.purl), component.name, component.purl)
    package.version = component.version
    package.file_name = component.url.rpartition("/")[2]
    package.download_location = component.url
    package.checksums = [Checksum(algorithms[name], value) for name, value in component.hashes]
    package.primary_package_purpose = PackagePurpose.LIBRARY
    if (expression := _parse_license(component.license)) is not None:
        package.license_declared = expression
    elif component.license:
        package.license_comment = f"The package says: {component.license}"
    return package


def _make_image(spdx_id: str, ref: str, digest: str | None, purl: str) -> Package:
    from spdx_tools.spdx.model import Checksum, ChecksumAlgorithm, PackagePurpose

    repository, tag = split_tag(ref)
    package = _make_bare(spdx_id, repository, purl)
    package.version = tag
    package.checksums = [Checksum(ChecksumAlgorithm.SHA256, digest.removeprefix("sha256:"))] if digest else []
    package.primary_package_purpose = PackagePurpose.CONTAINER
    return package


def _make_bare(spdx_id: str, name: str, purl: str) -> Package:
    """Return a package of which only the name is known; the format wants the rest to be disowned."""
    from spdx_tools.spdx.model import ExternalPackageRef, ExternalPackageRefCategory, Package, SpdxNoAssertion

    manager = ExternalPackageRefCategory.PACKAGE_MANAGER
    return Package(
        spdx_id=spdx_id,
        name=name,
        download_location=SpdxNoAssertion(),
        supplier=SpdxNoAssertion(),
        files_analyzed=False,
        license_concluded=SpdxNoAssertion(),
        license_declared=SpdxNoAssertion(),
        copyright_text=SpdxNoAssertion(),
        external_references=[ExternalPackageRef(manager, "purl", purl)],
    )


def _identify(purl: str) -> str:
    """Return the id of a package within the document: readable, and unique where only the spelling differs."""
    kind, _, name = purl.removeprefix("pkg:").partition("@")[0].partition("/")
    return f"SPDXRef-{kind}-{re.sub('[^A-Za-z0-9.]+', '-', name)}-{sha256(purl.encode()).hexdigest()[:12]}"


@cache
def _parse_license(text: str | None) -> LicenseExpression | None:
    """Return what a package says of its licence as an SPDX expression, None where it is none or names unknown ones."""
    from license_expression import ExpressionError
    from spdx_tools.common.spdx_licensing import spdx_licensing

    try:
        return spdx_licensing.parse(text, validate=True, strict=True) if text else None
    except ExpressionError:
        return None
