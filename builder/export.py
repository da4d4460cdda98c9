"""The locked packages of a cell in the formats of other tools: for who wants the environment without the image."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import yaml

from builder.channels import CHANNEL_ALIAS, PYPI_FILE
from builder.lock import PLATFORM, Lock, dump_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from builder.lock import Environment, PipPackage


def export_environment(environment: Environment, index: str) -> str:
    """Return an environment.yml with every package pinned, for `conda env create` and micromamba.

    `index` is the pip index that the wheels need beside pip's own, empty where they need none.
    """
    conda = [f"{it.name}={it.version}={it.build}" for it in environment.conda]
    pip = [f"--extra-index-url {index}"] if index else []
    pip += [_require(wheel, index) for wheel in environment.pip]
    data = {
        "name": environment.name,
        "channels": [url.removeprefix(f"{CHANNEL_ALIAS}/") for url in environment.channels],
        "dependencies": [*conda, *([{"pip": pip}] if environment.pip else [])],
    }
    return yaml.safe_dump(data, sort_keys=False, width=1000)


def export_explicit(environment: Environment, index: str) -> str:
    """Return an @EXPLICIT list with hashes, for `conda create --file`, and what pip adds as comments."""
    return "\n".join(_list_explicit(environment, index)) + "\n"


def export_pixi_lock(environment: Environment, index: str) -> str:
    """Return a pixi.lock, version 6, with the environment as its `default`.

    An environment with wheels names the indexes that they are of: pixi solves a lock again whose wheels have none
    (prefix-dev/pixi, lock_file/satisfiability). Raises SolveError where pip does not tell its own.
    """
    from builder.pipindex import find_default_index

    indexes = [find_default_index(), *([index] if index else [])] if environment.pip else []
    return dump_lock(Lock(environments=(replace(environment, name="default"),)), indexes=indexes)


def _list_explicit(environment: Environment, index: str) -> Iterator[str]:
    yield f"# platform: {PLATFORM}"
    if environment.pip:
        yield "# conda installs no wheels; afterwards, with the environment's pip, in one command:"
        yield "# pip install --no-deps" + (f" --extra-index-url {index}" if index else "") + " \\"
        *others, last = (f"#   {_quote(_require(wheel, index))}" for wheel in environment.pip)
        yield from (f"{line} \\" for line in others)
        yield last
    yield "@EXPLICIT"
    for package in environment.conda:
        yield f"{package.url}#{package.md5}"


def _require(wheel: PipPackage, index: str) -> str:
    """Return what pip is asked for: a release, or the very file of a wheel that none of its indexes may have.

    Those are PyPI, whose files have paths of their own, and `index`; by name alone pip would look for it there.
    """
    hosts = {f".{urlsplit(url).hostname}" for url in (wheel.url, index)}
    # PyTorch's index has some of its wheels on another of its hosts.
    if PYPI_FILE.search(wheel.url) or len(hosts) == 1 or all(it.endswith(".pytorch.org") for it in hosts):
        return f"{wheel.name}=={wheel.version}"
    return f"{wheel.name} @ {wheel.url}#sha256={wheel.sha256}"


def _quote(requirement: str) -> str:
    return f'"{requirement}"' if " " in requirement else requirement


FORMATS: dict[str, Callable[[Environment, str], str]] = {
    "environment.yml": export_environment,
    "explicit": export_explicit,
    "pixi.lock": export_pixi_lock,
}
