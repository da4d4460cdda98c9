"""Where this machine gets things from: base images, conda channels, wheels, proxies, CA bundle, credentials.

Sources belong to a machine, never to an image: they decide which address is asked, not which bytes are installed.
Locks and Dockerfiles carry canonical addresses only. In a build the sources travel as one secret (see `hostenv`).
"""

from __future__ import annotations

import base64
import os
import re
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import yaml

from builder.channels import mirror_prefix
from builder.errors import DefinitionError
from builder.hostconfig import (
    Login,
    PipConfig,
    is_file,
    read_ca_bundle,
    read_netrc,
    read_pip_config,
    read_proxies,
    split_login,
    split_pip_logins,
)
from builder.masking import mask

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

VARIABLE = "IMGBUILD_SOURCES"
"""Environment variable that names the sources when `--sources` does not."""

_KEYS = ("bases", "conda", "pip", "torch-wheels", "torch-find-links", "ca-bundle", "proxy", "netrc", "network")
_ADDRESS = re.compile(r"https?://[^\s/][^\s]*")
_TOKEN = re.compile(r"(?<=/t/)(?=[^/?#]*\d)[^/?#]{6,}|(?<=\?)[^#]{6,}")  # no word that texts have anyway
_PROXY = re.compile(r"(?:https?|socks[45][ah]?)://[^\s/][^\s]*")
# distribution/reference: host[:port]/path[:tag][@digest]
_IMAGE = re.compile(
    r"(?:[A-Za-z0-9.-]+(?::\d+)?/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*(?::\w[\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?", re.A
)
_HINT = "a sources file takes: " + ", ".join(_KEYS) + "; see the README's chapter on mirrors."


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The addresses and credentials of one machine.

    `mirrors` maps prefixes of canonical URLs to the prefixes that serve them, longest first; `bases` maps keys of
    bases.yaml to image refs; `torch_flat` says that the mirror of PyTorch's wheels is a flat list of files, not an
    index; `network` is None or "host". Credentials are all in `logins`, except those of a proxy, which stay in
    its address.
    """

    name: str
    bases: tuple[tuple[str, str], ...] = ()
    mirrors: tuple[tuple[str, str], ...] = ()
    pip: PipConfig = field(default_factory=PipConfig)
    torch_flat: bool = False
    ca_bundle: Path | None = None
    proxies: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    logins: tuple[Login, ...] = field(default=(), repr=False)
    network: str | None = None

    def base_ref(self, key: str) -> str | None:
        """Return the ref that stands in for the base `key` on this machine, if there is one."""
        return dict(self.bases).get(key)

    def mirror(self, url: str) -> str:
        """Return the address to ask on this machine for a canonical URL."""
        for canonical, mirror in self.mirrors:
            if url == canonical or url.startswith(canonical + "/"):
                return mirror + url[len(canonical) :]
        return url

    @property
    def origins(self) -> tuple[tuple[str, str], ...]:
        """`mirrors` the other way round: prefixes that serve, longest first, and what they stand in for."""
        pairs = ((mirror, canonical) for canonical, mirror in self.mirrors)
        return tuple(sorted(pairs, key=lambda pair: (-len(pair[0]), pair[0])))

    def redact(self, text: str) -> str:
        """Return a text without credentials, with canonical addresses in place of mirrors, and no host of a mirror."""
        for mirror, canonical in self.origins:
            text = text.replace(mirror, canonical)
        text = mask(text, self._secrets)
        hosts = _hosts(self.pip.urls) | _hosts(mirror for _, mirror in self.mirrors)
        for host in sorted(hosts - _hosts(canonical for canonical, _ in self.mirrors)):
            pattern = rf"(?<![\w.-]){re.escape(host)}(?::\d+)?(?![\w-]|\.\w)"
            text = re.sub(pattern, f"<{self.name} mirror>", text, flags=re.IGNORECASE)
        return text

    @property
    def _secrets(self) -> Iterator[str]:
        """What nobody may read: passwords, tokens, and what addresses have after /t/ (conda's tokens) and after ?."""
        proxies = (split_login(address)[1] for key, address in self.proxies if key != "no_proxy")
        for login in (*self.logins, *filter(None, proxies)):
            yield from login.secrets
            yield base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
        for address in (*self.pip.urls, *(mirror for _, mirror in self.mirrors)):
            yield from _TOKEN.findall(address)


def find_sources(name: str | None) -> Sources:
    """Return the sources called `name`: a file, a profile of the user's, or one that imgbuild ships.

    Without a name: IMGBUILD_SOURCES, then `sources:` in the user's config.yaml, then this machine's own settings
    (pip's configuration, proxy variables, CA bundle, netrc). Raises DefinitionError for an unknown name or a
    malformed file.
    """
    name = name or os.environ.get(VARIABLE) or _user_default()
    pip, logins = split_pip_logins(read_pip_config())
    host = Sources(
        name="host",
        pip=pip,
        ca_bundle=read_ca_bundle(),
        proxies=read_proxies(),
        logins=(*logins, *read_netrc(None)),
    )
    if name is None or name == "host":
        return host
    path = _find_file(name)
    return _load(path, host)


def _hosts(urls: Iterable[str]) -> set[str]:
    return {host for url in urls if (host := urlsplit(url).hostname)}


def _config_dir() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "imgbuild"


def _shipped() -> Path:
    return Path(str(resources.files("builder") / "data" / "sources"))


def _user_default() -> str | None:
    path = _config_dir() / "config.yaml"
    if not is_file(path):
        return None
    config = _read_mapping(path)
    unknown = set(config) - {"sources"}
    if unknown:
        raise DefinitionError(f"unknown key {min(unknown)!r}", path=path, hint="the user config takes: sources.")
    return _text(path, config, "sources")


def _find_file(name: str) -> Path:
    if "/" in name or name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not is_file(path):
            raise DefinitionError(
                f"there is no sources file {name}", hint="give a file that exists, or a profile name."
            )
        return path
    for folder in (_config_dir() / "sources", _shipped()):
        path = folder / f"{name}.yaml"
        if is_file(path):
            return path
    known = sorted({path.stem for folder in (_config_dir() / "sources", _shipped()) for path in folder.glob("*.yaml")})
    raise DefinitionError(
        f"there are no sources called {name!r}", hint=f"known: host, {', '.join(known)}; or give a file."
    )


def _read_mapping(path: Path) -> Mapping[str, Any]:
    try:
        # Every scalar is text here: `no`, which names a proxy variable, would be a boolean otherwise.
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CBaseLoader)  # noqa: S506 (makes nothing but text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise DefinitionError(f"not YAML: {error.problem}", path=path, line=line, hint=_HINT) from error
    except OSError as error:
        hint = "let this user read it, or choose other sources."
        raise DefinitionError(f"cannot be read: {error.strerror}", path=path, hint=hint) from error
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise DefinitionError("not a YAML text in UTF-8", path=path, hint=_HINT) from error
    if not isinstance(data, dict):
        raise DefinitionError("expected a mapping of settings", path=path, hint=_HINT)
    return data


