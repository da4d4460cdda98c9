"""A bill of materials in CycloneDX 1.6, as JSON: the packages of an image and what they need.

Their files are in documents of their own, which it links to. Source: cyclonedx.org/docs/1.6/json.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from builder import __version__
from builder.sbom.components import list_components
from builder.sbom.document import dump_document, name_document
from builder.sbom.subject import split_tag

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cyclonedx.model import ExternalReference
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component as Node

    from builder.sbom.components import Component
    from builder.sbom.files import FileList
    from builder.sbom.subject import Subject


def dump_cyclonedx(subject: Subject, lists: Sequence[FileList] = ()) -> str:
    """Return the document of an image, which links to lists of its files: the same bytes for the same image."""
    from cyclonedx.output.json import JsonV1Dot6

    bom = _make_bom(subject, list_components(subject.environment), lists)
    data: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    data["serialNumber"] = name_document("cyclonedx", subject, [it.link for it in lists]).urn
    return dump_document(data)


def _make_bom(subject: Subject, components: Iterable[Component], lists: Iterable[FileList]) -> Bom:
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component as Node
    from cyclonedx.model.component import ComponentType
    from cyclonedx.model.dependency import Dependency
    from cyclonedx.model.license import LicenseAcknowledgement

    make_license = partial(LicenseFactory().make_from_string, license_acknowledgement=LicenseAcknowledgement.DECLARED)
    licenses = {text: make_license(text) for it in components if (text := it.license)}
    nodes = [_make_node(it, [licenses[it.license]] if it.license else []) for it in components]
    root = _make_image("image", subject.ref, subject.purl)
    base = _make_image("base", subject.base_ref, subject.base_purl)
    by_purl = {it.purl: Dependency(node.bom_ref) for it, node in zip(components, nodes, strict=True)}
    tool = Node(name="imgbuild", version=__version__, type=ComponentType.APPLICATION)
    metadata = BomMetaData(component=root, timestamp=subject.created)
    metadata.tools.components.add(tool)
    graph = [Dependency(by_purl[it.purl].ref, [by_purl[purl] for purl in it.needs]) for it in components]
    everything = [Dependency(base.bom_ref), *by_purl.values()]
    return Bom(
        metadata=metadata,
        components=[base, *nodes],
        dependencies=[Dependency(root.bom_ref, everything), Dependency(base.bom_ref), *graph],
        external_references=map(_make_link, lists),
    )


def _make_node(component: Component, licenses: Iterable[Any]) -> Node:
    from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
    from cyclonedx.model.component import Component as Node
    from cyclonedx.model.component import ComponentType
    from packageurl import PackageURL

    algorithms = {"md5": HashAlgorithm.MD5, "sha256": HashAlgorithm.SHA_256}
    return Node(
        type=ComponentType.LIBRARY,
        name=component.name,
        version=component.version,
        bom_ref=f"{component.kind}:{component.name}",
        purl=PackageURL.from_string(component.purl),
        hashes=[HashType(alg=algorithms[name], content=value) for name, value in component.hashes],
        licenses=licenses,
        external_references=[ExternalReference(type=ExternalReferenceType.DISTRIBUTION, url=XsUri(component.url))],
    )


def _make_image(bom_ref: str, ref: str, purl: str) -> Node:
    from cyclonedx.model.component import Component as Node
    from cyclonedx.model.component import ComponentType
    from packageurl import PackageURL

    repository, tag = split_tag(ref)
    return Node(
        type=ComponentType.CONTAINER,
        name=repository,
        version=tag,
        bom_ref=bom_ref,
        purl=PackageURL.from_string(purl),
    )


def _make_link(files: FileList) -> ExternalReference:
    from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri

    digest = HashType(alg=HashAlgorithm.SHA_256, content=files.sha256)
    return ExternalReference(type=ExternalReferenceType.BOM, url=XsUri(files.link), hashes=[digest])
