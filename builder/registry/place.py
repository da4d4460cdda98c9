"""Which registry is meant, and how this machine speaks to it: its address, its CA, the proxies on the way."""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from builder.errors import RegistryError

if TYPE_CHECKING:
    from builder.sources import Sources

CERTS = Path("/etc/docker/certs.d")
"""Where the engine looks for a registry's CA (docs.docker.com, "Use trusted certificates")."""

DAEMON = Path("/etc/docker/daemon.json")
"""The engine's own configuration, whose `insecure-registries` are spoken to without TLS."""

# github.com/distribution/reference, with a host. The first part of a name is a host when it has a dot or a port.
_NAME = r"localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+|[A-Za-z0-9.-]+(?=:)|\[[0-9A-Fa-f:]+\]"
_HOST = rf"(?:{_NAME})(?::[0-9]{{1,5}})?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = rf"{_PART}(?:/{_PART})*"
_REGISTRY = re.compile(rf"({_HOST})(?:/({_PATH}))?")
_REF = re.compile(rf"({_HOST})/({_PATH})(?::([A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}))?(?:@(sha256:[0-9a-f]{{64}}))?")
_HUB = {"docker.io": "registry-1.docker.io", "index.docker.io": "registry-1.docker.io"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ref:
    """An image in a registry; `target` is the tag, or the digest where the ref has one."""

    host: str
    repository: str
    target: str

    def __str__(self) -> str:
        return f"{self.host}/{self.repository}{'@' if ':' in self.target else ':'}{self.target}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A registry and the way to it: `host` as people write it, `url` without a path, `ca` None for the machine's own.

    `own_ca` is believed as well: a registry may send its readers to storage or a token server that others certify.
    `proxies` are by scheme, empty where none is to be used.
    """

    host: str
    url: str
    ca: Path | None = None
    own_ca: Path | None = None
    proxies: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def has(self, address: str) -> bool:
        """Return whether an address is of this registry, whichever way it writes host and port.

        Registries send addresses with the host of the request, which is in small letters and without the port that
        the scheme has anyway.
        """
        try:
            return _origin(address) == _origin(self.url)
        except ValueError:
            return False


def name_repository(path: str, image: str) -> str:
    """Return the repository of an image below a path, which may be empty: `team/pytorch`."""
    return f"{path}/{image}".lstrip("/")


def is_repository(text: str) -> bool:
    """Return whether a text can name a repository (distribution-spec, "Pulling manifests")."""
    return bool(re.fullmatch(_PATH, text))


def split_registry(text: str) -> tuple[str, str]:
    """Return host and path of `registry.example/team`; the path may be empty. Raises RegistryError."""
    if found := _match(_REGISTRY, text):
        return found[1], found[2] or ""
    raise RegistryError(
        f"{_show(text)} is no registry", hint="write it as host[:port]/path, such as registry.example/team"
    )


def parse_ref(text: str) -> Ref:
    """Return the image that `registry.example/team/app:1` or `…/app@sha256:…` names. Raises RegistryError."""
    found = _match(_REF, text)
    if not found or not (found[3] or found[4]):
        hint = "write it as registry.example/team/pytorch:2.7.1-cu118-py310, or with @sha256:… in place of the tag."
        raise RegistryError(f"{_show(text)} is no image in a registry", hint=hint)
    official = found[1] in _HUB and "/" not in found[2]
    return Ref(host=found[1], repository=f"library/{found[2]}" if official else found[2], target=found[4] or found[3])


def find_place(host: str, sources: Sources, *, insecure: bool = False) -> Place:
    """Return how this machine reaches a registry.

    TLS, unless it is on the loopback, the engine's daemon.json calls it insecure, or `insecure` says so; a CA of its
    own in /etc/docker/certs.d means TLS all the same. Other CAs and the proxies are those of the sources.
    """
    from requests.utils import should_bypass_proxies

    own = CERTS / host / "ca.crt"
    has_own = _is_file(own)
    plain = not has_own and (insecure or is_loopback(host) or host in _read_insecure(DAEMON))
    url = f"{'http' if plain else 'https'}://{_HUB.get(host, host)}"
    told = dict(sources.proxies)
    bypass = is_loopback(host) or should_bypass_proxies(url, told.get("no_proxy", ""))
    proxies = {scheme: told[key] for scheme in ("http", "https") if (key := f"{scheme}_proxy") in told}
    return Place(
        host=host,
        url=url,
        ca=sources.ca_bundle,
        own_ca=own if has_own else None,
        proxies=() if bypass else tuple(proxies.items()),
    )


def _match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """Return what matches all of a text, unless its host looks like an IPv6 address and is none."""
    found = pattern.fullmatch(text)
    try:
        if found and found[1].startswith("["):
            ipaddress.IPv6Address(found[1][1:].partition("]")[0])
    except ValueError:
        return None
    return found


def _origin(address: str) -> tuple[str, str, int | None]:
    """Return scheme, host with any login, and port of an address. Raises ValueError when it has none."""
    parts = urlsplit(address)
    login, _, _ = parts.netloc.rpartition("@")
    port = {"http": 80, "https": 443}.get(parts.scheme) if parts.port is None else parts.port
    return parts.scheme, f"{login}@{parts.hostname}", port


def _show(text: str) -> str:
    """Return a text that is no ref as it may be told: what stands before an @ may be a login."""
    return repr(re.sub(r"^.*@(?!sha256:)", "***@", text, flags=re.DOTALL))


def is_loopback(host: str) -> bool:
    """Return whether a host, with or without a port, is this machine."""
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _read_insecure(path: Path) -> frozenset[str]:
    """Return the hosts that the engine's configuration calls insecure; what cannot be read calls none so."""
    try:
        found = json.loads(path.read_bytes()).get("insecure-registries", [])
        return frozenset(map(str, found))
    except (OSError, ValueError, AttributeError, TypeError):
        return frozenset()
