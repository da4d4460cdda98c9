#!/usr/bin/python3 -IB
"""The `conda` of the kit's base image: what templates ask of conda, done by py-rattler.

Real conda can be had from neither PyPI nor Debian. This command takes the arguments of real conda that an image build
uses, and leaves what real conda leaves: package cache, `conda-meta`, time stamps in `history`, `~/.conda`.
It is one file because it is copied into the base image, where py-rattler lies in `../lib/kit`.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import hashlib
import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent

if TYPE_CHECKING:
    from rattler import Client

VERSION = "conda 0 (imgbuild kit, py-rattler)"


class CondaError(Exception):
    """A failure that is told in one line, without a traceback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplicitPackage:
    """One line of an @EXPLICIT list: where the archive is, and the hash it must have."""

    url: str
    algorithm: str
    digest: str

    @property
    def file_name(self) -> str:
        return self.url.rsplit("/", 1)[1]


def parse_explicit(text: str) -> tuple[ExplicitPackage, ...]:
    """Return the packages of an @EXPLICIT list: `URL#md5` or `URL#sha256:hex`; raise CondaError on anything else."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines or lines.pop(0) != "@EXPLICIT":
        raise CondaError("the file is not an @EXPLICIT list")
    packages = []
    for line in lines:
        url, _, fragment = line.partition("#")
        algorithm, _, digest = fragment.rpartition(":")
        algorithm = algorithm or "md5"
        if {"md5": 32, "sha256": 64}.get(algorithm) != len(digest) or not url.endswith((".conda", ".tar.bz2")):
            raise CondaError(f"not a package with its hash: {line}")
        packages.append(ExplicitPackage(url=url, algorithm=algorithm, digest=digest.lower()))
    return tuple(packages)


def find_package_cache() -> Path:
    """Return the package cache: the first of CONDA_PKGS_DIRS, else `pkgs` beside this command's `bin`."""
    configured = os.environ.get("CONDA_PKGS_DIRS", "").split(",")[0]
    return Path(configured) if configured else ROOT / "pkgs"


def hash_file(path: Path, algorithm: str) -> bytes:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).digest()


def has_hash(archive: Path, package: ExplicitPackage) -> bool:
    return hash_file(archive, package.algorithm).hex() == package.digest


async def fetch_archive(client: Client, package: ExplicitPackage, cache: Path) -> Path:
    """Return the package's archive in the cache, downloaded unless it is there; raise CondaError on a wrong hash."""
    from rattler.package_streaming import download_to_path

    archive = cache / package.file_name
    if archive.exists() and has_hash(archive, package):
        return archive
    partial = cache / f"{package.file_name}.{os.getpid()}.partial"
    try:
        await download_to_path(client, package.url, partial)
        if not has_hash(partial, package):
            raise CondaError(f"{package.url} does not have the {package.algorithm} {package.digest}")
        partial.replace(archive)
    finally:
        partial.unlink(missing_ok=True)
    return archive


async def install_packages(packages: tuple[ExplicitPackage, ...], prefix: Path) -> None:
    """Link the packages into the prefix beside what it holds; a package of the same name is replaced."""
    from rattler import Client, PrefixRecord, RepoDataRecord, install
    from rattler.networking import AuthenticationMiddleware, RetryMiddleware

    cache = find_package_cache()
    cache.mkdir(parents=True, exist_ok=True)
    client = Client([RetryMiddleware(3), AuthenticationMiddleware()])
    installed = [PrefixRecord.from_path(path) for path in sorted((prefix / "conda-meta").glob("*.json"))]
    records: dict[str, RepoDataRecord] = {present.name.normalized: present for present in installed}
    origins: dict[str, str] = {}
    for package in packages:
        archive = await fetch_archive(client, package, cache)
        record = await RepoDataRecord.from_package_archive(archive)
        record.url = archive.as_uri()
        record.md5 = hash_file(archive, "md5")
        records[record.name.normalized] = record
        origins[record.name.normalized] = package.url
    await install(
        list(records.values()),
        target_prefix=prefix,
        cache_dir=cache,
        installed_packages=installed,
        client=client,
        show_progress=False,
    )
    restore_origins(prefix, origins)


