"""Detached processes of the kit, known by pid files: start, recognize, stop."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.kit.errors import KitError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class EndedError(KitError):
    """A process that was waited for ended by itself."""


def read_pid(pid_file: Path, words: str) -> int | None:
    """Return the process of the pid file if it runs and its command line has the words, so that no other is taken."""
    try:
        pid = int(pid_file.read_text(encoding="utf-8"))
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (OSError, ValueError):
        return None
    return pid if words in command else None


def start_detached(argv: Sequence[str | Path], log: Path, environment: Mapping[str, str]) -> int:
    """Return the id of a process in a session of its own, which outlives this one; what it says goes to the log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    output = (os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    # Not subprocess.Popen: that means to wait for its child, and complains when it is let go.
    return os.posix_spawnp(
        str(argv[0]),
        [str(word) for word in argv],
        environment,
        file_actions=(
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), *output),
            (os.POSIX_SPAWN_OPEN, 2, str(log), *output),
        ),
        setsid=True,
    )


def wait_until(ready: Callable[[], bool], pid: int, log: Path, what: str) -> None:
    """Return when ready; raise EndedError when the child process ends first, KitError after five minutes."""
    end = time.monotonic() + 300
    while not ready():
        ended, _ = os.waitpid(pid, os.WNOHANG)
        if ended or time.monotonic() > end:
            raise (EndedError if ended else KitError)(f"{what} did not start", hint=f"its log is {log}")
        time.sleep(0.05)


def stop_process(pid_file: Path, words: str) -> bool:
    """Return whether a process was stopped: asked to end, then, after 30 seconds, made to."""
    pid = read_pid(pid_file, words)
    if pid is None:
        return False
    os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + 30
    while read_pid(pid_file, words):
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    pid_file.unlink(missing_ok=True)
    return True
