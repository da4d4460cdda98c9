"""The result of a run: what was built, on what, and the figures of each way, as values and as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from benchmarks.dockerfiles import Target
    from benchmarks.install_time import InstallTime
    from benchmarks.measure import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """What was built: `naive_bytes` is every cell's packages, `unique_bytes` every distinct package once."""

    title: str
    cells: int
    naive_bytes: int
    unique_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """All figures of one run."""

    input: Input
    cores: int
    docker: str
    buildx: str
    rows: tuple[Row, ...]
    installs: tuple[InstallTime, ...]


def describe_input(title: str, targets: Sequence[Target]) -> Input:
    """Return the input that the cells are; sizes are those of the packages as they are downloaded."""
    packages = [package for target in targets for package in target.packages]
    return Input(
        title=title,
        cells=len(targets),
        naive_bytes=sum(package.size or 0 for package in packages),
        unique_bytes=sum({package.url: package.size or 0 for package in packages}.values()),
    )


def make_result(described: Input, rows: Iterable[Row], installs: Iterable[InstallTime]) -> Result:
    """Return the figures with what they were measured on."""
    return Result(
        input=described,
        cores=len(os.sched_getaffinity(0)),
        docker=_ask("dockerd", "--version"),
        buildx=_ask("docker", "buildx", "version"),
        rows=tuple(rows),
        installs=tuple(installs),
    )


def write_result(result: Result, path: Path) -> None:
    """Write a result as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dataclasses.asdict(result), indent=1) + "\n", encoding="utf-8")


def _ask(*argv: str) -> str:
    return subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