def restore_origins(prefix: Path, origins: dict[str, str]) -> None:
    """Write where packages came from into their records, which name the archives in the cache."""
    for path in (prefix / "conda-meta").glob("*.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        if url := origins.get(record["name"]):
            record |= {"url": url, "channel": url.rsplit("/", 2)[0]}
            path.write_text(json.dumps(record, indent=2), encoding="utf-8")


def write_history(prefix: Path) -> None:
    """Record the command as real conda does: with the time, and the prefix in the user's list of environments."""
    now = datetime.datetime.now().strftime("%Y-%m-%d %H:%M:%S")
    with (prefix / "conda-meta" / "history").open("a", encoding="utf-8") as history:
        history.write(f"==> {now} <==\n# cmd: {' '.join(sys.argv)}\n")
    if os.environ.get("CONDA_REGISTER_ENVS", "true").lower() == "false":
        return
    environments = Path.home() / ".conda" / "environments.txt"
    environments.parent.mkdir(exist_ok=True)
    known = environments.read_text(encoding="utf-8").splitlines() if environments.exists() else []
    if str(prefix) not in known:
        environments.write_text("\n".join([*known, str(prefix)]) + "\n", encoding="utf-8")


def run_create(arguments: argparse.Namespace) -> None:
    if (arguments.prefix / "conda-meta").exists():
        shutil.rmtree(arguments.prefix)
    (arguments.prefix / "conda-meta").mkdir(parents=True)
    run_install(arguments)


def run_install(arguments: argparse.Namespace) -> None:
    if not (arguments.prefix / "conda-meta").is_dir():
        raise CondaError(f"{arguments.prefix} is not a conda environment")
    asyncio.run(install_packages(parse_explicit(arguments.file.read_text(encoding="utf-8")), arguments.prefix))
    write_history(arguments.prefix)


def run_clean(arguments: argparse.Namespace) -> None:
    """Empty the package cache if all is to go; the folder stays, since it may be a mount point.

    There is no index cache and no log to remove: this command keeps neither.
    """
    if not arguments.all:
        return
    cache = find_package_cache()
    for path in cache.iterdir() if cache.is_dir() else ():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def run_list(arguments: argparse.Namespace) -> None:
    records = [json.loads(path.read_text(encoding="utf-8")) for path in arguments.prefix.glob("conda-meta/*.json")]
    records.sort(key=lambda record: record["name"])
    if arguments.json:
        print(json.dumps([describe_record(record) for record in records], indent=2))
    elif arguments.explicit:
        print("@EXPLICIT", *(f"{record['url']}#{record['md5']}" for record in records), sep="\n")
    else:
        for record in records:
            print(f"{record['name']:<24} {record['version']:<16} {record['build']:<24} {record['channel']}")


def describe_record(record: dict[str, Any]) -> dict[str, Any]:
    return {
        "base_url": record["channel"],
        "build_number": record["build_number"],
        "build_string": record["build"],
        "channel": record["channel"].rsplit("/", 1)[-1],
        "dist_name": f"{record['name']}-{record['version']}-{record['build']}",
        "name": record["name"],
        "platform": record["subdir"],
        "version": record["version"],
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="conda", allow_abbrev=False)
    parser.add_argument("--version", "-V", action="version", version=VERSION)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run in (("create", run_create), ("install", run_install)):
        command = commands.add_parser(name, allow_abbrev=False)
        command.set_defaults(run=run)
        command.add_argument("--prefix", "-p", type=Path, required=True)
        command.add_argument("--file", type=Path, required=True)
        command.add_argument("--channel", "-c", action="append")
        for flag in ("--yes", "--quiet", "--override-channels", "--no-default-packages", "--offline"):
            command.add_argument(flag, action="store_true")
    clean = commands.add_parser("clean", allow_abbrev=False)
    clean.set_defaults(run=run_clean)
    what = clean.add_argument_group("what to remove")
    for option in ("--all", "--index-cache", "--logfiles"):
        what.add_argument(option, action="store_true")
    clean.add_argument("--yes", action="store_true")
    clean.add_argument("--quiet", action="store_true")
    listing = commands.add_parser("list", allow_abbrev=False)
    listing.set_defaults(run=run_list)
    listing.add_argument("--prefix", "-p", type=Path, required=True)
    listing.add_argument("--json", action="store_true")
    listing.add_argument("--explicit", action="store_true")
    arguments = parser.parse_args()
    if arguments.run is run_clean and not (arguments.all or arguments.index_cache or arguments.logfiles):
        clean.error("at least one removal target must be given")
    return arguments


def fail(message: str) -> NoReturn:
    print(f"conda: {message}", file=sys.stderr)
    raise SystemExit(1)


def main() -> None:
    arguments = parse_arguments()
    sys.path.append(str(ROOT / "lib" / "kit"))
    # Like real conda, this command has certificates of its own, and the system's need not exist.
    os.environ.setdefault("SSL_CERT_FILE", str(ROOT / "ssl" / "cacert.pem"))
    try:
        arguments.run(arguments)
    except (CondaError, OSError, RuntimeError) as error:  # RuntimeError: rattler's of a failed download
        fail(str(error))
    except Exception as error:
        # The other errors of rattler share a module, but no base class.
        if type(error).__module__ != "exceptions":
            raise
        fail(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
