"""Conda packages of the native libraries that CPython needs, made from Debian's binary packages."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.kit.conda_package import Package, write_package
from tests.kit.debian import BASE_GLIBC, BASE_SUITE, download_packages, install_tools
from tests.kit.steps import Step

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kit.workspace import Workspace

GLIBC = f"__glibc >={BASE_GLIBC},<3.0.a0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """A conda package and the Debian packages whose shared libraries it holds; the first gives the version."""

    name: str
    debs: tuple[str, ...]
    license: str
    depends: tuple[str, ...] = ()


LIBRARIES = (
    Library(name="bzip2", debs=("libbz2-1.0",), license="bzip2-1.0.6"),
    Library(name="libffi", debs=("libffi8",), license="MIT"),
    Library(name="libuuid", debs=("libuuid1",), license="BSD-3-Clause"),
    Library(name="ncurses", debs=("libtinfo6", "libncursesw6"), license="X11"),
    Library(name="openssl", debs=("libssl3",), license="Apache-2.0", depends=("ca-certificates",)),
    Library(name="readline", debs=("libreadline8",), license="GPL-3.0-or-later", depends=("ncurses",)),
    Library(name="sqlite", debs=("libsqlite3-0",), license="blessing"),
    Library(name="xz", debs=("liblzma5",), license="0BSD"),
    Library(name="zlib", debs=("zlib1g",), license="Zlib"),
)
CERTIFICATES = Library(name="ca-certificates", debs=("ca-certificates",), license="MPL-2.0")


def read_upstream_version(debian: str) -> str:
    """Return the upstream part of a Debian version that conda can order: no epoch, revision or repacking suffix."""
    match = re.match(r"(?:\d+:)?(\d+(?:\.\d+)*)", debian)
    return match.group(1) if match else debian


def pin_library(name: str, version: str) -> str:
    """Return the dependency on a library: this version or newer, within its major version."""
    return f"{name} >={version},<{int(version.split('.')[0]) + 1}.0a0"


def copy_libraries(root: Path, tree: Path) -> None:
    """Copy the shared libraries of unpacked Debian packages into the tree's `lib`, links as links."""
    (tree / "lib").mkdir(parents=True, exist_ok=True)
    for folder in ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"):
        for path in sorted((root / folder).glob("*.so*")):
            shutil.copy2(path, tree / "lib" / path.name, follow_symlinks=False)


def copy_certificates(root: Path, tree: Path) -> None:
    """Write Mozilla's certificates as one file where conda's ca-certificates has them."""
    (tree / "ssl").mkdir(parents=True)
    certificates = sorted((root / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    (tree / "ssl/cacert.pem").write_bytes(b"".join(path.read_bytes() for path in certificates))
    (tree / "ssl/cert.pem").symlink_to("cacert.pem")


def read_native_pins(channel: Path) -> tuple[str, ...]:
    """Return the dependencies on every native library in the kit's channel."""
    pins = []
    for path in sorted((channel / "kit/linux-64").glob("*.tar.bz2")):
        name, version, _ = path.name.rsplit("-", 2)
        if name in {library.name for library in LIBRARIES}:
            pins.append(pin_library(name, version))
    return tuple(pins)


def make_native(workspace: Workspace) -> Iterator[Path]:
    install_tools(workspace, {"dpkg-deb": "dpkg"})
    names = [deb for library in (*LIBRARIES, CERTIFICATES) for deb in library.debs]
    debs = download_packages(workspace, BASE_SUITE, names)
    for library in (*LIBRARIES, CERTIFICATES):
        root, tree = workspace.scratch / "root" / library.name, workspace.scratch / "tree" / library.name
        root.mkdir(parents=True)
        for deb in library.debs:
            workspace.run("dpkg-deb", "--extract", debs[deb], root)
        is_data = library is CERTIFICATES
        copy_certificates(root, tree) if is_data else copy_libraries(root, tree)
        version = workspace.run("dpkg-deb", "--field", debs[library.debs[0]], "Version")
        package = Package(
            name=library.name,
            version=read_upstream_version(version),
            license=library.license,
            depends=library.depends if is_data else (GLIBC, *library.depends),
            noarch="generic" if is_data else None,
        )
        yield write_package(workspace, package, tree)


NATIVE = Step(
    name="native libraries",
    doing="repacking Debian's",
    make=make_native,
    sources=("native.py", "conda_package.py"),
    inputs=(BASE_SUITE,),
)
