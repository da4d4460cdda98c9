"""Which package each file of an environment belongs to, as the image itself told it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal

from packaging.utils import canonicalize_name

from builder.errors import CheckError

if TYPE_CHECKING:
    from builder.lock import Environment

_SHARED = ("claims.py", "records.py", "verdict.py")

SCRIPT = "inventory.py"
"""The script to run with the image's own Python; it prints what `parse_inventory` reads."""

_KINDS = ("conda", "pypi")
_HINT = "build the image again, and check it with `imgbuild test`."


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """The files of one installed package, as paths below the prefix, sorted.

    The name of a wheel is normalized, and its `build` is None.
    """

    kind: Literal["conda", "pypi"]
    name: str
    version: str
    build: str | None
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """Every file below `prefix`, by the package that it belongs to; `unclaimed` are those of none.

    A path that two conda packages bring is listed by both.
    """

    prefix: str
    packages: tuple[Owned, ...]
    unclaimed: tuple[str, ...]

    @property
    def share(self) -> float:
        """How much of all files has an owner, from 0 to 1."""
        named = len({path for package in self.packages for path in package.files})
        total = named + len(self.unclaimed)
        return named / total if total else 1.0


def read_scripts() -> dict[str, bytes]:
    """Return the script that makes an inventory, and what it imports, by file name: to lie in one folder."""
    root = resources.files("builder")
    shared = {name: (root / "checks" / "scripts" / name).read_bytes() for name in _SHARED}
    return {SCRIPT: (root / "sbom" / "scripts" / SCRIPT).read_bytes()} | shared


def parse_inventory(text: str, environment: Environment) -> Inventory:
    """Return the inventory that the script printed, of an image of this environment.

    Raises CheckError when the text is no inventory, or when the image has other packages than the lock.
    """
    lines = text.strip().splitlines()
    try:
        inventory = _parse(json.loads(lines[-1] if lines else ""))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckError("the image did not tell which package its files belong to", hint=_HINT) from error
    _require_same(inventory, environment)
    return inventory


def _parse(data: Any) -> Inventory:
    return Inventory(
        prefix=_text(data["prefix"]),
        packages=tuple(_parse_owned(package) for package in data["packages"]),
        unclaimed=_paths(data["unclaimed"]),
    )


def _parse_owned(data: Any) -> Owned:
    if data["kind"] not in _KINDS:
        raise ValueError(data["kind"])
    return Owned(
        kind=data["kind"],
        name=_text(data["name"]),
        version=_text(data["version"]),
        build=None if data["build"] is None else _text(data["build"]),
        files=_paths(data["files"]),
    )


def _paths(found: Any) -> tuple[str, ...]:
    if not isinstance(found, list):
        raise TypeError(found)
    return tuple(map(_text, found))


def _text(found: Any) -> str:
    if not isinstance(found, str):
        raise TypeError(found)
    return found


def _require_same(inventory: Inventory, environment: Environment) -> None:
    found = {(it.name, it.version, it.build or "wheel") for it in inventory.packages}
    locked = {(it.name, it.version, it.build) for it in environment.conda}
    locked |= {(canonicalize_name(it.name), it.version, "wheel") for it in environment.pip}
    if found != locked:
        package = min(found ^ locked)
        which = "is not in the lock" if package in found else "is in the lock and not in the image"
        raise CheckError(f"the image was built from another lock: {' '.join(package)} {which}", hint=_HINT)
