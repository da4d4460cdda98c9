"""The torch, torchvision or torchaudio that somebody asks for by the file of a wheel. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from builder.compat import TRIO

_FILE = re.compile(r"(?:.*[/@\s])?(?P<file>[^/@\s]+\.whl)(?:#\S*)?\s*(?P<marker>;.*)?")
_HERE = re.compile(r"any|(?:many)?linux.*_x86_64")


class TorchWheel(NamedTuple):
    """A wheel as a requirement: its version, and the Python (major.minor) that it is for, if it is for one."""

    requirement: str
    python: str | None


def read_torch_wheel(text: str) -> TorchWheel | None:
    """Return what a file or an address of a wheel means, or None where it is not of torch or not for linux-64.

    The parts of its name: packaging.python.org, "Binary distribution format".
    """
    found = _FILE.fullmatch(text)
    if not found:
        return None
    try:
        name, version, _, tags = parse_wheel_filename(unquote(found["file"]))
    except InvalidWheelFilename:
        return None
    if name not in TRIO | {"torch"} or not any(_HERE.fullmatch(tag.platform) for tag in tags):
        return None
    pythons = {minor[1] for tag in tags if (minor := re.fullmatch(r"cp3([0-9]{1,2})", tag.interpreter))}
    python = f"3.{pythons.pop()}" if len(pythons) == 1 else None
    return TorchWheel(f"{name}=={version} {found['marker'] or ''}".rstrip(), python)
