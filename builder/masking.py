"""Take secrets out of a text, however their characters are written there."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MASK = "***"


def mask(text: str, secrets: Iterable[str]) -> str:
    """Return a text with stars for every secret: as it is, quoted for addresses (RFC 3986), or escaped for JSON."""
    known = frozenset(filter(None, secrets))
    return _find(known).sub(MASK, text) if known else text


@cache
def _find(secrets: frozenset[str]) -> re.Pattern[str]:
    # The longest first: one secret may be a part of another.
    ordered = sorted(secrets, key=lambda secret: (-len(secret), secret))
    return re.compile("|".join("".join(map(_spell, secret)) for secret in ordered))


def _spell(char: str) -> str:
    quoted = "".join(f"%{byte:02x}" for byte in char.encode("utf-8", "surrogatepass"))
    escaped = {json.dumps(char)[1:-1], *([f"\\{char}"] if char in "\"'\\" else [])} - {char}
    others = "|".join(map(re.escape, sorted(escaped | {quoted})))  # hexadecimal digits in either case
    return f"(?:{re.escape(char)}|(?i:{others}))"
