"""Which packages a published image has: from the lock that it was made from, or a bill of materials attached to it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from builder.attach import CYCLONEDX
from builder.errors import LockError
from builder.lock import FILE_NAME, read_lock
from builder.locking import cache_dir
from builder.registry.attached import list_attached, read_first
from builder.registry.content import ContentError, clean, parse_object
from builder.render import LABEL, digest_packages
from builder.site.entries import Package
from builder.site.published import list_packages

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from builder.lock import Environment
    from builder.registry.client import Registry
    from builder.registry.content import Descriptor
    from builder.registry.image import PublishedImage

_KINDS: dict[str, Literal["conda", "pip"]] = {"pkg:conda/": "conda", "pkg:pypi/": "pip"}
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """The packages of an image, by kind and name, and in words where that is known from."""

    packages: tuple[Package, ...]
    origin: str


def read_contents(
    registry: Registry, repository: str, image: PublishedImage, *, lock: Path | None, root: Path
) -> Contents | None:
    """Return the packages of an image, None where nothing tells them.

    The lock that is given counts; else the one under `root` that the image was made from, or what is attached.
    Raises LockError when the lock that is given is not the image's, and RegistryError.
    """
    if lock is not None:
        found = _find_environment(lock, image)
        if found is None:
            hint = "give the lock as it was when the image was built, or leave it out."
            raise LockError("no environment in it is the one that the image was made from", path=lock, hint=hint)
        return Contents(packages=list_packages(found), origin=f"{lock}")
    name = image.labels.get(f"{LABEL}.image", "")
    own = root / "images" / name / FILE_NAME
    if _NAME.fullmatch(name) and (found := _find_environment(own, image)):
        return Contents(packages=list_packages(found), origin=f"{own}")
    attached = read_bill(registry, repository, image, list_attached(registry, repository, image))
    return None if attached is None else Contents(packages=attached, origin="the attached bill of materials")


def parse_bill(data: bytes, where: str) -> tuple[Package, ...]:
    """Return the conda and pip packages that a CycloneDX document lists. Raises ContentError."""
    components = parse_object(data, where).get("components") or []
    try:
        found = {_sort_key(package): package for it in components if (package := _parse_component(it))}
    except (AttributeError, KeyError, TypeError) as error:
        hint = "`imgbuild diff` takes the image's lock in its place: --lock-a, --lock-b."
        raise ContentError(f"{where}: it is no bill of materials in CycloneDX", hint=hint) from error
    return tuple(found[key] for key in sorted(found))


def _find_environment(path: Path, image: PublishedImage) -> Environment | None:
    told = image.labels.get(f"{LABEL}.packages")
    return next((it for it in read_lock(path, cache_dir()).environments if digest_packages(it) == told), None)


def read_bill(
    registry: Registry, repository: str, image: PublishedImage, attached: Iterable[Descriptor]
) -> tuple[Package, ...] | None:
    """Return the packages in the bill of materials among what is attached to an image, None where there is none.

    Raises RegistryError, and ContentError.
    """
    data = read_first(registry, repository, (it for it in attached if it.artifact_type == CYCLONEDX))
    return None if data is None else parse_bill(data, f"{registry.host}: {repository}: {image.digest}")


def _parse_component(node: Any) -> Package | None:
    purl = str(node.get("purl") or "")
    for prefix, kind in _KINDS.items():
        if purl.startswith(prefix):
            return Package(name=clean(str(node["name"])), version=clean(str(node.get("version") or "")), kind=kind)
    return None


def _sort_key(package: Package) -> tuple[str, str]:
    return package.kind, package.name
