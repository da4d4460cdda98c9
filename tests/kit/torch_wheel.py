"""A torch wheel index in the layout of PyTorch's own, when the machine's pip is configured with a CPU build."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from typing import TYPE_CHECKING

from packaging.version import Version

from tests.kit.steps import Step
from tests.kit.wheels import download_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kit.workspace import Workspace

PYTHON = "3.11"


def choose_cpu_version(listing: str) -> Version | None:
    """Return the newest `+cpu` version in what `pip index versions` prints."""
    found = [Version(text) for text in re.findall(r"\b\d[\w.]*\+cpu\b", listing)]
    return max(found, default=None)


def make_index(workspace: Workspace) -> Iterator[Path]:
    """Yield the index page and the record of the version; without a CPU build the record says null."""
    options = ("--only-binary=:all:", f"--python-version={PYTHON}", "--disable-pip-version-check")
    listing = workspace.run(sys.executable, "-m", "pip", "index", "versions", "torch", *options)
    version = choose_cpu_version(listing)
    record = workspace.scratch / "torch.json"
    record.write_text(json.dumps(version and version.public), encoding="utf-8")
    yield workspace.publish(record, workspace.root / "torch.json")
    if version is None:
        return
    folder = workspace.channel / "whl" / "cpu" / "torch"
    wheel = download_wheel(workspace, f"torch=={version}", PYTHON, workspace.scratch / "wheels")
    wheel = workspace.publish(wheel, folder.parent / wheel.name)
    yield wheel
    with wheel.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    page = workspace.scratch / "index.html"
    link = f'<a href="../{wheel.name.replace("+", "%2B")}#sha256={digest}">{wheel.name}</a>'
    page.write_text(f"<!DOCTYPE html><title>torch</title>{link}\n", encoding="utf-8")
    yield workspace.publish(page, folder / "index.html")


def read_cpu_version(root: Path) -> str | None:
    """Return the version of the CPU wheel without its `+cpu`, None when there is none."""
    version: str | None = json.loads((root / "torch.json").read_text(encoding="utf-8"))
    return version


TORCH = Step(name="torch", doing="looking for a CPU wheel", make=make_index, sources=("torch_wheel.py",))
