"""A bill of materials in CycloneDX 1.6, as JSON: packages through the library, their files beside it.

The files are `evidence.occurrences` of their package, which is where the format tells that a component was found.
They are put into the finished document: the library needs 1.6 s for the objects of 60,000 files, plain mappings
0.1 s. The format's own validator reads the whole in the tests.

Source: cyclonedx.org/docs/1.6/json.
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
    from collections.abc import Iterable

    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component as Node

    from builder.sbom.components import Component
    from builder.sbom.inventory import Inventory
    from builder.sbom.subject import Subject


def dump_cyclonedx(subject: Subject, inventory: Inventory | None = None) -> str:
    """Return the document of an image: the same bytes for the same image. With an inventory it names all files."""
    from cyclonedx.output.json import JsonV1Dot6

    components = list_components(subject.environment)
    data: dict[str, Any] = json.loads(JsonV1Dot6(_make_bom(subject, components)).output_as_string())
    data["serialNumber"] = name_document("cyclonedx", subject, inventory).urn
    if inventory:
        _add_files(data, components, inventory)
    return dump_document(data)


def _make_bom(subject: Subject, components: Iterable[Component]) -> Bom:
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
        bom_ref=component.purl,
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


def _add_files(data: dict[str, Any], components: Iterable[Component], inventory: Inventory) -> None:
    """Give each package its files, and the image those of no package."""
    files = {(package.kind, package.name): package.files for package in inventory.packages}
    by_purl = {it.purl: files[it.kind, it.name] for it in components}
    for node in data["components"]:
        if found := by_purl.get(node["bom-ref"]):
            node["evidence"] = {"occurrences": [{"location": f"{inventory.prefix}/{path}"} for path in found]}
    if inventory.unclaimed:
        loose = [{"type": "file", "name": f"{inventory.prefix}/{path}"} for path in inventory.unclaimed]
        data["metadata"]["component"]["components"] = loose
