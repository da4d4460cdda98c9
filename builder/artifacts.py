"""What a cell installs, piece by piece: what it is, where it lands, and what has to be there before it.

Two cells can share a layer when they have the same artifacts. A conda package without Python lands in `lib`, whatever
the Python, so it is the same artifact everywhere. A noarch Python package and a wheel land in `lib/pythonX.Y`, so the
same file is another artifact for each X.Y. NVIDIA's wheels hold shared libraries alone: they are unpacked once into a
Python-neutral folder (`NEUTRAL`), and each Python gets a link to that folder and their metadata (`LINK`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from statistics import median
from typing import TYPE_CHECKING
from urllib.parse import unquote

from builder.channels import PYPI_FILE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from builder.lock import CondaPackage, Environment, PipPackage


class Kind(Enum):
    """How an artifact gets into the environment."""

    CONDA = "conda"
    WHEEL = "wheel"
    NEUTRAL = "neutral"
    LINK = "link"


class Need(Enum):
    """What an artifact has to do with Python, which decides what may stand before what."""

    NONE = "none"  # knows no Python; it may stand anywhere
    RUNTIME = "runtime"  # Python cannot run without it: stands before Python, or beside it
    PYTHON = "python"  # Python itself
    PYTHON_NEEDED = "python-needed"  # is installed with the help of Python: stands after it, or beside it


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Artifact:
    """One piece of an environment. `key` is its identity: where its bytes come from and where they land.

    `lands` tells apart what is the same download at another place. `digest` is the sha256 of the download, md5 where a
    lock has no other. `size` is its bytes, None where the lock does not tell. `needs` are the conda packages that it
    depends on, by name. `index` is where pip finds it, as a folder of PyTorch's wheel index; empty is pip's own index.
    """

    kind: Kind
    need: Need
    name: str
    version: str
    url: str
    digest: str
    lands: str = ""
    size: int | None
    needs: tuple[str, ...] = ()
    index: str = ""
    key: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", f"{self.url}#{self.digest} {self.kind.value} {self.lands}".rstrip())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Artifact) and other.key == self.key

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def download(self) -> tuple[str, str]:
        """Where its bytes come from, and their digest."""
        return self.url, self.digest

    @property
    def slot(self) -> str:
        """What only one version can fill at a time: installing another one there replaces it."""
        return f"{self.kind.value}:{self.name}"


LINK_SIZE = 32_768
"""Bytes that one neutral wheel's metadata takes for each Python: the median of NVIDIA's wheels for CUDA 12.6."""


_NEUTRAL = re.compile(r"^nvidia_.*-py3-none-(?!any)[^-]+\.whl$")


def list_artifacts(environment: Environment, *, neutral: bool = True, index: str = "") -> tuple[Artifact, ...]:
    """Return the artifacts of an environment, sorted.

    `neutral` is False for a base that cannot unpack wheels without the environment's Python. `index` is the folder of
    PyTorch's wheel index that was asked beside PyPI.
    """
    python = next((f"python{_minor(package)}" for package in environment.conda if package.name == "python"), "")
    needs = _classify(environment.conda)
    found = [_conda_artifact(package, needs[package.name], python) for package in environment.conda]
    for wheel in environment.pip:
        kinds = (Kind.NEUTRAL, Kind.LINK) if neutral and is_neutral(wheel) else (Kind.WHEEL,)
        source = "" if PYPI_FILE.search(wheel.url) else index
        found += [_wheel_artifact(wheel, kind, python, source) for kind in kinds]
    return tuple(sorted(found, key=lambda artifact: artifact.key))


def is_neutral(wheel: PipPackage) -> bool:
    """Return whether a wheel has nothing but NVIDIA's libraries, for whatever Python 3."""
    address = re.split("[?#]", wheel.url, maxsplit=1)[0]
    return bool(_NEUTRAL.match(unquote(address.rpartition("/")[2])))


def assume_size(artifacts: Iterable[Artifact]) -> int:
    """Return the bytes to reckon with for a package of unknown size: the median of the others, 1 MB without any.

    Links are no packages: what they weigh is known of all.
    """
    known = [artifact.size for artifact in artifacts if artifact.size is not None and artifact.kind is not Kind.LINK]
    return int(median(known)) if known else 1_000_000


def sum_sizes(artifacts: Iterable[Artifact], unknown: int) -> int:
    """Return the bytes of artifacts; `unknown` counts for one whose size is not known."""
    return sum(unknown if artifact.size is None else artifact.size for artifact in artifacts)


def _classify(packages: tuple[CondaPackage, ...]) -> dict[str, Need]:
    """Return what each conda package has to do with Python, by its name.

    A metapackage may pin a build for one Python without naming Python: so dependents of what needs it need it too.
    """
    by_name = {package.name: package for package in packages}
    runtime = _reach({"python"}, {name: package.needs - {"pip"} for name, package in by_name.items()})
    dependents: dict[str, set[str]] = {}
    for package in packages:
        for needed in package.needs:
            dependents.setdefault(needed, set()).add(package.name)
    direct = {package.name for package in packages if package.needs_python or package.noarch == "python"}
    needy = _reach(direct, dependents)
    return {name: _need(name, runtime, needy) for name in by_name}


def _need(name: str, runtime: set[str], needy: set[str]) -> Need:
    if name == "python":
        return Need.PYTHON
    if name in needy:
        return Need.PYTHON_NEEDED
    return Need.RUNTIME if name in runtime else Need.NONE


def _reach(start: set[str], edges: dict[str, frozenset[str]] | dict[str, set[str]]) -> set[str]:
    reached, ahead = set(start), list(start)
    while ahead:
        for name in edges.get(ahead.pop(), ()):
            if name not in reached:
                reached.add(name)
                ahead.append(name)
    return reached


def _minor(package: CondaPackage) -> str:
    return ".".join(package.version.split(".")[:2])


def _conda_artifact(package: CondaPackage, need: Need, python: str) -> Artifact:
    return Artifact(
        kind=Kind.CONDA,
        need=need,
        name=package.name,
        version=package.version,
        url=package.url,
        digest=package.sha256 or package.md5,
        lands=python if package.noarch == "python" else "",
        size=package.size or None,
        needs=tuple(sorted(package.needs)),
    )


def _wheel_artifact(wheel: PipPackage, kind: Kind, python: str, index: str) -> Artifact:
    return Artifact(
        kind=kind,
        need=Need.RUNTIME if kind is Kind.NEUTRAL else Need.PYTHON_NEEDED,
        name=wheel.name,
        version=wheel.version,
        url=wheel.url,
        digest=wheel.sha256,
        lands="" if kind is Kind.NEUTRAL else python,
        size=LINK_SIZE if kind is Kind.LINK else wheel.size,
        index=index,
    )
