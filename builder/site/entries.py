"""What a catalogue tells of each published image, and the file that holds it. docs/site.md shows one."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, cast

from packaging.version import InvalidVersion, Version

from builder.compat import driver_for
from builder.errors import ImgbuildError
from builder.site.values import Value, ValueFault

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

VERSION = 1
"""The version of the file's schema."""

# The grammar of https://github.com/distribution/reference, with a tag. People paste the ref into a shell, so nothing
# else may be in it.
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REF = re.compile(
    rf"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]+)?/)?{_PART}(?:/{_PART})*:[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}"
)
_DIGEST = re.compile("sha256:[0-9a-f]{64}")
_RELEASE = re.compile(r"[1-9][0-9]{0,3}\.(?:0|[1-9][0-9]{0,3})")
_CUDA = re.compile(rf"cpu|{_RELEASE.pattern}")
_DRIVER = re.compile(r"[0-9]{3,4}\.[0-9]{2,3}(?:\.[0-9]{2})?")
_ARCH = re.compile("(?:sm|compute)_[0-9]{2,3}[af]?")
_KIND = re.compile("conda|pip")
_VERDICT = re.compile("pass|fail|skip")
_HINT = "docs/site.md of imgbuild says what stands where."


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package of an image. The version is as its installer writes it: conda's need not be PEP 440."""

    name: str
    version: str
    kind: Literal["conda", "pip"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What one check found in an image: `detail` says how much was looked at, or why it failed or was skipped."""

    check: str
    verdict: Literal["pass", "fail", "skip"]
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Previous:
    """What the tag meant before: the digest, and the packages that were in it."""

    digest: str
    packages: tuple[Package, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One published image.

    `ref` is `registry/name:tag`, `digest` what it means now. `cuda` is None for a CPU image and `torch` for one
    without torch. `min_driver` is None where no driver is needed, or nobody knows which. `arches` are what its torch
    has kernels (`sm_80`) or PTX (`compute_120`) for, empty when unknown. Sizes are in bytes: `compressed` is what a
    registry sends at most, `unpacked` what it takes on a disk, None when unknown.
    """

    image: str
    ref: str
    digest: str
    python: Version
    cuda: Version | None
    torch: Version | None
    min_driver: Version | None
    arches: tuple[str, ...]
    compressed: int
    unpacked: int | None
    created: datetime | None
    revision: str | None
    packages: tuple[Package, ...]
    verdicts: tuple[CheckResult, ...]
    previous: Previous | None


_ENTRY_KEYS = tuple(Entry.__slots__)


def read_entries(path: Path) -> tuple[Entry, ...]:
    """Return the entries of a JSON file, in its order: `{"version": 1, "entries": [{…}]}`, as docs/site.md shows.

    A `min_driver` that is missing is that of the table for its CUDA. Raises ImgbuildError, which names the first value
    that is wrong as `entries[3].digest`.
    """
    try:
        return parse_entries(path.read_bytes())
    except OSError as error:
        raise ImgbuildError(f"cannot be read: {error.strerror}", path=path) from error
    except ImgbuildError as error:
        error.path = path
        raise


def parse_entries(text: bytes) -> tuple[Entry, ...]:
    """Return the entries of a text, as `read_entries` does of a file. Raises ImgbuildError."""
    try:
        document = json.loads(text, object_pairs_hook=_refuse_twins)
        return _parse_document(Value(document, "the file"))
    except ValueFault as error:
        raise ImgbuildError(str(error), hint=_HINT) from error
    except json.JSONDecodeError as error:
        raise ImgbuildError(f"no JSON: {error.msg}", line=error.lineno, hint=_HINT) from error
    except (ValueError, RecursionError) as error:
        raise ImgbuildError("no JSON in UTF-8 that can be read", hint=_HINT) from error


def _refuse_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for name in names if names.count(name) > 1)
        raise ValueFault(f"the key {twin[:60]!r} is given twice in one object")
    return found


