"""The replica on disk: real archives of every package, a wheel index, and what a lock says of each. Made once."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from benchmarks import archives, copies
from benchmarks.copies import BUMPED, PYTHONS, Copy, ReplicaCell, bump, plan_copies, write_files
from benchmarks.sample import PATH, read_sample
from builder.lock import CondaPackage, PipPackage
from tests.kit.__main__ import lock_kit
from tests.kit.base import BASE
from tests.kit.channel import plan_index
from tests.kit.cpython import plan_python
from tests.kit.native import NATIVE
from tests.kit.server import HOST, Handler
from tests.kit.steps import Progress, run_steps
from tests.kit.wheels import NOARCH_WHEELS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CHANNEL = "https://conda.example.org/replica"
INDEX = "https://pypi.example.org"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """A replica that is complete: its folder, its cells, and the hashes of its archives by their paths."""

    folder: Path
    cells: tuple[ReplicaCell, ...]
    hashes: dict[str, dict[str, str]]
    kit: dict[str, tuple[CondaPackage, ...]]

    def lock_conda(self, cell: ReplicaCell, bumped: frozenset[Copy]) -> tuple[CondaPackage, ...]:
        """Return the conda packages of a cell, the kit's included, `bumped` ones in their next version."""
        chosen = (bump(copy) if copy in bumped else copy for copy in cell.copies if not copy.tag)
        packages = [*self.kit[cell.python], *map(self._lock_copy, chosen)]
        return tuple(sorted(packages, key=lambda package: package.name))

    def lock_pip(self, cell: ReplicaCell, bumped: frozenset[Copy]) -> tuple[PipPackage, ...]:
        """Return the wheels of a cell."""
        chosen = [bump(copy) if copy in bumped else copy for copy in cell.copies if copy.tag]
        return tuple(
            PipPackage(
                name=copy.name,
                version=copy.version,
                url=f"{INDEX}/{copy.path}",
                sha256=self.hashes[copy.path]["sha256"],
                size=(self.folder / copy.path).stat().st_size,
            )
            for copy in sorted(chosen, key=lambda copy: copy.name)
        )

    def find_bumped(self, manager: str) -> frozenset[Copy]:
        """Return the package of a manager ("conda" or "pip") that a bump is about, in all its builds."""
        found = {copy for cell in self.cells for copy in cell.copies if copy.name == BUMPED[manager]}
        return frozenset(found)

    def _lock_copy(self, copy: Copy) -> CondaPackage:
        return CondaPackage(
            name=copy.name,
            version=copy.version,
            build=copy.build,
            url=f"{CHANNEL}/{copy.path.removeprefix('conda/')}",
            md5=self.hashes[copy.path]["md5"],
            sha256=self.hashes[copy.path]["sha256"],
            size=(self.folder / copy.path).stat().st_size,
            depends=copy.depends,
            noarch=copy.noarch,
        )


def make_replica(kit: Path, factor: int) -> Replica:
    """Return the replica at a factor, made in the kit's folder unless it is there. Raises KitError."""
    pythons = tuple(dict.fromkeys(PYTHONS.values()))
    with lock_kit(kit):
        compiling, packing = zip(*map(plan_python, pythons), strict=True)
        run_steps((*compiling, NATIVE, BASE, NOARCH_WHEELS, *packing), kit)
        run_steps([plan_index(kit)], kit)
        locked = {python: read_kit_packages(kit, python) for python in pythons}
        cells = plan_copies(read_sample(), factor)
        sources = [PATH, *(Path(str(module.__file__)) for module in (archives, copies, sys.modules[__name__]))]
        parts = [str(factor), repr(locked), *(path.read_text(encoding="utf-8") for path in sources)]
        folder = kit / f"replica-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:12]}"
        if not folder.is_dir():
            with Progress("replica", f"making the sample's packages, 1/{factor} of their size"):
                write_replica(folder, cells, [package for packages in locked.values() for package in packages], kit)
    hashes = json.loads((folder / "hashes.json").read_text(encoding="utf-8"))
    return Replica(folder=folder, cells=cells, hashes=hashes, kit=locked)


def read_kit_packages(kit: Path, python: str) -> tuple[CondaPackage, ...]:
    """Return the kit's own packages of a cell with this Python, as its channel's index has them."""
    found = []
    for subdir in ("linux-64", "noarch"):
        index = json.loads((kit / "channel" / "kit" / subdir / "repodata.json").read_text(encoding="utf-8"))
        for file, node in index["packages"].items():
            if node["name"] not in copies.KIT or (
                node["name"] == "python" and not node["version"].startswith(f"{python}.")
            ):
                continue
            keys = ("name", "version", "build", "md5", "sha256", "size")
            chosen = {key: node[key] for key in keys}
            found.append(CondaPackage(**chosen, url=f"{CHANNEL}/{subdir}/{file}", depends=tuple(node["depends"])))
    return tuple(found)


def write_replica(folder: Path, cells: Iterable[ReplicaCell], locked: Iterable[CondaPackage], kit: Path) -> None:
    """Write every archive, the next versions of what will be bumped, and the index; all of it or nothing."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    distinct = {copy for cell in cells for copy in cell.copies}
    distinct |= {bump(copy) for copy in distinct if copy.name in BUMPED.values()}
    hashes = {}
    for copy in sorted(distinct, key=lambda copy: copy.path):
        target = partial / copy.path
        target.parent.mkdir(parents=True, exist_ok=True)
        files = tuple(write_files(copy))
        archives.write_wheel(target, files) if copy.tag else archives.write_conda(target, copy.index, files)
        hashes[copy.path] = hash_file(target)
    for package in set(locked):
        subdir, file = package.url.rsplit("/", 2)[1:]
        shutil.copyfile(kit / "channel" / "kit" / subdir / file, partial / "conda" / subdir / file)
    copy_installer(partial / "simple")
    for project in (partial / "simple").iterdir():
        links = "\n".join(f'<a href="{wheel.name}">{wheel.name}</a>' for wheel in sorted(project.iterdir()))
        (project / "index.html").write_text(f"<!DOCTYPE html>\n<html><body>\n{links}\n</body></html>\n")
    (partial / "hashes.json").write_text(json.dumps(hashes, indent=1), encoding="utf-8")
    os.sync()
    partial.rename(folder)


def copy_installer(index: Path) -> None:
    """Put the wheels of the fast installer into the index, for there is no other while the benchmark runs."""
    listed = Path(__file__).parents[1] / "templates" / "host" / "installer.txt"
    options = ("--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:", "--disable-pip-version-check")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", *options, f"--dest={folder}", f"--requirement={listed}"],
            check=True,
        )
        for wheel in Path(folder).iterdir():
            project = index / canonicalize_name(wheel.name.split("-", 1)[0])
            project.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(wheel, project / wheel.name)


def hash_file(path: Path) -> dict[str, str]:
    """Return the md5 and sha256 of a file."""
    found = {}
    for name in ("md5", "sha256"):
        with path.open("rb") as stream:
            found[name] = hashlib.file_digest(stream, name).hexdigest()
    return found


class QuietHandler(Handler):
    """The kit's server without a line for each request."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class named it)
        """Say nothing."""


@contextmanager
def serve_folder(folder: Path) -> Iterator[str]:
    """Serve a folder on a free port of this machine's loopback while the context lasts; give its URL."""

    def handle(*arguments: object) -> QuietHandler:
        return QuietHandler(*arguments, directory=str(folder))  # type: ignore[arg-type]

    with http.server.ThreadingHTTPServer((HOST, 0), handle) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://{HOST}:{server.server_port}"
        server.shutdown()
        thread.join()
