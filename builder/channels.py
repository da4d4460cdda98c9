"""Names of conda channels ↔ the canonical addresses that locks and Dockerfiles carry, whatever mirror served them."""

from __future__ import annotations

import re

CHANNEL_ALIAS = "https://conda.anaconda.org"
"""Where conda looks for a channel that is given by name (conda's default `channel_alias`)."""

TORCH_WHEELS = "https://download.pytorch.org/whl"
"""PyTorch's own wheel index; each CUDA variant has a folder (`cu118`, `cpu`)."""

PYPI_FILE = re.compile(r"/packages/[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{60}/[^/]+$")
"""The path of a file on PyPI and its mirrors; other indexes have other paths."""

_ANACONDA = "https://repo.anaconda.com/pkgs"


def channel_urls(channel: str) -> tuple[str, ...]:
    """Return the canonical URLs of a channel given by name or URL, without a trailing slash.

    `defaults` stands for Anaconda's main and r channels, as conda's own `default_channels` does on Linux.
    """
    if "://" in channel:
        return (channel.rstrip("/"),)
    if channel == "defaults":
        return (f"{_ANACONDA}/main", f"{_ANACONDA}/r")
    return (f"{CHANNEL_ALIAS}/{channel}",)


def mirror_prefix(name: str) -> str:
    """Return the canonical prefix that a mirror stands in for.

    `name` is a channel's name or URL; `defaults` is the folder of Anaconda's channels, `*` every channel that is
    given by name, `torch-wheels` PyTorch's wheel index.
    """
    named = {"defaults": _ANACONDA, "*": CHANNEL_ALIAS, "torch-wheels": TORCH_WHEELS}
    return named.get(name) or channel_urls(name)[0]
