"""Remember what the checks found in an image, for the one who publishes it later.

One small file for each ref of each engine, with the newest image that passed under that ref.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from typing import TYPE_CHECKING

from builder.checks import read_verdicts
from builder.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from builder.checks import Verdict


class Verdicts:
    """What the checks found in images of one engine. Any number of threads and processes may use it."""

    def __init__(self, folder: Path, engine_id: str) -> None:
        self._folder = folder
        self._engine_id = engine_id

    def find(self, ref: str, image_id: str) -> tuple[Verdict, ...]:
        """Return the verdicts on an image, none when they are not known as they were."""
        try:
            head, *lines = self._path(ref).read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError):
            return ()
        found = tuple(read_verdicts("\n".join(lines)).values())
        return found if head == _head(image_id, lines) and len(found) == len(lines) else ()

    def keep(self, ref: str, image_id: str, verdicts: Sequence[Verdict]) -> None:
        """Remember the verdicts on the image of a ref, where the folder can be written."""
        lines = [json.dumps({"check": it.check, "verdict": it.verdict, "detail": it.detail}) for it in verdicts]
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            write_whole(self._path(ref), "\n".join([_head(image_id, lines), *lines]) + "\n")

    def _path(self, ref: str) -> Path:
        return self._folder / hashlib.sha256(f"{self._engine_id} {ref}".encode()).hexdigest()


def _head(image_id: str, lines: Sequence[str]) -> str:
    """Return the first line of a file: the image, and a digest by which a damaged file is known."""
    return f"{image_id} {hashlib.sha256(chr(10).join(lines).encode()).hexdigest()}"
