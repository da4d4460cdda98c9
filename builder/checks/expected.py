"""What the checks compare an image with: its cell, its lock, and what its definition promises."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from builder.definition_packages import name_conda, name_pip
from builder.pins import list_pins

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builder.inputs import Job
    from builder.lock import Environment

_LIBRARIES = ("cudnn", "nccl")
_WHEEL = re.compile(rf"nvidia-({'|'.join(_LIBRARIES)})-cu[0-9]+")


def describe_cell(
    job: Job, environment: Environment, prefix: str, config: Mapping[str, Any], history: Sequence[str]
) -> dict[str, Any]:
    """Return what the scripts read of a cell, as JSON values.

    `config` and `history` are its image's, as the engine has them.
    """
    cell, definition = job.cell, job.definition
    requested = {
        *map(name_conda, definition.conda),
        *(name_pip(spec).partition(";")[0].strip() for spec in definition.pip),
    }
    return {
        "prefix": prefix,
        "labels": dict(config.get("Labels") or {}),
        "history": list(history),
        "volumes": sorted(config.get("Volumes") or {}),
        "command": list(definition.command),
        "pkgs-dir": job.base.pkgs_dir,
        "python": next(package.version for package in environment.conda if package.name == "python"),
        "cuda": str(cell.cuda) if cell.cuda else None,
        "torch": str(cell.torch) if cell.torch else None,
        "libraries": _find_libraries(environment),
        "arches": list(job.arches),
        "conda": [(package.name, package.version, package.build, package.url) for package in environment.conda],
        "pip": [(package.name, package.version) for package in environment.pip],
        "requested": sorted(requested),
        "constraints": list(list_pins(environment)),
        "max-size": definition.max_size,
    }


def _find_libraries(environment: Environment) -> dict[str, str]:
    """Return the versions of cuDNN and NCCL that torch loads: of wheels, which come with torch's, else of conda."""
    found = {package.name: package.version for package in environment.conda if package.name in _LIBRARIES}
    for package in environment.pip:
        if match := _WHEEL.fullmatch(package.name):
            found[match[1]] = package.version
    return found