def _load(path: Path, host: Sources) -> Sources:
    data = _read_mapping(path)
    unknown = sorted(set(map(str, data)) - set(_KEYS))
    if unknown:
        raise DefinitionError(f"unknown key {unknown[0]!r}", path=path, hint=_HINT)
    logins = list(host.logins)

    def bare(key: str, url: str) -> str:
        # The value stays out of the message: a misspelt address may hold a password.
        if not _ADDRESS.fullmatch(url):
            raise DefinitionError(f"{key} is not an address", path=path, hint="write https://host/path.")
        address, login = split_login(url.rstrip("/"))
        logins.extend([login] if login else [])
        return address

    sources = replace(host, name=path.stem)
    mirrors = [(mirror_prefix(name), bare(f"conda: {name}", url)) for name, url in _pairs(path, data, "conda")]
    torch_key = "torch-wheels" if data.get("torch-wheels") else "torch-find-links"
    if torch := _text(path, data, torch_key):
        mirrors.append((mirror_prefix("torch-wheels"), bare(torch_key, torch)))
    if "pip" in data:
        pip, found = split_pip_logins(_pip(path, data["pip"]))
        sources = replace(sources, pip=pip)
        logins += found
    if given := _text(path, data, "ca-bundle"):
        bundle = (path.parent / given).absolute()
        if not is_file(bundle):
            raise DefinitionError(f"the CA bundle {bundle} does not exist", path=path, hint="give a PEM file.")
        sources = replace(sources, ca_bundle=bundle)
    if "proxy" in data:
        sources = replace(sources, proxies=tuple(_proxies(path, data)))
    if given := _text(path, data, "netrc"):
        logins += read_netrc(path.parent / given)
    network = _text(path, data, "network")
    if network not in (None, "host", "default"):
        raise DefinitionError(f"network is {network!r}", path=path, hint='write "host" or "default".')
    return replace(
        sources,
        bases=tuple(_bases(path, data)),
        torch_flat="torch-find-links" in data,
        mirrors=tuple(sorted(mirrors, key=lambda pair: (-len(pair[0]), pair[0]))),
        logins=tuple({login.host: login for login in logins}.values()),
        network="host" if network == "host" else None,
    )


