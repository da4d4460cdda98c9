"""Solve pip requirements with uv so that nothing which conda has locked is touched.

Every distribution of the conda solution is offered to uv as an empty wheel of exactly that version, marked by a local
version that no index has, and held there by a constraint. So a requirement that conda satisfies resolves to the marker
and is left out of the result, one that contradicts conda fails here instead of breaking the image, and it works for
distributions that no index has.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from builder.errors import SolveError
from builder.lock import CondaPackage, PipPackage
from builder.pins import provided_distributions
from builder.pipindex import canonical_url, fetch_size, netrc_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from builder.sources import Sources

_MARK = "conda"
_NO_EXTRA = re.compile(r"The package `([\w.-]+)==[^`]*\+(?:[^`]*\.)?conda` does not have an extra named `([^`]+)`")
_TORCH_FAMILY = ("torch", "torchvision", "torchaudio")
_HINT_LIST = "loosen or correct the pip list."
_HINTS = {
    "no wheels|no usable wheels": "imgbuild installs wheels only: pin a version that has one, or take it from conda.",
    "Failed to fetch|error sending request|Could not connect": "is the index reachable from here? See --sources.",
}

# What uv calls the newest glibc that a wheel may ask for: docs.astral.sh/uv/reference/cli/ (--python-platform).
_MANYLINUX = tuple(Version(f"2.{minor}") for minor in (17, 28, *range(31, 41)))


@dataclass(frozen=True, slots=True, kw_only=True)
class PipRequest:
    """One solve: requirements for a full Python version and a glibc, beside what conda has locked.

    `index` is the canonical address of the PyTorch index folder that torch and its family come from, None for the
    default index; `keep` maps normalized names to versions that are taken again wherever the requirements allow.
    """

    name: str
    requirements: tuple[str, ...]
    constraints: tuple[str, ...]
    python: Version
    glibc: Version
    conda: tuple[CondaPackage, ...]
    index: str | None = None
    keep: tuple[tuple[str, str], ...] = ()


def solve_pip(
    request: PipRequest, sources: Sources, cache: Path, warn: Callable[[str], None]
) -> tuple[PipPackage, ...]:
    """Return the wheels that pip has to install, sorted by name, with canonical URLs.

    `warn` is told of each extra that is asked of a distribution which conda provides: nobody knows what it needs.
    Raises SolveError when there is no solution, or a distribution has no wheel for the cell.
    """
    if not request.requirements:
        return ()
    provided = provided_distributions(request.conda)
    with tempfile.TemporaryDirectory(prefix="imgbuild-") as folder:
        work = Path(folder)
        (work / "conda").mkdir()
        for name, version in provided.items():
            _write_marker(work / "conda", name, version)
        pins = work / "pins.txt"
        pins.write_text("".join(f"{name}=={version}\n" for name, version in request.keep))
        uv = _uv(work, request, sources, cache)
        tree_args = ["--annotation-style", "line", "--no-header", "--output-file", str(pins)]
        _write_project(work, request, provided, sources)
        said = _run([*uv, *tree_args], request, sources, work)
        if request.index and (pulled := _pulled_family(pins.read_text(), request)):
            # uv takes only what is asked for directly from an explicit index, so what others pull in is asked for too.
            request = replace(request, requirements=(*request.requirements, *pulled))
            _write_project(work, request, provided, sources)
            said = _run([*uv, *tree_args], request, sources, work)
        for name, extra in _NO_EXTRA.findall(said):
            warn(f"{request.name}: {name}[{extra}] is asked for, and conda's {name} has no extras: list what it needs")
        emitted = [flag for name in provided for flag in ("--no-emit-package", name)]
        lock = work / "pylock.toml"
        lock_args = ["--constraints", str(pins), "--format", "pylock.toml", "--output-file", str(lock), *emitted]
        _run([*uv, *lock_args], request, sources, work)
        packages = _parse_lock(lock.read_text(encoding="utf-8"), request, _read_tree(pins.read_text()))
    return _finish_addresses(packages, sources)


def _marked(version: str) -> str:
    local = Version(version).local
    return f"{Version(version).public}+{local}.{_MARK}" if local else f"{version}+{_MARK}"


def _write_marker(folder: Path, name: str, version: str) -> None:
    stem = f"{name.replace('-', '_')}-{_marked(version)}"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        info = f"{stem}.dist-info"
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {_marked(version)}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def _write_project(work: Path, request: PipRequest, provided: Mapping[str, str], sources: Sources) -> None:
    held = [f"{name}=={_marked(version)}" for name, version in provided.items()]
    direct = set(map(_name, request.requirements))
    # What is not asked for directly is found at the default index, which has no local versions.
    constraints = [pin if _name(pin) in direct else pin.partition("+")[0] for pin in request.constraints]
    lines = [
        "[project]",
        'name = "cell"',
        'version = "0"',
        f'requires-python = "=={request.python.major}.{request.python.minor}.*"',
        f"dependencies = {json.dumps(request.requirements)}",  # an array of strings is the same in both notations
    ]
    if request.index:
        lines += [
            "[[tool.uv.index]]",
            'name = "pytorch"',
            f"url = {json.dumps(sources.mirror(request.index))}",
            "explicit = true",
        ]
        lines += ['format = "flat"'] if sources.torch_flat else []
        lines += ["[tool.uv.sources]", *(f'{name} = {{ index = "pytorch" }}' for name in _TORCH_FAMILY)]
    (work / "pyproject.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (work / "constraints.txt").write_text("\n".join([*held, *constraints]) + "\n", encoding="utf-8")


def _name(requirement: str) -> str:
    return canonicalize_name(Requirement(requirement).name)


def _pulled_family(pins: str, request: PipRequest) -> tuple[str, ...]:
    """Return those of torch's family that are in a solution without being asked for."""
    direct = set(map(_name, request.requirements))
    solved = {line.partition("==")[0] for line in pins.splitlines()}
    return tuple(name for name in _TORCH_FAMILY if name in solved - direct)


