"""Whether the marker of a requirement holds in an image. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.markers import Marker

LINUX = {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64", "os_name": "posix"}


def is_about_python(marker: Marker | None) -> bool:
    """Return whether a marker asks for a Python."""
    return marker is not None and "python_" in str(marker)


def holds(marker: Marker | None, python: str) -> bool:
    """Return whether a marker holds for the newest release of a Python (major.minor) on Linux."""
    about = {**LINUX, "python_version": python, "python_full_version": f"{python}.99"}
    return marker is None or marker.evaluate(about)
