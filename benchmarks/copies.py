"""What a replica of the sample consists of: every package by name, version, build and dependencies, scaled down. Pure.

Its Pythons are the three that the kit can make, and so are the libraries that these need: they have to run. Some
packages become wheels, as they are in images of today: a few pure ones, a few that are built for each Python, and
CUDA's libraries as NVIDIA publishes them for pip. Which cells share which package stays as it is in the sample.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from benchmarks.archives import File
from tests.kit.native import CERTIFICATES, LIBRARIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from benchmarks.sample import SampleCell, SamplePackage

PYTHONS = {"3.8": "3.9", "3.9": "3.11", "3.10": "3.13"}
"""The kit's Python in place of each of the sample's."""

KIT = frozenset({"python", "pip", "setuptools", "wheel", *(library.name for library in (*LIBRARIES, CERTIFICATES))})
"""The packages that are the kit's own in every cell."""

PURE = frozenset(
    {
        "bleach",
        "defusedxml",
        "json5",
        "mistune",
        "prometheus_client",
        "python-json-logger",
        "send2trash",
        "tinycss2",
        "webcolors",
        "websocket-client",
    }
)
PER_PYTHON = frozenset({"pillow", "torchaudio", "torchvision"})
NVIDIA = frozenset({"libcublas", "libcufft", "libcurand", "libcusolver", "libcusparse"})

BUMPED = {"pip": "bleach", "conda": "zstd"}
"""The package of each manager that a newer version comes out of: a small one, in every cell."""

LARGE = 65_536
"""Content of more bytes than this is in several files."""

MODULE = 20_000
"""A Python package has one module for so many bytes, and never more than `MODULES`."""

MODULES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One package of the replica; `size` is the bytes of its content.

    `python` is the Python whose site-packages it lands in, where it is made for one. `tag` is a wheel's, else empty.
    """

    name: str
    version: str
    build: str = ""
    subdir: str = ""
    noarch: str | None = None
    depends: tuple[str, ...] = ()
    size: int
    python: str = ""
    tag: str = ""

    @property
    def path(self) -> str:
        """Where the archive lies in the replica's folder, and below its server's address."""
        if self.tag:
            file = f"{self.name.replace('-', '_')}-{self.version}-{self.tag}.whl"
            return f"simple/{self.name}/{file}"
        return f"conda/{self.subdir}/{self.name}-{self.version}-{self.build}.conda"

    @property
    def index(self) -> dict[str, object]:
        """What `info/index.json` of the conda package says."""
        index: dict[str, object] = {
            "arch": None if self.noarch else "x86_64",
            "build": self.build,
            "build_number": 0,
            "depends": list(self.depends),
            "name": self.name,
            "platform": None if self.noarch else "linux",
            "subdir": self.subdir,
            "version": self.version,
        }
        return {**index, "noarch": self.noarch} if self.noarch else index


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaCell:
    """One cell of the replica: what it has beside the kit's packages."""

    python: str
    cuda: str
    copies: tuple[Copy, ...]


def plan_copies(cells: Iterable[SampleCell], factor: int) -> tuple[ReplicaCell, ...]:
    """Return the cells of a replica whose packages have a `factor`-th of their size."""
    return tuple(
        ReplicaCell(
            python=PYTHONS[cell.python],
            cuda=cell.cuda,
            copies=tuple(copy_package(package, cell, factor) for package in cell.packages if package.name not in KIT),
        )
        for cell in cells
    )


def copy_package(package: SamplePackage, cell: SampleCell, factor: int) -> Copy:
    """Return the copy of a package in a cell; it is the same in every cell with which the sample shares it."""
    python, size = PYTHONS[cell.python], max(package.size // factor, 1)
    digits = python.replace(".", "")
    if package.name in NVIDIA:
        name = f"nvidia-{package.name.removeprefix('lib')}-cu{cell.cuda.partition('.')[0]}"
        return Copy(name=name, version=package.version, size=size, tag="py3-none-manylinux2014_x86_64")
    if package.name in PER_PYTHON:
        tag = f"cp{digits}-cp{digits}-manylinux2014_x86_64"
        return Copy(name=package.name, version=package.version, size=size, tag=tag, python=python)
    if package.name in PURE:
        return Copy(name=canonicalize_name(package.name), version=package.version, size=size, tag="py3-none-any")
    # Which Python a package pins is another one here; an explicit list is installed without solving.
    unpinned = (spec.split()[0] if spec.split()[0] in ("python", "python_abi") else spec for spec in package.depends)
    return Copy(
        name=package.name,
        version=package.version,
        build=package.build,
        subdir=package.subdir,
        noarch=package.noarch,
        depends=tuple(unpinned),
        size=size,
        python=python if "python" in package.needs and not package.noarch else "",
    )


def bump(copy: Copy) -> Copy:
    """Return the next version of a package: of the same size, with other content."""
    return replace(copy, version=f"{copy.version}.1")


def write_files(copy: Copy) -> Iterator[File]:
    """Yield the files of a package: content that cannot be compressed, and Python modules where there is a Python."""
    folder, most = _choose_folder(copy)
    modules = min(copy.size // MODULE + 1, most)
    left = copy.size
    for number in range(modules):
        name = f"part{number}" if number else "__init__"
        text = "\n\n\n".join(f"def step_{number}_{row}(value):\n    return value + {row}" for row in range(20)) + "\n"
        left -= len(text)
        yield File(path=f"{folder}/{name}.py", data=text.encode())
    pieces = 4 if left > LARGE else 1
    for piece in range(pieces):
        seed = f"{copy.path}#{piece}".encode()
        data = hashlib.shake_128(seed).digest(max(left // pieces, 1))
        yield File(path=f"{folder}/data-{piece}.bin", data=data)


def _choose_folder(copy: Copy) -> tuple[str, int]:
    """Return where the files of a package lie in its archive, and how many modules there may be among them."""
    module = copy.name.replace("-", "_")
    if copy.name.startswith("nvidia-"):
        return f"nvidia/{module.split('_')[1]}", 1
    if copy.tag:
        return module, MODULES
    if copy.python:
        return f"lib/python{copy.python}/site-packages/{module}", MODULES
    if copy.noarch == "python" and "python" in {spec.split()[0] for spec in copy.depends}:
        return f"site-packages/{module}", MODULES
    return f"{'share' if copy.noarch else 'lib'}/{copy.name}", 0
