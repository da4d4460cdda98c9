"""Remember which image a build made, so that an engine is not asked again for what nothing of has changed.

One small file for each ref of each engine. What it says is a hint: it counts while the engine has that image under
that ref, and is written anew by every build.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING

from builder.context import digest_context
from builder.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from builder.context import Context


class Memo:
    """What the builds of one engine made. Any number of threads and processes may use it."""

    def __init__(self, folder: Path, engine_id: str) -> None:
        self._folder = folder
        self._engine_id = engine_id

    def find(self, ref: str, recipe: str) -> str | None:
        """Return the content digest of the image that a recipe made under a ref, None when none is known."""
        try:
            known, _, image_id = self._path(ref).read_text(encoding="utf-8").strip().partition(" ")
        except (OSError, UnicodeDecodeError):
            return None
        return image_id if known == recipe and image_id else None

    def keep(self, ref: str, recipe: str, image_id: str) -> None:
        """Remember what a recipe made, where the folder can be written."""
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            write_whole(self._path(ref), f"{recipe} {image_id}\n")

    def _path(self, ref: str) -> Path:
        return self._folder / hashlib.sha256(f"{self._engine_id} {ref}".encode()).hexdigest()


def digest_recipe(context: Context, *told: str, base: str, export: Mapping[str, str]) -> str:
    """Return the digest of all that is fixed of what an image is made from; it tells nothing of the machine.

    `told` is what else the build is told, `base` the content digest of what it builds on, wherever that comes from,
    and `export` says how layers are written.
    """
    parts = (base, *told, *sorted(export.items()), digest_context(context))
    return f"sha256:{hashlib.sha256(repr(parts).encode()).hexdigest()}"
