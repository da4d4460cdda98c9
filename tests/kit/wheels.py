"""Conda packages made from PyPI's wheels, with the metadata that pip looks for."""

from __future__ import annotations

import csv
import io
import sys
import zipfile
from configparser import ConfigParser
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.kit.conda_package import PLACEHOLDER, Package, write_package
from tests.kit.native import GLIBC
from tests.kit.steps import Step

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from email.message import Message

    from tests.kit.workspace import Workspace

NOARCH = (
    "click==8.1.8",
    "filelock==3.17.0",
    "jinja2==3.1.6",
    "packaging==24.2",
    "pip==25.0.1",
    "setuptools==80.9.0",
    "six==1.17.0",
    "typing-extensions==4.12.2",
    "wheel==0.45.1",
)
PER_PYTHON = ("markupsafe==3.0.2", "numpy==2.2.6", "pyyaml==6.0.2")
LAST = {("3.9", "numpy==2.2.6"): "numpy==2.0.2"}
"""What takes the place of a requirement for a Python that it has no wheel for: the last release that has one."""

CONDA_NAMES = {"typing-extensions": "typing_extensions"}
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A wheel that is open: its archive, the names of its metadata folders, and its metadata."""

    archive: zipfile.ZipFile
    dist_info: str
    metadata: Message

    @property
    def data(self) -> str:
        return self.dist_info.removesuffix(".dist-info") + ".data"

    def read_text(self, name: str) -> str:
        """Return a file of the metadata folder, empty when there is none."""
        path = f"{self.dist_info}/{name}"
        return self.archive.read(path).decode() if path in self.archive.namelist() else ""


def download_wheel(workspace: Workspace, requirement: str, python: str, target: Path) -> Path:
    """Return the wheel that the machine's pip finds for Python X.Y on Linux."""
    target.mkdir(parents=True, exist_ok=True)
    known = set(target.iterdir())
    platforms = (f"--platform={platform}" for platform in PLATFORMS)
    options = ("--quiet", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check", *platforms)
    workspace.run(
        sys.executable,
        "-m",
        "pip",
        "download",
        *options,
        f"--python-version={python}",
        f"--dest={target}",
        requirement,
    )
    return next(path for path in target.iterdir() if path not in known)


def open_wheel(path: Path) -> Wheel:
    archive = zipfile.ZipFile(path)
    metadata = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    return Wheel(
        archive=archive,
        dist_info=metadata.split("/", 1)[0],
        metadata=HeaderParser().parsestr(archive.read(metadata).decode()),
    )


def read_entry_points(wheel: Wheel) -> tuple[str, ...]:
    """Return the console scripts as conda writes them: `name = module:function`."""
    parser = ConfigParser(delimiters=("=",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(wheel.read_text("entry_points.txt"))
    scripts = parser["console_scripts"].items() if parser.has_section("console_scripts") else ()
    return tuple(f"{name} = {target}" for name, target in sorted(scripts))


def read_license(metadata: Message) -> str:
    """Return the licence in few words: its expression, its one-line name, or what its classifier calls it."""
    name = metadata.get("License-Expression") or metadata.get("License") or ""
    if name and len(name.splitlines()) == 1:
        return str(name)
    classifiers = metadata.get_all("Classifier", [])
    named = (str(text).rsplit(" :: ", 1)[1] for text in classifiers if str(text).startswith("License :: "))
    return next(named, "unknown")


def translate_requirements(requirements: Iterable[str], python: str) -> tuple[str, ...]:
    """Return as conda dependencies what a distribution requires on Linux with this Python, extras left out."""
    depends = []
    for requirement in find_requirements(requirements, python):
        name = canonicalize_name(requirement.name)
        specifiers = ",".join(sorted(map(str, requirement.specifier)))
        depends.append(f"{CONDA_NAMES.get(name, name)} {specifiers}".strip())
    return tuple(sorted(depends))


def find_requirements(requirements: Iterable[str], python: str) -> Iterator[Requirement]:
    """Yield the requirements that apply on Linux with this Python and no extra."""
    environment = {
        "extra": "",
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
    }
    for requirement in map(Requirement, requirements):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            yield requirement


def unpack_wheel(wheel: Wheel, tree: Path, python: str | None) -> None:
    """Lay the wheel's files out as conda wants them: under `site-packages` for noarch, else under Python X.Y's."""
    site = Path(f"lib/python{python}/site-packages" if python else "site-packages")
    folders = {
        "purelib": site,
        "platlib": site,
        "scripts": Path("bin" if python else "python-scripts"),
        "data": Path(),
    }
    for member in wheel.archive.infolist():
        name = member.filename
        if member.is_dir() or name == f"{wheel.dist_info}/RECORD":
            continue
        path = site / name
        if name.startswith(f"{wheel.data}/"):
            _, kind, rest = name.split("/", 2)
            path = folders[kind] / rest
        write_file(tree / path, wheel.archive.read(member), executable=bool(member.external_attr >> 16 & 0o100))
    write_file(tree / site / wheel.dist_info / "INSTALLER", b"conda\n")
    write_file(tree / site / wheel.dist_info / "RECORD", record_files(wheel).encode())


def write_file(path: Path, content: bytes, *, executable: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755 if executable else 0o644)


def record_files(wheel: Wheel) -> str:
    """Return the wheel's RECORD for the files that land in site-packages, and who installed them."""
    rows = csv.reader(wheel.read_text("RECORD").splitlines())
    kept = [row for row in rows if row and not row[0].startswith(f"{wheel.data}/")]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([*kept, [f"{wheel.dist_info}/INSTALLER", "", ""]])
    return text.getvalue()


def write_scripts(entry_points: Iterable[str], tree: Path, python: str) -> None:
    """Write the console scripts of a package that is built for one Python; noarch leaves them to the installer."""
    for entry_point in entry_points:
        name, _, target = entry_point.partition(" = ")
        module, _, function = target.partition(":")
        lines = (
            f"#!{PLACEHOLDER}/bin/python{python}",
            f"import sys\n\nfrom {module} import {function.split('.')[0]}\n",
            f"if __name__ == '__main__':\n    sys.exit({function}())\n",
        )
        write_file(tree / "bin" / name, "\n".join(lines).encode(), executable=True)


def convert_wheel(workspace: Workspace, path: Path, python: str, *, noarch: bool) -> Path:
    """Return the conda package made of a wheel."""
    wheel = open_wheel(path)
    tree = workspace.scratch / "tree" / path.stem
    unpack_wheel(wheel, tree, None if noarch else python)
    entry_points = read_entry_points(wheel)
    if not noarch:
        write_scripts(entry_points, tree, python)
    name = canonicalize_name(wheel.metadata["Name"])
    major, minor = python.split(".")
    pins: tuple[str, ...]
    if noarch:
        pins = (f"python {wheel.metadata['Requires-Python'].replace(' ', '')}",)
    else:
        pins = (f"python >={python},<{major}.{int(minor) + 1}.0a0", GLIBC)
    requirements = translate_requirements(wheel.metadata.get_all("Requires-Dist", []), python)
    package = Package(
        name=CONDA_NAMES.get(name, name),
        version=wheel.metadata["Version"],
        license=read_license(wheel.metadata),
        depends=(*pins, *requirements),
        noarch="python" if noarch else None,
        entry_points=entry_points if noarch else (),
        build_prefix="py" if noarch else f"py{major}{minor}",
    )
    return write_package(workspace, package, tree)


def make_packages(workspace: Workspace, requirements: Iterable[str], python: str, *, noarch: bool) -> Iterator[Path]:
    for requirement in requirements:
        wheel = download_wheel(workspace, requirement, python, workspace.scratch / "wheels")
        yield convert_wheel(workspace, wheel, python, noarch=noarch)


NOARCH_WHEELS = Step(
    name="pure wheels",
    doing="repacking PyPI's",
    make=lambda workspace: make_packages(workspace, NOARCH, "3.11", noarch=True),
    sources=("wheels.py", "conda_package.py"),
)


def plan_wheels(python: str) -> Step:
    """Return the step that makes the packages of the wheels that are built for one Python."""
    wanted = tuple(LAST.get((python, requirement), requirement) for requirement in PER_PYTHON)
    return Step(
        name=f"python {python} wheels",
        doing="repacking PyPI's",
        make=lambda workspace: make_packages(workspace, wanted, python, noarch=False),
        sources=("wheels.py", "conda_package.py"),
    )
