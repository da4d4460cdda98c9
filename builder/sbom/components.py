"""The locked packages of a cell as every format of a bill of materials wants them: purl, place, hashes, needs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit, urlunsplit

from packageurl import PackageURL
from packaging.utils import canonicalize_name

from builder.channels import CHANNEL_ALIAS, PYPI_FILE, channel_urls
from builder.pins import list_distributions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from builder.lock import CondaPackage, Environment, PipPackage

Hash = tuple[Literal["md5", "sha256"], str]
"""An algorithm, and the digest in hexadecimal digits."""

_TOKEN = re.compile(r"/t/[^/]+(?=/)")
"""A token in the address of a channel (docs.conda.io, "Managing channels")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One package: `purl` identifies it, `url` is where it comes from, `needs` are the purls that it depends on.

    `name` is as channels and indexes spell it, normalized; `hashes` are of the file at `url`; `license` is what the
    package says, an SPDX expression or any other text.
    """

    kind: Literal["conda", "pypi"]
    name: str
    version: str
    purl: str
    url: str
    hashes: tuple[Hash, ...]
    license: str | None = None
    needs: tuple[str, ...] = ()


def list_components(environment: Environment) -> tuple[Component, ...]:
    """Return the packages of an environment, conda's and then pip's, in the order of the lock.

    What is needed and not among them, such as conda's virtual packages, is left out.
    """
    conda = {package.name: conda_purl(package) for package in environment.conda}
    pip = {canonicalize_name(wheel.name): wheel_purl(wheel) for wheel in environment.pip}
    distributions = {
        name: conda[package.name] for package in environment.conda for name in list_distributions(package)
    } | pip
    return (
        *(
            Component(
                kind="conda",
                name=package.name,
                version=package.version,
                purl=conda[package.name],
                url=bare_url(package.url),
                hashes=_list_hashes(sha256=package.sha256, md5=package.md5),
                license=package.license,
                needs=_pick(package.needs, conda),
            )
            for package in environment.conda
        ),
        *(
            Component(
                kind="pypi",
                name=canonicalize_name(wheel.name),
                version=wheel.version,
                purl=pip[canonicalize_name(wheel.name)],
                url=bare_url(wheel.url),
                hashes=_list_hashes(sha256=wheel.sha256),
                needs=_pick(map(canonicalize_name, wheel.requires), distributions),
            )
            for wheel in environment.pip
        ),
    )


def conda_purl(package: CondaPackage) -> str:
    """Return the package URL of a conda package. Source: packageurl.org, type conda."""
    channel, subdir, file = bare_url(package.url).rsplit("/", 2)
    qualifiers = {
        "build": package.build,
        "channel": _name_channel(channel),
        "subdir": subdir,
        "type": "tar.bz2" if file.endswith(".tar.bz2") else "conda",
    }
    return PackageURL("conda", name=package.name, version=package.version, qualifiers=qualifiers).to_string()


def wheel_purl(wheel: PipPackage) -> str:
    """Return the package URL of a wheel; one that PyPI does not have says where it is.

    Source: packageurl.org, type pypi and "Qualifiers".
    """
    url = bare_url(wheel.url)
    qualifiers = {} if PYPI_FILE.search(url) else {"download_url": url}
    return PackageURL("pypi", name=wheel.name, version=wheel.version, qualifiers=qualifiers).to_string()


def bare_url(url: str) -> str:
    """Return a URL without anything that may be a credential: user, token of a channel, query, fragment.

    A lock has none; this is for the one that somebody wrote by hand.
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, _TOKEN.sub("", parts.path), "", ""))


def _pick(names: Iterable[str], purls: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(sorted({purls[name] for name in names if name in purls}))


def _name_channel(url: str) -> str:
    if url in channel_urls("defaults"):
        return url.rpartition("/")[2]
    return url.removeprefix(f"{CHANNEL_ALIAS}/")


def _list_hashes(*, sha256: str, md5: str = "") -> tuple[Hash, ...]:
    hashes: tuple[Hash, Hash] = (("sha256", sha256), ("md5", md5))
    return tuple(pair for pair in hashes if pair[1])
