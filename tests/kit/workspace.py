"""Where a step works: a scratch folder, a log, commands whose failure is told in one line, outputs by rename."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.kit.errors import KitError

SOURCE_DATE = 1704067200
"""The modification time of everything the kit makes, seconds since 1970 (2024-01-01)."""


def find_kit() -> Path:
    """Return the kit's folder: IMGBUILD_KIT, else `imgbuild-kit` in the user's cache folder."""
    if chosen := os.environ.get("IMGBUILD_KIT"):
        return Path(chosen).absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser().absolute() / "imgbuild-kit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """What a step is given: the kit's folder, its own scratch folder in it, and its own log."""

    root: Path
    scratch: Path
    log: Path

    @property
    def channel(self) -> Path:
        return self.root / "channel"

    def run(self, *argv: str | Path, cwd: Path | None = None) -> str:
        """Return what the command writes to stdout; stderr goes to the log, as does stdout when the command fails.

        Raises KitError, which names the log, when the command is missing or fails.
        """
        environment = {
            **os.environ,
            "DEBIAN_FRONTEND": "noninteractive",
            "LC_ALL": "C.UTF-8",
            "SOURCE_DATE_EPOCH": str(SOURCE_DATE),
            "TMPDIR": str(self.scratch),
        }
        with self.log.open("ab") as log:
            log.write(f"$ {' '.join(map(str, argv))}\n".encode())
            log.flush()
            try:
                done = subprocess.run(
                    argv,
                    cwd=cwd or self.scratch,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    check=False,
                )
            except FileNotFoundError:
                raise KitError(f"`{argv[0]}` is not installed", hint=f"the log is {self.log}") from None
            if done.returncode:
                log.write(done.stdout)
                raise KitError(
                    f"`{Path(argv[0]).name}` failed with exit code {done.returncode}", hint=self.last_words()
                )
        return done.stdout.decode(errors="replace")

    def last_words(self) -> str:
        """Return the last line of the log, and where the rest is."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines() or [""]
        return f"the log ends with `{lines[-1].strip()[:200]}`; all of it is in {self.log}"

    def publish(self, made: Path, target: Path) -> Path:
        """Return the target, which now holds what was made: moved by rename, so that it is never seen half done."""
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            shutil.rmtree(target)
        made.replace(target)
        return target