def _pairs(path: Path, data: Mapping[str, Any], key: str) -> list[tuple[str, str]]:
    value = data.get(key) or {}
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in (*value, *value.values())):
        raise DefinitionError(f"{key} must map names to addresses", path=path, hint=_HINT)
    return list(value.items())


def _text(path: Path, data: Mapping[str, Any], key: str) -> str | None:
    value = data.get(key)
    if not isinstance(value, str | None) or not (value or "").isprintable():
        raise DefinitionError(f"{key} is not one line of text", path=path, hint=_HINT)
    return value or None


def _bases(path: Path, data: Mapping[str, Any]) -> list[tuple[str, str]]:
    pairs = _pairs(path, data, "bases")
    for key, ref in pairs:
        if not _IMAGE.fullmatch(ref):
            hint = "write it as docker pull takes it: registry.example/image:tag."
            raise DefinitionError(f"bases: {key} is not the name of an image", path=path, hint=hint)
    return pairs


def _proxies(path: Path, data: Mapping[str, Any]) -> list[tuple[str, str]]:
    given = data["proxy"] or {}
    if isinstance(given, dict) and isinstance(given.get("no"), list):
        given = given | {"no": ",".join(map(str, given["no"]))}
    pairs = _pairs(path, {"proxy": given}, "proxy")
    for key, value in pairs:
        if key not in ("http", "https", "no"):
            raise DefinitionError(f"unknown proxy {key!r}", path=path, hint="proxy takes: http, https, no.")
        if not (value.isprintable() if key == "no" else _PROXY.fullmatch(value)):
            hint = "write http://host:port, also https or socks5; no takes a list of hosts."
            raise DefinitionError(f"proxy: {key} is malformed", path=path, hint=hint)
        if key != "no":
            split_login(value)  # refuses what is no address
    return [(f"{key}_proxy", value) for key, value in pairs]


def _pip(path: Path, value: Any) -> PipConfig:
    hint = "pip takes: index-url, extra-index-url, find-links, each an address; the last two also lists of them."
    if not isinstance(value, dict) or set(value) - {"index-url", "extra-index-url", "find-links"}:
        raise DefinitionError("pip is malformed", path=path, hint=hint)

    def urls(key: str) -> tuple[str, ...]:
        item = value.get(key) or ()
        items = (item,) if isinstance(item, str) else item
        if not isinstance(items, list | tuple) or not all(_ADDRESS.fullmatch(str(url)) for url in items):
            raise DefinitionError(f"pip: {key} is no address", path=path, hint=hint)
        return tuple(items)

    index = urls("index-url")
    return PipConfig(
        index_url=index[0] if index else None,
        extra_index_urls=urls("extra-index-url"),
        find_links=urls("find-links"),
    )
