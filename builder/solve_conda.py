"""Solve conda specs with py-rattler for a machine that is not this one: the cell's CUDA, the base image's glibc."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import rattler
from rattler.exceptions import FetchRepoDataError, GatewayError, SolverError
from rattler.networking import AuthenticationMiddleware, MirrorMiddleware, RetryMiddleware

from builder.channels import channel_urls
from builder.errors import SolveError
from builder.lock import CondaPackage
from builder.names import name_distributions
from builder.pipindex import netrc_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from packaging.version import Version

    from builder.sources import Sources

_RETRIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaRequest:
    """One solve: specs and constraints, channels by priority, the machine it is for, and packages to keep if possible.

    `cuda` is the `__cuda` of the machine that will run the image (None: it has no GPU); `keep` are packages of the
    previous lock, taken again wherever the specs allow.
    """

    name: str
    specs: tuple[str, ...]
    constraints: tuple[str, ...]
    channels: tuple[str, ...]
    cuda: Version | None
    glibc: Version
    keep: tuple[CondaPackage, ...] = ()


def solve_conda(requests: Sequence[CondaRequest], sources: Sources, cache: Path) -> list[tuple[CondaPackage, ...]]:
    """Return the packages of each request, sorted by name, with canonical URLs; repodata is cached under `cache`.

    Raises SolveError when a request has no solution or a channel cannot be read.
    """
    with _environ(sources):
        return asyncio.run(_solve_all(requests, sources, cache))


async def _solve_all(
    requests: Sequence[CondaRequest], sources: Sources, cache: Path
) -> list[tuple[CondaPackage, ...]]:
    gateway = rattler.Gateway(cache_dir=cache / "repodata", client=_client(sources))
    solves = (_solve_one(request, gateway, sources) for request in requests)
    # All are awaited, also after a failure: rattler's threads may not outlive the interpreter.
    found = await asyncio.gather(*solves, return_exceptions=True)
    for failure in found:
        if isinstance(failure, BaseException):
            raise failure
    return [packages for packages in found if not isinstance(packages, BaseException)]


async def _solve_one(request: CondaRequest, gateway: rattler.Gateway, sources: Sources) -> tuple[CondaPackage, ...]:
    try:
        # Conda's own notation (`pytorch 2.5.1 *_cuda11.8_*`) is the lenient one.
        specs = [rattler.MatchSpec(spec, strict=False) for spec in request.specs]
        # The gateway loads only records that match a spec, and a channel hides others only with what was loaded: the
        # bare names make it load all, so that a spec which the first channel cannot meet is not met by the next one.
        names = sorted({spec.name.normalized for spec in specs if spec.name})
        records = await rattler.solve(
            sources=[url for channel in request.channels for url in channel_urls(channel)],
            specs=[*specs, *names],
            constraints=[rattler.MatchSpec(constraint, strict=False) for constraint in request.constraints],
            gateway=gateway,
            platforms=["linux-64", "noarch"],
            locked_packages=[_to_record(package) for package in request.keep],
            virtual_packages=list(virtual_packages(cuda=request.cuda, glibc=request.glibc)),
            channel_priority=rattler.ChannelPriority.Strict,
        )
    except SolverError as error:
        hint = "loosen the package list, or pin a version that the channels have."
        raise SolveError(f"{request.name}: conda finds no solution:\n{error}", hint=hint) from error
    except (GatewayError, FetchRepoDataError, OSError) as error:
        channels = ", ".join(request.channels)
        hint = f"is it reachable from here? sources in use: {sources.name} (choose others with --sources)."
        raise SolveError(f"{request.name}: cannot read the channels {channels}: {error}", hint=hint) from error
    except (rattler.exceptions.InvalidMatchSpecError, ValueError) as error:
        raise SolveError(f"{request.name}: {error}", hint="correct the conda list of the definition.") from error
    kept = {package.url: package for package in request.keep}  # whole: a record made from a lock has no timestamp
    packages = (kept.get(record.url) or _from_record(record) for record in records)
    return tuple(sorted(packages, key=lambda package: package.name))


def virtual_packages(*, cuda: Version | None, glibc: Version) -> Iterator[rattler.GenericVirtualPackage]:
    """Yield what conda would detect on the machine that runs the image; nothing of this machine enters."""
    found = {"__unix": "0", "__linux": "5.10", "__glibc": str(glibc), "__archspec": "1"}
    if cuda is not None:
        found["__cuda"] = str(cuda)
    for name, version in found.items():
        build = "x86_64" if name == "__archspec" else "0"
        yield rattler.GenericVirtualPackage(
            rattler.PackageName(name), rattler.Version(version), rattler.BuildString(build)
        )


def _client(sources: Sources) -> rattler.Client:
    # No middleware here calls back into Python: rattler's threads may ask once more while the interpreter ends.
    mirrors = {canonical: [mirror] for canonical, mirror in sources.mirrors}
    return rattler.Client([RetryMiddleware(_RETRIES), MirrorMiddleware(mirrors), AuthenticationMiddleware()])


@contextmanager
def _environ(sources: Sources) -> Iterator[None]:
    """Let the HTTP client see the sources' logins, proxies and CA bundle: it reads them from the environment only."""
    before = dict(os.environ)
    with netrc_file(sources) as variables:
        os.environ.update(variables)
        try:
            yield
        finally:
            for key in set(variables) - set(before):
                del os.environ[key]
            os.environ.update(before)


def _from_record(record: rattler.RepoDataRecord) -> CondaPackage:
    if record.md5 is None or record.sha256 is None or record.size is None:
        raise SolveError(f"{record.url}: the channel's index gives no md5, sha256 and size", hint="index it anew.")
    package = CondaPackage(
        name=record.name.normalized,
        version=str(record.version),
        build=str(record.build),
        url=record.url,
        md5=record.md5.hex(),
        sha256=record.sha256.hex(),
        size=record.size,
        depends=tuple(record.depends),
        constrains=tuple(record.constrains),
        license=record.license,
        timestamp=round(record.timestamp.timestamp() * 1000) if record.timestamp else None,
    )
    return replace(package, purls=_list_purls(package, record))


def _list_purls(package: CondaPackage, record: rattler.RepoDataRecord) -> tuple[str, ...]:
    """Return the distributions in a package: what its channel says, as rattler_conda_types has it, else by names."""
    told = json.loads(record.to_json()).get("purls")
    if told is not None:
        return tuple(purl for purl in told if purl.startswith("pkg:pypi/"))
    names = name_distributions(package.name, package.version) if package.needs_python else ()
    return tuple(f"pkg:pypi/{name}" for name in names)


def _to_record(package: CondaPackage) -> rattler.RepoDataRecord:
    folder, _, file = package.url.rpartition("/")
    channel, _, subdir = folder.rpartition("/")
    number = package.build.rpartition("_")[2]
    record = rattler.PackageRecord(
        name=package.name,
        version=package.version,
        build=rattler.BuildString(package.build),
        build_number=int(number) if number.isdecimal() else 0,
        subdir=subdir,
        arch=None,
        platform=None,
        noarch=None,
        depends=list(package.depends),
        constrains=list(package.constrains),
        sha256=bytes.fromhex(package.sha256),
        md5=bytes.fromhex(package.md5),
        size=package.size,
        license=package.license,
    )
    return rattler.RepoDataRecord(package_record=record, file_name=file, channel=channel, url=package.url)
