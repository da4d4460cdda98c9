"""install.py PREFIX LIST CACHE: link the conda packages of an @EXPLICIT list into an environment, by py-rattler.

It does what `conda install --file LIST` does, several times faster, and leaves records that conda reads: a step of the
build runs it with py-rattler on PYTHONPATH, and the environment never knows of either. Steps may run at the same time
on one cache.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import shutil
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rattler import Client, PackageRecord, PrefixRecord, RepoDataRecord, install
from rattler.networking import AuthenticationMiddleware, RetryMiddleware
from rattler.package import PathsJson
from rattler.package_cache import PackageCache
from rattler.package_streaming import PackageArchive, download_to_path

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DOWNLOADS = 8
HASHES = {32: "md5", 64: "sha256"}


class InstallError(Exception):
    """A failure that is told in one line, without a traceback."""


@dataclass(frozen=True)
class ExplicitPackage:
    """One line of an @EXPLICIT list: where the archive is, and the hash it must have."""

    url: str
    digest: str

    @property
    def file_name(self) -> str:
        return self.url.rsplit("/", 1)[1]

    @property
    def channel(self) -> str:
        return self.url.rsplit("/", 2)[0]

    @property
    def algorithm(self) -> str:
        return HASHES[len(self.digest)]


def parse_explicit(text: str) -> list[ExplicitPackage]:
    """Return the packages of an @EXPLICIT list: `URL#md5` or `URL#sha256:hex`; raise InstallError on anything else."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines or lines.pop(0) != "@EXPLICIT":
        raise InstallError("the file is not an @EXPLICIT list")
    packages = []
    for line in lines:
        url, _, fragment = line.partition("#")
        algorithm, _, digest = fragment.rpartition(":")
        if HASHES.get(len(digest)) != (algorithm or "md5") or not url.endswith((".conda", ".tar.bz2")):
            raise InstallError(f"not a package with its hash: {line}")
        packages.append(ExplicitPackage(url=url, digest=digest.lower()))
    return packages


@dataclass(frozen=True)
class Download:
    """What a cache has of a package: its record, and its archive until it is installed, then what rattler unpacked.

    The record is the index.json of the package with its size and md5, whatever hash the list has.
    """

    package: ExplicitPackage
    cache: Path

    @property
    def folder(self) -> Path:
        return self.cache / "packages" / self.package.digest

    @property
    def archive(self) -> Path:
        return self.folder / self.package.file_name

    @property
    def record(self) -> Path:
        return self.folder / "record.json"

    @property
    def unpacked(self) -> Path:
        """Where rattler keeps it unpacked: `with_cached_origin` has it add a hash of where the archive was."""
        stem = self.package.file_name.removesuffix(".conda").removesuffix(".tar.bz2")
        return self.cache / f"{stem}-{hashlib.sha256(str(self.archive).encode()).hexdigest()}"

    def is_ready(self) -> bool:
        """Return whether nothing has to be downloaded, and nothing that rattler would take is damaged."""
        try:
            record = self.describe()
            return is_whole(self.unpacked) if self.unpacked.exists() else self.archive.stat().st_size == record.size
        except (OSError, ValueError, LookupError, TypeError):  # none there; or power was lost while it was written
            return False

    def describe(self) -> RepoDataRecord:
        """Return the record by which rattler installs the archive."""
        known = self.package.digest if self.package.algorithm == "sha256" else None
        told = json.loads(self.record.read_bytes())
        record = PackageRecord.from_index_json(self.record, size=told["size"], sha256=known, md5=told["md5"])
        return RepoDataRecord(record, self.archive.name, self.archive.as_uri(), self.package.channel)

    async def fetch(self, client: Client) -> None:
        """Download archive and record; raise InstallError where the archive is not there or has another hash."""
        url, algorithm = self.package.url, self.package.algorithm
        archive, record = (self.folder / f"part-{path.name}" for path in (self.archive, self.record))
        try:
            await download_to_path(client, url, archive)
            if await asyncio.to_thread(hash_file, archive, algorithm) != self.package.digest:
                raise InstallError(f"{url} does not have the {algorithm} {self.package.digest}")
            index = await (await PackageArchive.from_path(archive)).read_file("info/index.json")
            if index is None:
                raise InstallError(f"{url} is no conda package")
            md5 = await asyncio.to_thread(hash_file, archive, "md5")
            told = json.loads(index) | {"size": archive.stat().st_size, "md5": md5}
            record.write_text(json.dumps(told), encoding="utf-8")
            archive.replace(self.archive)
            record.replace(self.record)  # the last: it says that all is there
        except (RuntimeError, TypeError, ValueError) as error:
            raise InstallError(f"{url}: {error}") from error
        finally:
            archive.unlink(missing_ok=True)

    def settle(self) -> None:
        """Remove what is not needed once the package is unpacked: the archive, and what killed steps unpacked."""
        if self.unpacked.exists():
            self.archive.unlink(missing_ok=True)
            for folder in self.cache.glob(f".{self.unpacked.name}*"):
                shutil.rmtree(folder, ignore_errors=True)


