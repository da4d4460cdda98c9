"""The files of an image by package, in lists that images share: one for the packages of each layer.

A list says nothing of its image, so those of a layer that many images have are one, and a registry has it once. With
every file in each image's own bill of materials a newer package would cost a registry little besides such bills.

Each list is a document in CycloneDX 1.6 with the files as `evidence.occurrences` of their package, which is where the
format tells that a component was found. They are plain mappings: the library needs 1.6 s for the objects of 60,000
files, these 0.1 s. The format's own validator reads them in the tests.

Source: cyclonedx.org/docs/1.6/json.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, UUID, uuid5

from packaging.utils import canonicalize_name

from builder.artifacts import Kind
from builder.sbom.components import list_components
from builder.sbom.document import HOME, dump_document

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from builder.layers import Layer
    from builder.lock import Environment
    from builder.sbom.components import Component
    from builder.sbom.inventory import Inventory


@dataclass(frozen=True, slots=True, kw_only=True)
class FileList:
    """A list of files: the document, and the UUID that names it."""

    name: UUID
    data: bytes

    @property
    def link(self) -> str:
        """How other documents name it. Source: cyclonedx.org/capabilities/bomlink."""
        return f"urn:cdx:{self.name}/1"

    @property
    def sha256(self) -> str:
        """The SHA-256 of the document, in hexadecimal digits."""
        return hashlib.sha256(self.data).hexdigest()


def list_files(environment: Environment, layers: Iterable[Layer], inventory: Inventory) -> tuple[FileList, ...]:
    """Return every file of an image: a list for each layer that brought packages, and one of the files of none.

    A package is told with the last layer that has something of it.
    """
    files = {(package.kind, package.name): package.files for package in inventory.packages}
    layer_of = {
        _find_package(artifact.kind, artifact.name): layer.id for layer in layers for artifact in layer.artifacts
    }
    groups: dict[str, list[dict[str, Any]]] = {}
    for it in list_components(environment):
        key = it.kind, it.name
        groups.setdefault(layer_of[key], []).append(_describe(it, inventory.prefix, files[key]))
    loose = [{"type": "file", "name": f"{inventory.prefix}/{path}"} for path in inventory.unclaimed]
    return tuple(_make_list(components) for components in (*groups.values(), loose) if components)


def _find_package(kind: Kind, name: str) -> tuple[str, str]:
    return ("conda", name) if kind is Kind.CONDA else ("pypi", canonicalize_name(name))


def _describe(component: Component, prefix: str, files: Iterable[str]) -> dict[str, Any]:
    return {
        "type": "library",
        "name": component.name,
        "version": component.version,
        "purl": component.purl,
        "evidence": {"occurrences": [{"location": f"{prefix}/{path}"} for path in files]},
    }


def _make_list(components: Sequence[dict[str, Any]]) -> FileList:
    name = uuid5(NAMESPACE_URL, f"{HOME} files {dump_document({'components': components})}")
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": name.urn,
        "version": 1,
        "components": components,
    }
    return FileList(name=name, data=dump_document(document).encode())
