"""Read what this machine's own clients are told: pip's configuration, netrc, proxy variables, the CA bundle."""

from __future__ import annotations

import configparser
import netrc
import os
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

from builder.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PROXY_KEYS = ("http_proxy", "https_proxy", "no_proxy")

# What netrc's readers disagree on: Python up to 3.10 takes quotes and backslashes as they are, Python 3.11 and curl
# take them away, and a word that starts with # is a comment to curl (Lib/netrc.py of each; curl, lib/netrc.c).
_NOT_PORTABLE = re.compile(r'\A["#]|[\s\\]')
_USER_INFO = re.compile(r"^(?![./]|file:)([\w+.-]+://)?.*@")
_TOKEN = re.compile(r"(?=.*\d)[\w-]{16,}")
_LEAST = 4
_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A user name and password (or token) for one host. Raises DefinitionError for control characters in them."""

    host: str
    user: str
    password: str

    def __post_init__(self) -> None:
        if any(ord(char) < 32 or ord(char) == 127 for char in self.user + self.password):
            message = f"the login for {self.host} holds a control character"
            raise DefinitionError(message, hint="correct it, or ask the host for another password or token.")

    @property
    def secrets(self) -> tuple[str, ...]:
        """The password, or the user name in its place; both where the user name looks like a token.

        A password of a few letters is told with what stands around it in an address: it is part of many words.
        """
        password = self.password or self.user
        shown = password if len(password) >= _LEAST else f":{password}@"
        return (shown, self.user) if _TOKEN.fullmatch(self.user) else (shown,)

    @property
    def portable(self) -> bool:
        """Whether every client reads the same login from a netrc."""
        return not any(map(_NOT_PORTABLE.search, (self.user, self.password)))


@dataclass(frozen=True, slots=True, kw_only=True)
class PipConfig:
    """Package indexes as pip names them; `local` holds those on this machine's disk, which no build can reach."""

    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    local: tuple[str, ...] = ()

    @property
    def urls(self) -> tuple[str, ...]:
        """Every address, the main index first."""
        return (*((self.index_url,) if self.index_url else ()), *self.extra_index_urls, *self.find_links)


def read_pip_config() -> PipConfig:
    """Return the indexes that pip uses on this machine, from its files and its PIP_* variables.

    Files and precedence: pip's documentation, "Configuration" (global, user, site, PIP_CONFIG_FILE, environment).
    """
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}}
    for path in _pip_files():
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError, OSError) as error:
            # Its words may quote a line of the file, and with it a password.
            line = getattr(error, "lineno", None)
            hint = "`pip config list` has to read it."
            raise DefinitionError("pip's configuration cannot be read", path=path, line=line, hint=hint) from error
        for section in filter(parser.has_section, sections):
            sections[section] |= {key.replace("_", "-"): value for key, value in parser.items(section)}
    found = sections["global"] | sections["install"]
    found |= {key[4:].lower().replace("_", "-"): value for key, value in os.environ.items() if key.startswith("PIP_")}
    index, extra, links = (found.get(key, "").split() for key in ("index-url", "extra-index-url", "find-links"))
    return PipConfig(
        index_url=next(filter(_is_remote, index), None),
        extra_index_urls=tuple(filter(_is_remote, extra)),
        find_links=tuple(filter(_is_remote, links)),
        local=tuple(_USER_INFO.sub(r"\1", url) for url in (*index, *extra, *links) if not _is_remote(url)),
    )


def read_proxies() -> tuple[tuple[str, str], ...]:
    """Return the proxy variables that are set, lower-case name and value; an address without a scheme gets http."""
    found = []
    for key in PROXY_KEYS:
        value = os.environ.get(key) or os.environ.get(key.upper())
        if value and key != "no_proxy":
            value = value if "://" in value else f"http://{value}"
            split_login(value)  # refuses what is no address
        found += [(key, value)] if value else []
    return tuple(found)


def read_ca_bundle() -> Path | None:
    """Return the CA bundle that the environment names for TLS clients, or None for each client's own."""
    for key in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT"):
        value = os.environ.get(key)
        if value and is_file(Path(value)):
            return Path(value)
    return None


