"""The lock of one image: the exact packages of every cell, in the pixi.lock schema, version 6.

pixi, py-rattler and conda's conda-lockfiles read version 6 (py-rattler itself writes 7, which conda-lockfiles
refuses), so the YAML is written here. Beside the schema's keys each environment carries `imgbuild.inputs`, the digest
of what it was solved from; readers of the schema skip it. conda-lockfiles wants an environment called `default`: it
is the first cell again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import yaml

from builder.errors import LockError
from builder.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

VERSION = 6
PLATFORM = "linux-64"
FILE_NAME = "imgbuild.lock"

_DIGESTS = {"md5": "[0-9a-f]{32}", "sha256": "[0-9a-f]{64}"}
_PYTHON = frozenset({"python", "python_abi"})
_HINT = "run `imgbuild lock` to make it anew."
_HEADER = "# Made by `imgbuild lock`: the exact packages of every cell. Not for editing by hand.\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaPackage:
    """One conda package; `size` in bytes, `timestamp` in milliseconds since the epoch, `url` canonical.

    `noarch` is `python` for what lands in the folder of a Python version, `generic` for what else fits every platform,
    None for the rest; who does not give it gets the careful guess, `python` for all that may be. Another tool's lock
    may tell neither `size` (0, which no package has) nor digests (empty).
    """

    name: str
    version: str
    build: str
    url: str
    md5: str
    sha256: str
    size: int
    depends: tuple[str, ...] = ()
    constrains: tuple[str, ...] = ()
    license: str | None = None
    timestamp: int | None = None
    purls: tuple[str, ...] = ()
    noarch: str | None = None

    def __post_init__(self) -> None:
        if self.noarch is None and (guess := derive_noarch(self.url, self.build)):
            object.__setattr__(self, "noarch", "python" if "python" in self.needs else guess)

    @property
    def needs(self) -> frozenset[str]:
        """The names of the packages that it depends on."""
        return frozenset(map(_name_needed, self.depends))

    @property
    def needs_python(self) -> bool:
        """Whether its files land in a folder of one Python version, or need one to run."""
        return not _PYTHON.isdisjoint({self.name, *self.needs})


@dataclass(frozen=True, slots=True, kw_only=True)
class PipPackage:
    """One wheel; `requires` names the distributions that it pulled in, `size` is None where no index told it."""

    name: str
    version: str
    url: str
    sha256: str
    size: int | None = None
    requires: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The packages of one cell, sorted by name, and the digest of the inputs that they were solved from."""

    name: str
    inputs: str
    channels: tuple[str, ...]
    conda: tuple[CondaPackage, ...]
    pip: tuple[PipPackage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """All environments of one image, by name."""

    environments: tuple[Environment, ...] = ()

    def find(self, name: str) -> Environment | None:
        """Return the environment called `name`, if the lock has it."""
        return next((environment for environment in self.environments if environment.name == name), None)

    def replace(self, solved: Iterable[Environment], *, names: Iterable[str]) -> Lock:
        """Return a lock of the environments called `names`, in that order, with `solved` in place of older ones."""
        known = {environment.name: environment for environment in (*self.environments, *solved)}
        return Lock(environments=tuple(known[name] for name in names if name in known))


def read_lock(path: Path, cache: Path | None = None) -> Lock:
    """Return the lock in a file, an empty one if there is no such file. Raises LockError for anything else.

    Parsing YAML is most of the time that an up-to-date build takes, so with a `cache` folder the parsed text is kept
    there as JSON, under the digest of the text.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return Lock()
    except OSError as error:
        raise LockError(f"cannot be read: {error.strerror}", path=path) from error
    try:
        data = _load_cached(text, cache) if cache else _load(text)
        if data["version"] != VERSION:
            raise LockError(f"lock version {data['version']}; this imgbuild reads {VERSION}", path=path, hint=_HINT)
        return _parse(data)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise LockError(f"not a lock: {error.problem}", path=path, line=line, hint=_HINT) from error
    except (KeyError, TypeError, AttributeError, ValueError, yaml.YAMLError) as error:
        raise LockError("not a lock that imgbuild wrote, or not all of it", path=path, hint=_HINT) from error


def _load(text: bytes) -> Any:
    return yaml.load(text, Loader=yaml.CSafeLoader)


def _load_cached(text: bytes, cache: Path) -> Any:
    path = cache / "locks" / f"{hashlib.sha256(text).hexdigest()}.json"
    with contextlib.suppress(OSError, ValueError):
        return json.loads(path.read_bytes())
    data = _load(text)
    with contextlib.suppress(OSError, TypeError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(data))
    return data


def write_lock(lock: Lock, path: Path) -> None:
    """Write a lock: all of it or nothing, the same bytes for the same packages. Raises LockError."""
    try:
        write_whole(path, _HEADER + dump_lock(lock))
    except OSError as error:
        raise LockError(f"cannot be written: {error.strerror}", path=path) from error


def dump_lock(lock: Lock, *, indexes: Sequence[str] = ()) -> str:
    """Return the YAML text of a lock; pip `indexes` go into each of its environments, for who needs to be told."""
    environments = {environment.name: _environment_node(environment) for environment in lock.environments}
    if lock.environments:
        environments = {"default": _environment_node(lock.environments[0], inputs=False), **environments}
    if indexes:
        environments = {name: node | {"indexes": list(indexes)} for name, node in environments.items()}
    wheels: dict[str, PipPackage] = {}
    for package in (package for environment in lock.environments for package in environment.pip):
        known = wheels.get(package.url, package)
        requires = tuple(sorted({*known.requires, *package.requires}))
        wheels[package.url] = replace(package, requires=requires)  # a marker may ask for more in one cell
    packages = {
        **{package.url: _conda_node(package) for env in lock.environments for package in env.conda},
        **{url: _pip_node(package) for url, package in wheels.items()},
    }
    data = {
        "version": VERSION,
        "environments": environments,
        "packages": sorted(packages.values(), key=lambda node: (node.get("conda", "~"), node.get("pypi", ""))),
    }
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True)


class _Dumper(yaml.CSafeDumper):
    def ignore_aliases(self, _data: Any) -> bool:
        return True


@cache
def _name_needed(spec: str) -> str:
    """Return the name in a spec, which may begin with its channel: `conda-forge::python >=3.10`."""
    return re.split(r"[ =<>!~\[]", spec.strip(), maxsplit=1)[0].rpartition("::")[2]


def _environment_node(environment: Environment, *, inputs: bool = True) -> dict[str, Any]:
    references = [{"conda": package.url} for package in environment.conda]
    references += [{"pypi": package.url} for package in environment.pip]
    node: dict[str, Any] = {"imgbuild": {"inputs": environment.inputs}} if inputs else {}
    return {
        **node,
        "channels": [{"url": f"{url}/"} for url in environment.channels],
        "packages": {PLATFORM: references},
    }


def _conda_node(package: CondaPackage) -> dict[str, Any]:
    node: dict[str, Any] = {"conda": package.url}
    node |= {"noarch": package.noarch} if package.noarch != derive_noarch(package.url, package.build) else {}
    node |= {"sha256": package.sha256, "md5": package.md5}
    node |= {"depends": list(package.depends)} if package.depends else {}
    node |= {"constrains": list(package.constrains)} if package.constrains else {}
    node |= {"license": package.license} if package.license else {}
    node |= {"purls": list(package.purls)} if package.purls else {}
    node |= {"size": package.size}
    return node | ({"timestamp": package.timestamp} if package.timestamp else {})


def _pip_node(package: PipPackage) -> dict[str, Any]:
    node: dict[str, Any] = {"pypi": package.url, "name": package.name, "version": package.version}
    node |= {"sha256": package.sha256}
    node |= {"size": package.size} if package.size is not None else {}
    return node | ({"requires_dist": list(package.requires)} if package.requires else {})


def _parse(data: Mapping[str, Any]) -> Lock:
    nodes = {node.get("conda") or node["pypi"]: node for node in data["packages"]}
    parsed = {url: _conda_package(node) if "conda" in node else _pip_package(node) for url, node in nodes.items()}
    return Lock(
        environments=tuple(
            _parse_environment(name, node, parsed) for name, node in data["environments"].items() if "imgbuild" in node
        )
    )


def _parse_environment(
    name: str, node: Mapping[str, Any], parsed: Mapping[str, CondaPackage | PipPackage]
) -> Environment:
    packages = [parsed[reference.get("conda") or reference["pypi"]] for reference in node["packages"][PLATFORM]]
    return Environment(
        name=name,
        inputs=node["imgbuild"]["inputs"],
        channels=tuple(channel["url"].rstrip("/") for channel in node["channels"]),
        conda=tuple(package for package in packages if isinstance(package, CondaPackage)),
        pip=tuple(package for package in packages if isinstance(package, PipPackage)),
    )


def _digest(node: Mapping[str, Any], kind: str) -> str:
    digest: str = node[kind]
    if not re.fullmatch(_DIGESTS[kind], digest):
        raise ValueError(f"{digest} is no {kind}")
    return digest


def _conda_package(node: Mapping[str, Any]) -> CondaPackage:
    name, version, build = split_conda_url(node["conda"])
    return CondaPackage(
        name=name,
        version=version,
        build=build,
        url=node["conda"],
        md5=_digest(node, "md5"),
        sha256=_digest(node, "sha256"),
        size=node["size"],
        depends=tuple(node.get("depends", ())),
        constrains=tuple(node.get("constrains", ())),
        license=node.get("license"),
        timestamp=node.get("timestamp"),
        purls=tuple(node.get("purls", ())),
        noarch=node.get("noarch", derive_noarch(node["conda"], build)),
    )


def split_conda_url(url: str) -> tuple[str, str, str]:
    """Return name, version and build of a conda package from its file name (`name-version-build.conda`)."""
    file = url.rpartition("/")[2].removesuffix(".conda").removesuffix(".tar.bz2")
    name, version, build = file.rsplit("-", 2)
    return name, version, build


def derive_noarch(url: str, build: str) -> str | None:
    """Return the `noarch` that readers of the schema derive where it is missing (rattler_lock: derive_noarch_type)."""
    if "/noarch/" not in url:
        return None
    return "python" if "py" in build else "generic"


def _pip_package(node: Mapping[str, Any]) -> PipPackage:
    return PipPackage(
        name=node["name"],
        version=str(node["version"]),
        url=node["pypi"],
        sha256=_digest(node, "sha256"),
        size=node.get("size"),
        requires=tuple(node.get("requires_dist", ())),
    )
