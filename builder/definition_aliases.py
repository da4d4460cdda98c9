"""What tags an image may have: those that imgbuild gives its cells, and the aliases of a definition, each for one."""

from __future__ import annotations

import re

from builder.definition_values import BadKeyError, BadValueError, read_each, read_text
from builder.definition_yaml import Value, quote

# github.com/opencontainers/distribution-spec, "Pulling manifests": what a tag may be.
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_PAIR = re.compile(r"(?:cpu|cu[1-9][0-9]+)-py3[0-9]+")

DIGITS = 12
"""Hexadecimal digits of a digest in a tag: as many as Git and docker show of theirs."""

CELL_TAG = re.compile(rf"(?:[0-9][0-9A-Za-z.]*-)?{_PAIR.pattern}")
LASTING_TAG = re.compile(rf"{CELL_TAG.pattern}-[0-9a-f]{{{DIGITS}}}")
"""The tags of cells, `2.7.1-cu118-py310` or `cpu-py310`, and those that never move."""

WAITING = "-staged"
"""What ends the tag of the image that waits for its test."""

WAITING_TAG = re.compile(LASTING_TAG.pattern + WAITING)


def read_aliases(value: Value) -> tuple[tuple[str, str], ...]:
    """Return each alias and what names its cell in a tag (`cu126-py311`), sorted by alias."""
    if not isinstance(value, dict) or not value:
        raise BadValueError("is not a mapping of tags to cells", "write  latest: cu126-py311  lines")
    return tuple(sorted(read_each(_read_alias, value.items())))


def _read_alias(alias: str, value: Value) -> tuple[str, str]:
    if not _TAG.fullmatch(alias):
        raise BadKeyError(f"{quote(alias)} cannot be a tag", "use letters, digits, _ . and -, at most 128")
    is_own = any(form.fullmatch(alias) for form in (CELL_TAG, LASTING_TAG, WAITING_TAG))
    if is_own and not _PAIR.fullmatch(alias):
        raise BadKeyError(f"{alias} is how imgbuild names cells", "choose a tag without a version, or another word")
    text = read_text(value)
    if not _PAIR.fullmatch(text):
        raise BadValueError(
            f"{quote(text)} names no cell", "write its CUDA and its Python:  cu126-py311  or  cpu-py311"
        )
    return alias, text
