"""Ask registries what bases are now that no digest pins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from builder.errors import RegistryError
from builder.logins import read_logins
from builder.registry.client import Registry
from builder.registry.image import PublishedImage, read_image
from builder.registry.place import find_place, parse_ref

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from builder.definition import Base
    from builder.sources import Sources

BasesNow = Mapping[str, PublishedImage | RegistryError]
"""What bases are now, by their keys, or why that cannot be told."""


def read_bases(bases: Iterable[Base], sources: Sources, *, insecure: Collection[str] = ()) -> BasesNow:
    """Return what each base without a digest is now, at the place where the sources have it.

    The registries at the hosts that are `insecure` are spoken to without TLS. No error tells credentials, or the host
    of a mirror.
    """
    moving = {base.key: base for base in bases if not base.digest}
    return {key: _read_base(base, sources, insecure) for key, base in moving.items()}


def _read_base(base: Base, sources: Sources, insecure: Collection[str]) -> PublishedImage | RegistryError:
    mirror = sources.base_ref(base.key)
    try:
        ref = parse_ref(mirror or base.ref)
        place = find_place(ref.host, sources, insecure=ref.host in insecure)
        with Registry(place, read_logins()) as registry:
            if image := read_image(registry, ref.repository, ref.target):
                return image
        raise RegistryError(f"{ref} is not in the registry")
    except RegistryError as error:
        told = sources.redact(error.message)
        return RegistryError(told.replace(mirror.partition("/")[0], f"<{sources.name} mirror>") if mirror else told)
