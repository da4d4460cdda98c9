"""Whether the marker of a requirement holds in an image. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.markers import Marker

LINUX = {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64", "os_name": "posix"}
LINUX |= {"implementation_name": "cpython", "platform_python_implementation": "CPython"}
LINUX |= {"platform_release": "", "platform_version": ""}  # those of a machine that nobody knows

_PYTHON = re.compile(r"\b(?:python_(?:full_)?|implementation_)version\b")


def is_about_python(marker: Marker | None) -> bool:
    """Return whether a marker asks for a Python."""
    return marker is not None and _PYTHON.search(str(marker)) is not None


def is_judgeable(marker: Marker | None) -> bool:
    """Return whether a marker can be judged: `python_version ~= "3"` cannot, by PEP 440."""
    try:
        holds(marker, "3.12")
    except (ValueError, RecursionError):  # what cannot be compared, has too many digits, or nests too deep
        return False
    return True


def holds(marker: Marker | None, python: str) -> bool:
    """Return whether a marker holds for the newest release of a Python (major.minor) on Linux."""
    newest = f"{python}.99"
    about = {**LINUX, "python_version": python, "python_full_version": newest, "implementation_version": newest}
    return marker is None or marker.evaluate(about)
