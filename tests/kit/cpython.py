"""CPython X.Y as a conda package, compiled from Debian's sources for the base's suite."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.kit.conda_package import PLACEHOLDER, Package, write_package
from tests.kit.debian import BASE_SUITE, download_source, run_bootstrap
from tests.kit.native import GLIBC, NATIVE, read_native_pins
from tests.kit.steps import SOURCES, Step

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kit.workspace import Workspace

SOURCE_SUITES = {"3.9": "bullseye", "3.11": "bookworm", "3.13": "trixie"}
"""The Debian release whose source package has each Python (`apt-cache showsrc python3.13`)."""

BUILD_PACKAGES = (
    "gcc",
    "libc6-dev",
    "make",
    "pkg-config",
    "xz-utils",
    "libbz2-dev",
    "libffi-dev",
    "liblzma-dev",
    "libncurses-dev",
    "libreadline-dev",
    "libsqlite3-dev",
    "libssl-dev",
    "uuid-dev",
    "zlib1g-dev",
)


def compile_python(workspace: Workspace, python: str) -> Iterator[Path]:
    """Yield a tarball of the installed tree, its file name telling the full version."""
    source = download_source(workspace, SOURCE_SUITES[python], f"python{python}")
    version = source.name.split("_")[1].split(".orig")[0]
    workspace.publish(source, workspace.scratch / "source.tar")
    made = workspace.scratch / "tree.tar"
    run_bootstrap(
        workspace,
        variant="apt",
        include=BUILD_PACKAGES,
        hooks=(
            'mkdir "$1/kit"',
            f"copy-in {workspace.scratch / 'source.tar'} {SOURCES / 'compile_python.sh'} /kit",
            f'chroot "$1" sh /kit/compile_python.sh {python} {PLACEHOLDER}',
            f"tar-out /kit/tree {made}",
        ),
        target=None,
    )
    yield workspace.publish(made, workspace.root / "python" / f"python-{version}.tar")


def pack_python(workspace: Workspace, python: str) -> Iterator[Path]:
    compiled = next((workspace.root / "python").glob(f"python-{python}.*.tar"))
    workspace.run("tar", "-xf", compiled)
    package = Package(
        name="python",
        version=compiled.stem.removeprefix("python-"),
        license="Python-2.0",
        depends=(GLIBC, *read_native_pins(workspace.channel)),
        build_suffix="_cpython",
    )
    yield write_package(workspace, package, workspace.scratch / "tree")


def plan_python(python: str) -> tuple[Step, ...]:
    """Return the steps that make one Python's package: compiling takes minutes and is kept apart from packing."""
    compiling = Step(
        name=f"python {python}",
        doing="compiling",
        make=lambda workspace: compile_python(workspace, python),
        sources=("compile_python.sh",),
        inputs=(SOURCE_SUITES[python], BASE_SUITE, PLACEHOLDER, *BUILD_PACKAGES),
    )
    packing = Step(
        name=f"python {python} package",
        doing="packing",
        make=lambda workspace: pack_python(workspace, python),
        sources=("cpython.py", "conda_package.py"),
        after=(NATIVE, compiling),
    )
    return compiling, packing
