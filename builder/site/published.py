"""Fill the catalogue from a registry: what an image's labels say, and its packages where the lock is its own."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from builder.render import LABEL, OCI, digest_packages
from builder.site.entries import VERSION, Entry, Package, parse_entries

if TYPE_CHECKING:
    from collections.abc import Iterable

    from builder.lock import Environment
    from builder.registry.image import PublishedImage
    from builder.site.entries import CheckResult, Previous


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """An image in a registry, under its whole ref, and the locked environment of its cell as that is now, if any.

    `packages`, `verdicts`, `unpacked` (bytes) and `previous` are what else the registry tells of it.
    """

    ref: str
    image: PublishedImage
    environment: Environment | None
    packages: tuple[Package, ...] = ()
    verdicts: tuple[CheckResult, ...] = ()
    unpacked: int | None = None
    previous: Previous | None = None


def dump_entries(images: Iterable[Published]) -> str:
    """Return the file that `imgbuild site --from` reads, in the order given.

    Packages are those of the lock where it is the one that the image was made from, else of what is attached.
    """
    document = {"version": VERSION, "entries": [_make_node(it) for it in images]}
    return json.dumps(document, indent=1) + "\n"


def make_entries(images: Iterable[Published]) -> tuple[Entry, ...]:
    """Return the entries of published images. Raises ImgbuildError where a label is not what imgbuild writes."""
    return parse_entries(dump_entries(images).encode())


def _make_node(published: Published) -> dict[str, Any]:
    image = published.image
    told = {key.removeprefix(f"{LABEL}."): value for key, value in image.labels.items()}
    locked = published.environment
    is_own = locked is not None and digest_packages(locked) == told.get("packages")
    packages = list_packages(locked) if locked and is_own else published.packages
    created = find_time(image.labels.get(f"{OCI}.created"), image.created)
    has_gpu = told.get("cuda") != "cpu"
    return {
        "image": told.get("image"),
        "ref": published.ref,
        "digest": image.digest,
        "python": told.get("python"),
        "cuda": told.get("cuda"),
        "torch": told.get("torch"),
        "min_driver": told.get("driver") if has_gpu else None,
        "arches": told.get("arches", "").split() if has_gpu else [],
        "compressed": image.compressed,
        "unpacked": published.unpacked,
        "created": created and created.isoformat(),
        "revision": image.labels.get(f"{OCI}.revision"),
        "packages": [asdict(package) for package in packages],
        "verdicts": [asdict(verdict) for verdict in published.verdicts],
        "previous": asdict(published.previous) if published.previous else None,
    }


def list_packages(environment: Environment) -> tuple[Package, ...]:
    """Return the packages of an environment, by kind and name."""
    conda = [Package(name=it.name, version=it.version, kind="conda") for it in environment.conda]
    pip = [Package(name=it.name, version=it.version, kind="pip") for it in environment.pip]
    return tuple(sorted((*conda, *pip), key=attrgetter("kind", "name")))


def find_time(*texts: str | None) -> datetime | None:
    """Return the first text that is a time with its zone."""
    for text in filter(None, texts):
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            continue
        if found.tzinfo:
            return found
    return None
