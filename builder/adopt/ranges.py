"""Which of the known releases a version range of conda or pip allows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet

if TYPE_CHECKING:
    from packaging.version import Version

    from builder.adopt.place import Place

_PART = re.compile(r"(?P<operator>==|!=|<=|>=|~=|<|>|=)?\s*(?P<version>[0-9]{1,9}(?:\.[0-9]{1,9})*)(?P<star>\.?\*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """A range as it stands in a file: a release is in it when any of `either` has it."""

    place: Place
    text: str
    either: tuple[SpecifierSet, ...]

    def holds(self, release: Version) -> bool:
        """Return whether a whole release, such as torch 2.7.1, is in the range."""
        return any(it.contains(release) for it in self.either)

    def holds_minor(self, minor: Version) -> bool:
        """Return whether the newest release of a minor version, such as Python 3.11, or its first is in the range."""
        return any(it.contains(f"{minor}.99") or it.contains(minor) for it in self.either)


def read_range(spec: str, place: Place, text: str, *, parts: int = 3) -> Range:
    """Return the range that a version spec means: `=1.2`, `1.2.*`, `>=1.2,<2`, `3.10|3.11`, nothing at all.

    A version without an operator, and one after a single =, is what begins so (docs.conda.io, "Package match
    specifications"); an exact version counts by its first `parts` numbers. Raises ValueError for what is no range.
    """
    return Range(place=place, text=text, either=tuple(_read_all(it, parts) for it in spec.split("|")))


def _read_all(spec: str, parts: int) -> SpecifierSet:
    words = [word.strip() for word in spec.split(",")]
    return SpecifierSet(",".join(_read_part(word, parts) for word in words if word not in {"", "*"}))


def _read_part(word: str, parts: int) -> str:
    found = _PART.fullmatch(word)
    if not found:
        raise ValueError(f"{word} is no version range")
    operator, version = found["operator"] or "=", found["version"]
    if operator in {"=", "=="}:
        exact = operator == "==" and not found["star"] and parts > version.count(".")
        return f"=={'.'.join(version.split('.')[:parts])}" + ("" if exact and parts > 2 else ".*")
    return f"{operator}{version}" + (".*" if found["star"] and operator == "!=" else "")


def write_public(specifier: str) -> str:
    """Return a specifier without local versions, and with == for what is compared as text."""
    return re.sub(r"===?", "==", re.sub(r"\+[\w.]+", "", specifier))
