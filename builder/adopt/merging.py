"""Two specs of one package become one, as a definition names a package once."""

from __future__ import annotations

import re

from packaging.requirements import Requirement

_CONDA = re.compile(r"(?P<name>[^ =<>!~\[]+) ?(?P<range>[^ \[|]*)")


def merge_conda(first: str, second: str) -> str | None:
    """Return the conda spec that asks for both, or None where they have builds, channels or alternatives."""
    one, other = _CONDA.fullmatch(first), _CONDA.fullmatch(second)
    if first == second or not (one and other) or one["name"] != other["name"]:
        return first if first == second else None
    ranges = [found["range"] for found in (one, other) if found["range"]]
    if any(re.search(r"[\w*]=(?!=)", it) for it in ranges):  # a build
        return None
    if len(ranges) < 2:
        return first if one["range"] else second
    return f"{one['name']} {','.join(dict.fromkeys(ranges))}"


def merge_pip(first: str, second: str) -> str:
    """Return the requirement of both versions and all extras of two that have the same name and marker."""
    one, other = Requirement(first), Requirement(second)
    one.specifier &= other.specifier
    one.extras |= other.extras
    return str(one)
