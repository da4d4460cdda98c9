"""Which checks an image has to pass: the shipped scripts, and those beside its definition."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from builder.definition import Definition

_SCRIPTS = Path(__file__).parent / "scripts"
_OWN = "own_"
"""Begins the name of an image's own script in the container, where it lies beside the shipped ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """One script and the user it runs as (None: the image's default user), with the checks that it must report.

    A script of an image's own lies at `path`. It says itself which checks it has: `checks` is empty, and one at least
    has to be reported.
    One that is `alone` runs beside no other: it looks at what others write, or nobody knows what it does. One that is
    `bare` runs without the environment's packages, of which it needs none: no `sitecustomize` has run before it.
    """

    script: str
    user: str | None = None
    checks: tuple[str, ...] = ()
    alone: bool = False
    bare: bool = False
    path: Path | None = None

    def __str__(self) -> str:
        if self.path is None:
            return self.script
        return str(self.path.relative_to(self.path.parents[3]))  # images/NAME/checks/FILE.py, wherever the project is


SUITES = (
    Suite(
        script="leftovers.py",
        user="0",
        checks=("no-caches", "no-settings", "no-secrets", "no-setuid", "size"),
        alone=True,
        bare=True,
    ),
    Suite(
        script="packages.py",
        checks=(
            "python",
            "command",
            "user",
            "conda-packages",
            "pip-packages",
            "pip-check",
            "imports",
            "constraint",
        ),
    ),
    Suite(script="ownership.py", checks=("owners", "files", "bytecode"), bare=True),
    Suite(script="torch_build.py", checks=("torch", "arches", "cudnn")),
    Suite(
        script="gpu.py",
        checks=(
            "device",
            "memory",
            "matmul",
            "convolution",
            "libraries",
            "training",
            "compiled",
            "two-gpus",
        ),
    ),
)


def list_suites(definition: Definition) -> tuple[Suite, ...]:
    """Return the suites of an image: the shipped ones, then its own, by file name."""
    return (*SUITES, *(Suite(script=_OWN + path.name, alone=True, path=path) for path in definition.checks))


def read_scripts(definition: Definition) -> dict[str, bytes]:
    """Return the scripts of an image's suites, and what they import, by file name."""
    shipped = {path.name: path.read_bytes() for path in sorted(_SCRIPTS.glob("*.py"))}
    return shipped | {_OWN + path.name: path.read_bytes() for path in definition.checks}


def digest_checks(definition: Definition) -> str:
    """Return the digest (`sha256:…`) of all checks and their limits: an image that passed others is checked again."""
    limits = (definition.max_size, definition.gpu_arches)
    digest = hashlib.sha256(repr((SUITES, limits)).encode())
    for name, data in read_scripts(definition).items():
        digest.update(f"{name} {len(data)}\n".encode() + data)
    return f"sha256:{digest.hexdigest()}"
