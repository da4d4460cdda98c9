"""The locks of the field, as environments: pixi.lock (versions 3 to 7), conda-lock.yml (version 1), imgbuild.lock.

What a file holds decides what it is, not its name. py-rattler reads most of these as well, but takes longer (to be
imported), and makes one environment of all categories of a conda-lock.yml.

Sources: the models of each version in the crate rattler_lock of conda/rattler; conda_lock/lockfile/v1/models.py of
conda/conda-lock.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import unquote

from packaging.utils import canonicalize_name

from builder.credentials import hide_credentials
from builder.errors import LockError
from builder.lock import PLATFORM, CondaPackage, Environment, PipPackage, derive_noarch, split_conda_url
from builder.nodes import Node, NodeError, parse_nodes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_LOCATIONS = ("conda", "pypi", "conda_source", "url", "path")
_SELECTORS = ("name", "version", "build", "subdir")
_DIGESTS = {"md5": re.compile("[0-9a-f]{32}"), "sha256": re.compile("[0-9a-f]{64}")}
_NOARCH = {"python": "python", "generic": "generic", "true": "generic"}
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9._-]+)(?!.*;.*\bextra\b)")
_EXPLICIT = re.compile(rb"^@EXPLICIT\s*$", re.MULTILINE)
_QUERY = re.compile(r"\?[^#]*")
_HINT = "give a pixi.lock, a conda-lock.yml or an imgbuild.lock."


def read_foreign_lock(path: Path) -> tuple[Environment, ...]:
    """Return the environments of a lock file for linux-64, in the order of the file; other platforms are left out.

    Sizes are in bytes. Where the file does not tell one, as conda-lock.yml never does, it is 0 for a conda package
    and None for a pip package. Digests that it does not tell are empty, and so are `inputs`, unless imgbuild wrote it.
    What is built from source has neither size nor digest, nor always a version. A conda-lock.yml becomes `main`, and
    `main+dev` for a category `dev`. Raises LockError.
    """
    try:
        text = path.read_bytes()
        if found := _EXPLICIT.search(text):
            line = text.count(b"\n", 0, found.start()) + 1
            raise NodeError("an @EXPLICIT list does not tell what its packages depend on", line)
        return _read_document(parse_nodes(text))
    except OSError as error:
        raise LockError(f"cannot be read: {error.strerror}", path=path, hint=_HINT) from error
    except NodeError as error:
        message = f"not a lock to plan from: {error}"
        raise LockError(message, path=path, line=error.line, hint=error.hint or _HINT) from error


def _read_document(document: Node) -> tuple[Environment, ...]:
    keys = document.mapping().keys()
    if "package" in keys:
        _check_version(document, 1, 3)
        return _read_listed(document)
    if {"packages", "environments"} <= keys:
        _check_version(document, 4, 7)
        return _read_referred(document)
    raise document.fault("neither pixi, nor conda-lock, nor imgbuild wrote this")


def _check_version(document: Node, oldest: int, newest: int) -> None:
    version = document.whole("version")  # conda-lock's first files have none
    if version is not None and not oldest <= version <= newest:
        message = f"version {version}; this imgbuild reads versions {oldest} to {newest} of it"
        hint = "write it anew with a version of the tool that writes one of these."
        raise (document.find("version") or document).fault(message, hint)


def _read_listed(document: Node) -> tuple[Environment, ...]:
    """Return the environments of one flat list of packages: `main`, and for each other category one of both.

    conda-lock writes such a list, and pixi did until version 3.
    """
    nodes = document.items("package")
    _check_platform({node.need("platform") for node in nodes})
    categories: dict[str, list[CondaPackage | PipPackage]] = {}
    for node in nodes:
        if node.need("platform") == PLATFORM:
            categories.setdefault(node.text("category") or "main", []).append(_listed_package(node))
    main = categories.pop("main", [])
    named = ({"main": main} if main else {}) | {f"main+{name}": [*main, *more] for name, more in categories.items()}
    channels = _channels(document.find("metadata"))
    return tuple(_make_environment(name, channels, packages) for name, packages in named.items())


def _listed_package(node: Node) -> CondaPackage | PipPackage:
    digests = node.find("hash") or Node(None, node.line)
    dependencies = node.find("dependencies")
    if dependencies and isinstance(dependencies.value, dict):  # pixi wrote lists
        depends = tuple(f"{name} {dependencies.text(name)}".rstrip() for name in dependencies.value)
    else:
        depends = node.texts("dependencies") or node.texts("requires_dist")
    manager = node.need("manager")
    if manager == "conda":
        return _conda_package(node, _hide(node.need("url")), digests, depends)
    if manager in {"pip", "pypi"}:
        return _pip_package(node, _hide(node.need("url")), digests, depends)
    raise node.fault(f"the manager `{manager}` is neither conda nor pip")


def _read_referred(document: Node) -> tuple[Environment, ...]:
    """Return the environments that refer to packages; where imgbuild named some, `default` is one of them again."""
    environments = (document.find("environments") or document).mapping()
    if any(node.find("imgbuild") for node in environments.values()):
        environments = {name: node for name, node in environments.items() if node.find("imgbuild")}
    # Since version 7 a platform may have a name of its own.
    subdirs = {node.need("name"): node.text("subdir") or node.need("name") for node in document.items("platforms")}
    references = [
        (name, node, platform, listed)
        for name, node in environments.items()
        if (listed := node.find("packages"))
        for platform in listed.mapping()
    ]
    _check_platform({subdirs.get(platform, platform) for *_, platform, _ in references})
    packages = _Packages(document)
    return tuple(
        _make_environment(
            name if platform == PLATFORM else f"{name}@{platform}",
            _channels(node),
            [packages.find(reference) for reference in listed.items(platform)],
            inputs=marker.text("inputs") if (marker := node.find("imgbuild")) else "",
        )
        for name, node, platform, listed in references
        if subdirs.get(platform, platform) == PLATFORM
    )


class _Packages:
    """The packages of a document by location, each parsed once."""

    def __init__(self, document: Node) -> None:
        self._nodes: dict[str, list[Node]] = {}
        self._parsed: dict[int, CondaPackage | PipPackage] = {}
        for node in document.items("packages"):
            self._nodes.setdefault(_location(node), []).append(node)

    def find(self, reference: Node) -> CondaPackage | PipPackage:
        """Return the package that a reference means. Raises NodeError when the document does not have it."""
        location = _location(reference)
        wanted = {key: reference.text(key) for key in _SELECTORS if reference.find(key)}
        for node in self._nodes.get(location, ()):
            if all(node.text(key) == value for key, value in wanted.items()):
                if id(node) not in self._parsed:
                    is_pip = node.text("kind") == "pypi" or node.find("pypi")
                    make = _pip_package if is_pip else _conda_package
                    depends = node.texts("requires_dist" if is_pip else "depends")
                    self._parsed[id(node)] = make(node, location, node, depends)
                return self._parsed[id(node)]
        raise reference.fault(f"{location} is not among the packages")


def _location(node: Node) -> str:
    for key in _LOCATIONS:
        if location := node.text(key):
            return _hide(location)
    raise node.fault("a package without URL and path")


def _hide(url: str) -> str:
    """Return an address without user, password, token and query; of a repository the query says which commit."""
    shown = hide_credentials(url)
    return shown if shown.startswith("git+") else _QUERY.sub("", shown)


def _check_platform(platforms: set[str]) -> None:
    if PLATFORM not in platforms:
        found = ", ".join(sorted(platforms)) or "none"
        hint = f"name {PLATFORM} among the platforms of the project, and lock it again."
        raise NodeError(f"it is not for {PLATFORM}; its platforms: {found}", None, hint)


def _channels(node: Node | None) -> tuple[str, ...]:
    return tuple(map(_channel, node.items("channels"))) if node else ()


def _channel(node: Node) -> str:
    url = node.value if isinstance(node.value, str) else node.need("url")  # conda-lock once wrote texts
    return _hide(url).rstrip("/")


def _make_environment(
    name: str, channels: tuple[str, ...], packages: Iterable[CondaPackage | PipPackage], *, inputs: str = ""
) -> Environment:
    unique = sorted(dict.fromkeys(packages), key=lambda package: (package.name, package.url))
    return Environment(
        name=name,
        inputs=inputs,
        channels=channels,
        conda=tuple(package for package in unique if isinstance(package, CondaPackage)),
        pip=tuple(package for package in unique if isinstance(package, PipPackage)),
    )


def _conda_package(node: Node, location: str, digests: Node, depends: tuple[str, ...]) -> CondaPackage:
    name, version, build = location.partition("[")[0], "", ""  # from source, since version 7: `name[hash] @ path`
    if location.endswith((".conda", ".tar.bz2")):
        with suppress(ValueError):
            name, version, build = split_conda_url(unquote(location))
    # Since version 6 pixi tells it only where the build string misleads; conda-lock never does.
    derived = None if node.find("manager") else derive_noarch(location, node.text("build") or build)
    return CondaPackage(
        name=node.text("name") or name,
        version=node.text("version") or version,
        build=node.text("build") or build,
        url=location,
        md5=_digest(digests, "md5"),
        sha256=_digest(digests, "sha256"),
        size=node.whole("size") or 0,
        depends=depends,
        constrains=node.texts("constrains"),
        license=node.text("license") or None,
        timestamp=node.whole("timestamp"),
        purls=node.texts("purls"),
        noarch=_NOARCH.get(node.text("noarch")) or derived,
    )


def _pip_package(node: Node, location: str, digests: Node, requires: tuple[str, ...]) -> PipPackage:
    names = {canonicalize_name(found[1]) for spec in requires if (found := _REQUIREMENT.match(spec))}
    return PipPackage(
        name=canonicalize_name(node.need("name")),
        version=node.text("version"),
        url=location,
        # Of a repository conda-lock has the commit there.
        sha256="" if location.startswith("git+") else _digest(digests, "sha256"),
        size=node.whole("size"),
        requires=tuple(sorted(names)),
    )


def _digest(node: Node, kind: str) -> str:
    digest = node.text(kind)
    if digest and not _DIGESTS[kind].fullmatch(digest):
        raise (node.find(kind) or node).fault(f"this is no {kind}")
    return digest