def _uv(work: Path, request: PipRequest, sources: Sources, cache: Path) -> list[str]:
    from uv import find_uv_bin

    newest = max((version for version in _MANYLINUX if version <= request.glibc), default=_MANYLINUX[0])
    command = [find_uv_bin(), "pip", "compile", str(work / "pyproject.toml"), "--no-config"]
    command += ["--constraints", str(work / "constraints.txt"), "--only-binary", ":all:"]
    command += ["--python", sys.executable, "--python-version", str(request.python)]
    command += ["--python-platform", f"x86_64-manylinux_{newest.major}_{newest.minor}"]
    command += ["--cache-dir", str(cache / "uv"), "--find-links", str(work / "conda")]
    command += ["--index-url", sources.pip.index_url] if sources.pip.index_url else []
    command += [part for url in sources.pip.extra_index_urls for part in ("--extra-index-url", url)]
    return command + [part for url in sources.pip.find_links for part in ("--find-links", url)]


def _run(command: list[str], request: PipRequest, sources: Sources, work: Path) -> str:
    """Return what uv says beside its result. Raises SolveError."""
    with netrc_file(sources) as variables:
        done = subprocess.run(command, cwd=work, env=variables, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return done.stderr
    message = done.stderr.strip() or f"uv ended with {done.returncode}"
    hint = next((hint for words, hint in _HINTS.items() if re.search(words, message)), _HINT_LIST)
    raise SolveError(f"{request.name}: pip finds no solution beside conda's packages:\n{message}", hint=hint)


def _read_tree(text: str) -> dict[str, tuple[str, ...]]:
    """Return what each distribution pulled in, from uv's lines `name==version  # via parent, parent`."""
    children: dict[str, list[str]] = {}
    for line in text.splitlines():
        pin, _, parents = line.partition("# via")
        name = pin.partition("==")[0].strip()
        for parent in parents.split(","):
            children.setdefault(parent.strip(), []).append(name)
    return {parent: tuple(sorted(names)) for parent, names in children.items()}


def _parse_lock(text: str, request: PipRequest, tree: Mapping[str, tuple[str, ...]]) -> tuple[PipPackage, ...]:
    found = []
    for node in tomllib.loads(text).get("packages", ()):
        wheels = node.get("wheels")
        if not wheels:
            message = f"{request.name}: {node['name']} is asked for by its address, which no lock of imgbuild holds"
            raise SolveError(message, hint="put the wheel on an index of yours, and ask for it by version.")
        wheel = wheels[0]
        found.append(
            PipPackage(
                name=node["name"],
                version=node["version"],
                url=wheel["url"],
                sha256=wheel["hashes"]["sha256"],
                size=wheel.get("size"),
                requires=tree.get(node["name"], ()),
            )
        )
    return tuple(sorted(found, key=lambda package: package.name))


def _finish_addresses(packages: tuple[PipPackage, ...], sources: Sources) -> tuple[PipPackage, ...]:
    """Return the packages with the sizes that their servers tell, and then with canonical URLs."""

    def finish(package: PipPackage) -> PipPackage:
        size = package.size if package.size is not None else fetch_size(package.url, sources)
        return replace(package, size=size, url=canonical_url(package.url, sources))

    with ThreadPoolExecutor(max_workers=8) as pool:
        return tuple(pool.map(finish, packages))
