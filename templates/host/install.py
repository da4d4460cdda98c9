"""install.py PREFIX LIST CACHE: link the conda packages of an @EXPLICIT list into an environment, by py-rattler.

It does what `conda install --file LIST` does, several times faster, and leaves records that conda reads: a step of the
build runs it with py-rattler on PYTHONPATH, and the environment never knows of either. Steps may run at the same time
on one cache.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rattler import Client, PrefixRecord, RepoDataRecord, install
from rattler.networking import AuthenticationMiddleware, RetryMiddleware
from rattler.package_cache import PackageCache
from rattler.package_streaming import download_to_path

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


async def fetch_archive(client: Client, package: ExplicitPackage, cache: Path) -> Path:
    """Return the package's archive in the cache, downloaded unless it is there; raise InstallError on a wrong hash.

    What lies under the name of its hash had that hash when it came.
    """
    archive = cache / "archives" / package.digest / package.file_name
    if archive.exists():
        return archive
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        partial = Path(folder, package.file_name)
        await download_to_path(client, package.url, partial)
        if hash_file(partial, package.algorithm) != package.digest:
            raise InstallError(f"{package.url} does not have the {package.algorithm} {package.digest}")
        (archive.parent / "md5").write_text(hash_file(partial, "md5"))
        partial.replace(archive)
    return archive


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

    async def fetch(package: ExplicitPackage) -> RepoDataRecord:
        async with limit:
            archive = await fetch_archive(client, package, cache)
        record = await RepoDataRecord.from_package_archive(archive)
        record.url = archive.as_uri()
        record.md5 = bytes.fromhex((archive.parent / "md5").read_text())
        return record

    installed = [PrefixRecord.from_path(path) for path in sorted((prefix / "conda-meta").glob("*.json"))]
    records: dict[str, RepoDataRecord] = {present.name.normalized: present for present in installed}
    fetched = await asyncio.gather(*map(fetch, packages))
    records |= {record.name.normalized: record for record in fetched}
    await install(
        list(records.values()),
        target_prefix=prefix,
        package_cache=PackageCache(cache).with_cached_origin(),
        installed_packages=installed,
        execute_link_scripts=True,
        client=client,
        show_progress=False,
    )
    origins = {record.name.normalized: package.url for record, package in zip(fetched, packages, strict=True)}
    restore_origins(prefix, origins)


def restore_origins(prefix: Path, origins: dict[str, str]) -> None:
    """Write where packages came from into their records, which name the archives in the cache."""
    for path in (prefix / "conda-meta").glob("*.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        if url := origins.get(record["name"]):
            record |= {"url": url, "channel": url.rsplit("/", 2)[0]}
            path.write_text(json.dumps(record, indent=2), encoding="utf-8")


def install_list(prefix: Path, listing: Path, cache: Path) -> None:
    """Install the packages of a list; raise InstallError when one cannot be had or linked."""
    import certifi  # a base has certificates of its own, but nobody knows where

    os.environ.setdefault("SSL_CERT_FILE", certifi.where())
    try:
        asyncio.run(install_packages(parse_explicit(listing.read_text(encoding="utf-8")), prefix, cache))
    except (OSError, RuntimeError) as error:  # RuntimeError: rattler's of a failed download
        raise InstallError(str(error)) from None
    except Exception as error:
        # The other errors of rattler share a module, but no base class.
        if type(error).__module__ != "exceptions":
            raise
        raise InstallError(f"{type(error).__name__}: {error}") from None


def main() -> None:
    prefix, listing, cache = map(Path, sys.argv[1:])
    try:
        install_list(prefix, listing, cache)
    except InstallError as error:
        raise SystemExit(f"install.py: {error}") from None


if __name__ == "__main__":
    main()