def is_whole(unpacked: Path) -> bool:
    """Return whether an unpacked package has every file that it lists, as long as it says."""
    try:
        json.loads((unpacked / "info" / "index.json").read_bytes())
        for entry in PathsJson.from_package_directory_with_deprecated_fallback(unpacked).paths:
            found = (unpacked / entry.relative_path).lstat()
            if entry.path_type.hardlink and entry.size_in_bytes not in {None, found.st_size}:
                return False
    except Exception:  # the errors of rattler have no base class
        return False
    return True


@asynccontextmanager
async def lock_folder(folder: Path) -> AsyncIterator[None]:
    """Keep a folder for this process until it is done or killed."""
    with (folder / "lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                await asyncio.sleep(0.1)
            else:
                break
        yield


async def download_package(client: Client, package: ExplicitPackage, cache: Path) -> Download:
    """Return the package in the cache, downloaded by one step unless it is there and whole; raise InstallError.

    What lies under the name of its hash had that hash when it came.
    """
    there = Download(package, cache)
    if await asyncio.to_thread(there.is_ready):
        return there
    there.folder.mkdir(parents=True, exist_ok=True)
    async with lock_folder(there.folder):
        if not await asyncio.to_thread(there.is_ready):
            if there.unpacked.exists():
                await asyncio.to_thread(shutil.rmtree, there.unpacked)
            await there.fetch(client)
    return there


def hash_file(path: Path, algorithm: str) -> str:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


async def install_packages(packages: list[ExplicitPackage], prefix: Path, cache: Path) -> None:
    """Link the packages into the prefix beside what it holds; a package of the same name is replaced."""
    client = Client([RetryMiddleware(3), AuthenticationMiddleware()])
    limit = asyncio.Semaphore(DOWNLOADS)

    async def download(package: ExplicitPackage) -> Download:
        async with limit:
            return await download_package(client, package, cache)

    installed = [PrefixRecord.from_path(path) for path in sorted((prefix / "conda-meta").glob("*.json"))]
    records: dict[str, RepoDataRecord] = {present.name.normalized: present for present in installed}
    downloads = await asyncio.gather(*map(download, packages))
    wanted = [download.describe() for download in downloads]
    records |= {record.name.normalized: record for record in wanted}
    await install(
        list(records.values()),
        target_prefix=prefix,
        package_cache=PackageCache(cache).with_cached_origin(),
        installed_packages=installed,
        execute_link_scripts=True,
        client=client,
        show_progress=False,
    )
    for record, download in zip(wanted, downloads, strict=True):
        restore_origin(prefix, record.name.normalized, download.package)
        download.settle()


def restore_origin(prefix: Path, name: str, package: ExplicitPackage) -> None:
    """Write where a package came from into its record, which names the archive in the cache."""
    for path in (prefix / "conda-meta").glob(f"{name}-*.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["name"] == name:
            record |= {"url": package.url, "channel": package.channel}
            path.write_text(json.dumps(record, indent=2), encoding="utf-8")


def install_list(prefix: Path, listing: Path, cache: Path) -> None:
    """Install the packages of a list; raise InstallError when one cannot be had or linked."""
    import certifi  # a base has certificates of its own, but nobody knows where

    os.environ.setdefault("SSL_CERT_FILE", certifi.where())
    try:
        asyncio.run(install_packages(parse_explicit(listing.read_text(encoding="utf-8")), prefix, cache))
    except (OSError, RuntimeError) as error:  # RuntimeError: some of rattler's
        raise InstallError(str(error)) from None
    except Exception as error:
        # The other errors of rattler share a module, but no base class.
        if type(error).__module__ != "exceptions":
            raise
        raise InstallError(f"{type(error).__name__}: {error}") from None


def main() -> None:
    prefix, listing, cache = map(Path, sys.argv[1:])
    said, code = "", 0
    try:
        install_list(prefix, listing, cache)
    except InstallError as error:
        said, code = f"install.py: {error}\n", 1
    sys.stderr.write(said)
    sys.stdout.flush()
    sys.stderr.flush()
    # A thread of rattler's that still hands something over would abort a Python that takes itself down
    # (https://github.com/PyO3/pyo3-async-runtimes/issues/40): seen on machines with one processor.
    os._exit(code)


if __name__ == "__main__":
    main()
