"""What a later `pip install` in a container may not replace: torch and its libraries, and all that conda installed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

if TYPE_CHECKING:
    from collections.abc import Iterable

    from builder.lock import CondaPackage, Environment

_TORCH = re.compile(r"(torch|torchvision|torchaudio|triton|pytorch-triton|nvidia-.*)(-cu\d+)?")
"""The wheels that only work in the versions that were locked together."""


_PURL = re.compile(r"pkg:pypi/([^@?#]+)")
"""The name in the purl of a distribution, which may go on with a version and with where it is known from."""


def list_pins(environment: Environment) -> tuple[str, ...]:
    """Return the constraints of an environment for pip, `name==version`, sorted."""
    held = provided_distributions(environment.conda)
    held |= {wheel.name: wheel.version for wheel in environment.pip if _TORCH.fullmatch(wheel.name)}
    return tuple(f"{name}=={version}" for name, version in sorted(held.items()))


def provided_distributions(packages: Iterable[CondaPackage]) -> dict[str, str]:
    """Return the distributions that conda packages provide: normalized name → version, as PEP 440 writes it."""
    found: dict[str, str] = {}
    for package in packages:
        for name in list_distributions(package):
            try:
                found[name] = str(Version(package.version))
            except InvalidVersion:
                continue
    return found


def list_distributions(package: CondaPackage) -> tuple[str, ...]:
    """Return the normalized names of the distributions that a conda package provides."""
    found = map(_PURL.match, package.purls)
    return tuple(canonicalize_name(match[1]) for match in found if match)
