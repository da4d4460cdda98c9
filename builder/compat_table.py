"""The compatibility table as values: what a torch build and a driver are, read once from data/*.json.

The facts have their sources beside them in the files, which tools/generate_compat.py writes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from packaging.version import Version


class Source(StrEnum):
    """Where a torch build is published, in the order of preference: PyTorch's wheels record their GPU arches."""

    PYPI = "pypi"
    WHEELS = "wheels"
    CONDA_FORGE = "conda-forge"
    PYTORCH = "pytorch"


ALL_SOURCES = tuple(Source)


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """What NVIDIA driver a CUDA version needs: `minimum` runs its kernels, `toolkit` is the one it came with."""

    minimum: Version | None
    toolkit: Version | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchBuild:
    """One published build of torch. None means unknown, except that `cuda` is None for a CPU build.

    `python_trio` are the Pythons for which torchvision and torchaudio exist too; `arches` are what the build has
    kernels for (`sm_80`) or PTX for (`compute_120`); `known` is None when nobody verified that the build exists.
    """

    torch: Version
    cuda: Version | None
    source: Source
    known: bool | None
    wheel_index: str | None
    python: frozenset[Version]
    python_trio: frozenset[Version] | None
    arches: tuple[str, ...] | None
    torchvision: Version
    torchaudio: Version


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverTable:
    """Drivers by CUDA major version (`families`) and by toolkit release, and the CUDA versions that NVIDIA skipped."""

    families: dict[int, Version]
    toolkits: dict[Version, Version]
    never_released: frozenset[Version]


@cache
def load_drivers() -> DriverTable:
    """Return the driver table of data/drivers.json."""
    data = _read_data("drivers.json")
    return DriverTable(
        families={int(family): Version(driver) for family, driver in data["families"].items()},
        toolkits={Version(toolkit): Version(driver) for toolkit, driver in data["toolkits"].items()},
        never_released=frozenset(map(Version, data["never_released"])),
    )


def driver_for(cuda: Version) -> Driver:
    """Return the drivers of a CUDA version (major.minor): the family's minimum and the first known toolkit's own."""
    table = load_drivers()
    toolkits = sorted(toolkit for toolkit in table.toolkits if toolkit.release[:2] == cuda.release[:2])
    return Driver(
        minimum=table.families.get(cuda.major),
        toolkit=table.toolkits[toolkits[0]] if toolkits else None,
    )


@cache
def load_builds() -> tuple[TorchBuild, ...]:
    """Return every build of data/torch.json, newest torch first, then in the order of `Source`."""
    data = _read_data("torch.json")
    parse_version = cache(Version)
    parse_pythons = cache(lambda tags: frozenset(parse_version(tag) for tag in tags.split() if not tag.endswith("t")))

    def parse_optional(text: str | None) -> Version | None:
        return None if text is None else parse_version(text)

    builds = []
    for row in data["builds"]:
        release = data["releases"][row["torch"]]
        cuda = parse_optional(row["cuda"])
        builds.append(
            TorchBuild(
                torch=parse_version(row["torch"]),
                cuda=cuda,
                source=Source(row["source"]),
                known=row["known"],
                wheel_index=row["wheel_index"],
                python=parse_pythons(row["python"]),
                python_trio=None if row["python_trio"] is None else parse_pythons(row["python_trio"]),
                arches=None if row["arches"] is None else tuple(row["arches"].split()),
                torchvision=parse_version(release["torchvision"]),
                torchaudio=parse_version(release["torchaudio"]),
            )
        )
    builds.sort(key=lambda build: ALL_SOURCES.index(build.source))
    builds.sort(key=lambda build: build.torch, reverse=True)
    return tuple(builds)


def _read_data(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((Path(__file__).parent / "data" / name).read_text("utf-8"))
    return data
