"""The build secret "host": a shell script with what this machine needs to reach packages, and nothing for the image.

It is mounted over the context's neutral `host/settings` while a step runs. Everything it writes goes to /dev/shm, a
memory file system of that one step.
"""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from builder.channels import TORCH_WHEELS
from builder.errors import DefinitionError
from builder.hostconfig import render_netrc

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from builder.hostconfig import Login
    from builder.lock import Environment
    from builder.sources import Sources

SECRET = "host"  # noqa: S105 (the name of the secret, not the secret)

_CA_VARIABLES = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PIP_CERT",
    "CONDA_SSL_VERIFY",
    "MAMBA_SSL_VERIFY",
)


def render_settings(sources: Sources, *environments: Environment) -> bytes:
    """Return the script for some cells. Of the machine's logins it holds only those for hosts that they ask.

    Raises DefinitionError for a CA bundle that cannot be read and a login that no netrc can hold.
    """
    return "\n".join(_lines(sources, environments)).encode() + b"\n"


def _lines(sources: Sources, environments: Sequence[Environment]) -> Iterator[str]:
    # Others may enter, not look around: apt reads the CA bundle as the user _apt.
    yield 'host=$(mktemp --directory --tmpdir=/dev/shm); chmod 711 "$host"'
    yield """trap 'rm -rf "$host"' EXIT"""
    for key, value in sources.proxies:
        yield f"export {key}={shlex.quote(value)} {key.upper()}={shlex.quote(value)}"
    if sources.ca_bundle:
        yield from _file("ca.pem", _read_bundle(sources.ca_bundle))
        yield "export " + " ".join(f'{name}="$host/ca.pem"' for name in _CA_VARIABLES)
        yield from _file("apt.conf", 'Acquire::https::CAInfo "@";\n')
        yield 'sed -i "s|@|$host/ca.pem|" "$host/apt.conf"; export APT_CONFIG="$host/apt.conf"'
    logins = _needed_logins(sources, environments)
    if logins:
        yield from _file("netrc", render_netrc(logins))
        yield 'chmod 600 "$host/netrc"; export NETRC="$host/netrc"'
    yield "export PIP_NO_INPUT=1"  # nobody is there whom pip could ask for a login
    if sources.pip.urls:
        yield from _file("pip.conf", _pip_conf(sources))
        yield 'export PIP_CONFIG_FILE="$host/pip.conf"'
    yield from _file("uv.toml", _uv_toml(sources))
    yield 'export UV_CONFIG_FILE="$host/uv.toml"'
    yield from _file("mirror.sed", "\n".join(_mirror_rules(sources)))
    yield from _file("canonical.sed", "\n".join(_rule(mirror, url) for mirror, url in sources.origins))
    yield 'export canonical_sed="$host/canonical.sed"'
    yield 'mirrored() { sed -f "$host/mirror.sed" "$1" > "$host/${1##*/}"; echo "$host/${1##*/}"; }'


def _read_bundle(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        message = f"the CA bundle cannot be read: {error.strerror}"
        raise DefinitionError(message, path=path, hint="give a PEM file that this user may read.") from error


def _file(name: str, text: str) -> Iterator[str]:
    yield f"printf '%s\\n' {shlex.quote(text.rstrip())} > \"$host/{name}\""


def _needed_logins(sources: Sources, environments: Sequence[Environment]) -> list[Login]:
    urls = {*sources.pip.urls, *(mirror for _, mirror in sources.mirrors), TORCH_WHEELS}
    for environment in environments:
        urls |= {*environment.channels, *(package.url for package in environment.pip)}
    hosts = {urlsplit(url).hostname for url in urls}
    return [login for login in sources.logins if login.host in hosts]


def _pip_conf(sources: Sources) -> str:
    pip = sources.pip
    insecure = sorted({urlsplit(url).netloc for url in pip.urls if urlsplit(url).scheme == "http"})
    lists = {
        "index-url": (pip.index_url,) if pip.index_url else (),
        "extra-index-url": pip.extra_index_urls,
        "find-links": pip.find_links,
        "trusted-host": insecure,
    }
    # One value stands in the line of its key: pip 20, as Debian has it, keeps a newline before it.
    rows = (f"{key} = " + "\n    ".join(values) for key, values in lists.items() if values)
    return "[global]\n" + "\n".join(rows)


def _uv_toml(sources: Sources) -> str:
    # uv stops at the first index that has the name; pip, and the lock, take the version from wherever it is.
    # What is installed has a locked hash, so no index can put another file under its name.
    pip = sources.pip
    settings = {
        "index-strategy": "unsafe-best-match",
        "index-url": pip.index_url,
        "extra-index-url": list(pip.extra_index_urls),
        "find-links": list(pip.find_links),
    }
    return "\n".join(f"{key} = {json.dumps(value)}" for key, value in settings.items() if value)


def _mirror_rules(sources: Sources) -> Iterator[str]:
    if sources.torch_flat:
        yield r"s|^--extra-index-url \(.*\)|--find-links \1|"
    for canonical, mirror in sources.mirrors:
        yield _rule(canonical, mirror)


def _rule(old: str, new: str) -> str:
    """Return a sed rule for a prefix of URLs, where a path follows it or a quoted value ends with it."""
    pattern = re.sub(r"([].*^$[\\|])", r"\\\1", old)
    replacement = re.sub(r"([&|\\])", r"\\\1", new)
    return rf's|{pattern}\([/"]\)|{replacement}\1|g'
