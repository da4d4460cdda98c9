"""The conda channel: the packages that are there, and their index."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.kit.steps import Step

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kit.workspace import Workspace


def list_packages(root: Path) -> tuple[str, ...]:
    """Return one line for each package file in the channel, which changes when the file does."""
    files = sorted((root / "channel" / "kit").glob("*/*.tar.bz2"))
    return tuple(
        f"{path.parent.name}/{path.name} {(stat := path.stat()).st_size} {stat.st_mtime_ns}" for path in files
    )


def index_channel(workspace: Workspace) -> Iterator[Path]:
    # Imported here: loading the solver takes longer than finding that a kit is complete.
    from rattler.index import index_fs

    channel = workspace.channel / "kit"
    asyncio.run(index_fs(channel, write_zst=True, write_shards=False, force=True))
    for subdir in ("linux-64", "noarch"):
        yield channel / subdir / "repodata.json"


def plan_index(root: Path) -> Step:
    """Return the step that indexes what is in the channel now."""
    return Step(
        name="channel", doing="indexing", make=index_channel, sources=("channel.py",), inputs=list_packages(root)
    )