def _parse_document(document: Value) -> tuple[Entry, ...]:
    document.open(("version", "entries"))
    version = document.at("version")
    if version.whole() != VERSION:
        raise version.fault(f"{version.data}; this imgbuild reads {VERSION}")
    nodes = document.at("entries").items()
    entries = tuple(_parse_entry(node) for node in nodes)
    _refuse_repeated([entry.ref for entry in entries], nodes, "ref")
    return entries


def _parse_entry(node: Value) -> Entry:
    node.open(_ENTRY_KEYS)
    cuda = node.at("cuda").match(_CUDA, "12.6, or cpu")
    driver, arches, previous = node.at("min_driver"), node.at("arches"), node.at("previous")
    if cuda == "cpu" and not (driver.is_missing and not arches.items()):
        raise node.fault("an image for the CPU has neither min_driver nor arches")
    return Entry(
        image=node.at("image").name(),
        ref=node.at("ref").match(_REF, "registry.example/team/pytorch:2.7.1-cu118-py310"),
        digest=_parse_digest(node),
        python=Version(node.at("python").match(_RELEASE, "3.11")),
        cuda=None if cuda == "cpu" else Version(cuda),
        torch=_parse_torch(node.at("torch")),
        min_driver=_find_driver(driver, cuda),
        arches=tuple(item.match(_ARCH, "sm_90 or compute_120") for item in arches.items()),
        compressed=node.at("compressed").whole(),
        unpacked=None if node.at("unpacked").is_missing else node.at("unpacked").whole(),
        created=_parse_time(node.at("created")),
        revision=None if node.at("revision").is_missing else node.at("revision").name(),
        packages=_parse_packages(node.at("packages")),
        verdicts=_parse_verdicts(node.at("verdicts")),
        previous=None if previous.is_missing else _parse_previous(previous),
    )


def _parse_digest(node: Value) -> str:
    return node.at("digest").match(_DIGEST, "sha256: and 64 hexadecimal digits")


def _parse_torch(node: Value) -> Version | None:
    if node.is_missing:
        return None
    try:
        return Version(Version(node.name()).public)  # its build, `+cu118`, is told by `cuda`
    except InvalidVersion:
        raise node.fault(f"should be a version like 2.7.1, and is {node.data[:60]!r}") from None


def _find_driver(node: Value, cuda: str) -> Version | None:
    if not node.is_missing:
        return Version(node.match(_DRIVER, "525.60.13"))
    return None if cuda == "cpu" else driver_for(Version(cuda)).minimum


def _parse_time(node: Value) -> datetime | None:
    if node.is_missing:
        return None
    text = node.name()
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise node.fault(f"should be a time with its zone like 2026-08-13T09:30:00Z, and is {text[:60]!r}")
    return found


def _parse_packages(node: Value) -> tuple[Package, ...]:
    nodes = [item.open(Package.__slots__) for item in node.items()]
    packages = tuple(
        Package(
            name=item.at("name").name(),
            version=item.at("version").name(),
            kind=cast(Literal["conda", "pip"], item.at("kind").match(_KIND, "conda or pip")),
        )
        for item in nodes
    )
    _refuse_repeated([(package.kind, package.name) for package in packages], nodes, "name")
    return packages


def _parse_verdicts(node: Value) -> tuple[CheckResult, ...]:
    return tuple(
        CheckResult(
            check=item.at("check").name(),
            verdict=cast(Literal["pass", "fail", "skip"], item.at("verdict").match(_VERDICT, "pass, fail or skip")),
            detail="" if item.at("detail").is_missing else item.at("detail").text(),
        )
        for item in (it.open(CheckResult.__slots__) for it in node.items())
    )


def _parse_previous(node: Value) -> Previous:
    node.open(Previous.__slots__)
    return Previous(digest=_parse_digest(node), packages=_parse_packages(node.at("packages")))


def _refuse_repeated(keys: Iterable[object], nodes: list[Value], name: str) -> None:
    seen: dict[object, Value] = {}
    for key, node in zip(keys, nodes, strict=True):
        if key in seen:
            raise node.at(name).fault(f"is that of {seen[key].where} too")
        seen[key] = node