def read_netrc(path: Path | None) -> tuple[Login, ...]:
    """Return the logins of a netrc file; without a path, those of $NETRC or ~/.netrc where there is one."""
    given = path or os.environ.get("NETRC")
    file = Path(given) if given else Path.home() / ".netrc"
    if not is_file(file):
        if path is not None:
            raise DefinitionError(f"the netrc file {path} does not exist", hint="give a file that exists.")
        return ()
    try:
        hosts = netrc.netrc(str(file)).hosts
    except (netrc.NetrcParseError, OSError, UnicodeDecodeError) as error:
        line = getattr(error, "lineno", None)
        raise DefinitionError("not a netrc file", path=file, line=line, hint="see `man 5 netrc`.") from error
    return tuple(
        Login(host=host, user=login, password=password or "")
        for host, (login, _, password) in hosts.items()
        if host != "default"
    )


def render_netrc(logins: Iterable[Login]) -> str:
    """Return logins as the text of a netrc file; one without a password (a token) is its user name alone.

    Raises DefinitionError for a login that not every client reads alike.
    """
    lines = []
    for login in logins:
        if not login.portable:
            raise DefinitionError(
                f"the login for {login.host} holds white space or a backslash, or starts with a quote or #",
                hint="clients read it from a netrc in different ways; ask the host for another password or token.",
            )
        words = ("machine", login.host), ("login", login.user), ("password", login.password)
        lines.append(" ".join(f"{key} {value}" for key, value in words if value) + "\n")
    return "".join(lines)


def split_login(url: str) -> tuple[str, Login | None]:
    """Return a URL without its user and password, and these as a login. Raises DefinitionError for no URL at all.

    Its host is in lower case and without the port that goes without saying, as clients tell where a file came from.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        # Neither the address nor the error is shown: either may hold a password.
        hint = "write https://host/path; in a password write / as %2F, : as %3A, @ as %40."
        raise DefinitionError("an index, mirror or proxy is not an address", hint=hint) from None
    if not parts.hostname:
        return url, None
    host = parts.netloc.rpartition("@")[2].lower().removesuffix(_PORTS.get(parts.scheme, ":"))
    address = urlunsplit(parts._replace(netloc=host))
    if parts.username is None and parts.password is None:
        return address, None
    return address, Login(
        host=parts.hostname, user=unquote(parts.username or ""), password=unquote(parts.password or "")
    )


def split_pip_logins(pip: PipConfig) -> tuple[PipConfig, tuple[Login, ...]]:
    """Return pip's configuration without credentials in its addresses, and the logins that stood there."""
    logins: list[Login] = []

    def strip(urls: Iterable[str]) -> Iterator[str]:
        for url in urls:
            bare, login = split_login(url)
            logins.extend([login] if login else [])
            yield bare

    bare = replace(
        pip,
        index_url=next(strip([pip.index_url])) if pip.index_url else None,
        extra_index_urls=tuple(strip(pip.extra_index_urls)),
        find_links=tuple(strip(pip.find_links)),
    )
    return bare, tuple(logins)


def is_file(path: Path) -> bool:
    """Return whether there is a file that this user can see."""
    try:
        return path.is_file()
    except OSError:
        return False


def _is_remote(url: str) -> bool:
    return url.lower().startswith(("http://", "https://"))


def _pip_files() -> list[Path]:
    override = os.environ.get("PIP_CONFIG_FILE")
    if override == os.devnull:
        return []
    config_home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    site = [Path(sys.prefix) / "pip.conf"]
    system = [Path("/etc/xdg/pip/pip.conf"), Path("/etc/pip.conf")]
    user = [Path.home() / ".pip" / "pip.conf", config_home / "pip" / "pip.conf"]
    given = [Path(override)] if override else []
    if any(map(is_file, given)):
        user = []  # pip then leaves the user's own files out
    return [path for path in (*system, *user, *site, *given) if is_file(path)]
