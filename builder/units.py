"""Bytes as a person reads them."""

from __future__ import annotations


def format_bytes(size: float) -> str:
    """Return a number of bytes with its decimal unit: `233.6 MB`."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size / 1e3:.0f} kB"
