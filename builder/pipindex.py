"""What uv and pip indexes need from the host: canonical addresses of wheels, their sizes, and a netrc for one run."""

from __future__ import annotations

import os
import re
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from builder.channels import PYPI_FILE
from builder.errors import SolveError
from builder.hostconfig import render_netrc

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from builder.hostconfig import Login
    from builder.sources import Sources


def canonical_url(url: str, sources: Sources) -> str:
    """Return the address of a wheel as a lock carries it: without mirror, credentials or fragment.

    A mirror of PyPI serves the files under PyPI's own path, `/packages/<hash>/<file>`, so the canonical address is
    that path on the host which pip itself knows. Wheels of another index, whose paths differ, keep their address.
    """
    parts = urlsplit(url)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="", query="").geturl()
    for mirror, canonical in sources.origins:
        if bare.startswith(mirror + "/"):
            return canonical + bare[len(mirror) :]
    path = PYPI_FILE.search(bare)
    if path and _is_mirror_of_pypi(bare, sources):
        return f"https://{_pypi_files_host()}{path[0]}"
    return bare


def _is_mirror_of_pypi(url: str, sources: Sources) -> bool:
    index = sources.pip.index_url
    return index is not None and urlsplit(index).hostname == urlsplit(url).hostname


def find_default_index() -> str:
    """Return the address of the index that pip asks when nobody names one. Raises SolveError."""
    return str(_ask_pip().simple_url)


def _pypi_files_host() -> str:
    return str(_ask_pip().file_storage_domain)


def _ask_pip() -> Any:
    # pip is the client that knows; its name is private, so a pip without it is said clearly.
    try:
        from pip._internal.models.index import PyPI
    except ImportError as error:
        raise SolveError("pip does not tell where PyPI's files are", hint="install pip beside imgbuild.") from error
    return PyPI


def fetch_size(url: str, sources: Sources) -> int | None:
    """Return the size in bytes that a server tells for a file that it serves, None if it tells none."""
    import requests

    logins = {login.host: (login.user, login.password) for login in sources.logins}
    proxies = dict(sources.proxies)
    direct = requests.utils.should_bypass_proxies(url, no_proxy=proxies.pop("no_proxy", None))
    try:
        reply = requests.head(
            url,
            allow_redirects=True,
            timeout=20,
            auth=logins.get(urlsplit(url).hostname or ""),
            proxies={key.removesuffix("_proxy"): "" if direct else value for key, value in proxies.items()},
            verify=str(sources.ca_bundle) if sources.ca_bundle else True,
        )
    except (requests.RequestException, ValueError):  # ValueError: of a redirect to no address
        return None
    length = reply.headers.get("Content-Length", "")
    return int(length) if reply.ok and re.fullmatch(r"\d{1,18}", length, re.ASCII) else None


def _portable_logins(sources: Sources) -> list[Login]:
    """Return the logins for a netrc; one that it cannot hold matters only for a host that is surely asked."""
    asked = {urlsplit(url).hostname for url in (*sources.pip.urls, *(mirror for _, mirror in sources.mirrors))}
    return [login for login in sources.logins if login.portable or login.host in asked]


@contextmanager
def netrc_file(sources: Sources) -> Iterator[Mapping[str, str]]:
    """Yield the environment for a client that reads NETRC, proxies and SSL_CERT_FILE; the netrc is gone afterwards."""
    # uv's own variables would choose indexes and versions behind the sources' back.
    variables = {key: value for key, value in os.environ.items() if not key.startswith("UV_")}
    variables |= {key.upper(): value for key, value in sources.proxies}
    if sources.ca_bundle:
        variables["SSL_CERT_FILE"] = str(sources.ca_bundle)
    with tempfile.TemporaryDirectory(prefix="imgbuild-") as folder:
        logins = _portable_logins(sources)
        if logins:
            path = Path(folder) / "netrc"
            path.touch(mode=0o600)
            path.write_text(render_netrc(logins), encoding="utf-8")
            variables["NETRC"] = str(path)
        yield variables
