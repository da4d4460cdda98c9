"""A kit is made of steps: each runs once for its inputs, can be killed at any time, and is remembered by a marker."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.kit.errors import KitError
from tests.kit.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future

SOURCES = Path(__file__).parent
_AT_ONCE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to make. `sources` are the files of this package that decide its outcome, `inputs` what else does."""

    name: str
    doing: str
    make: Callable[[Workspace], Iterable[Path]]
    sources: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    after: tuple[Step, ...] = ()

    @property
    def slug(self) -> str:
        return self.name.replace(" ", "-")

    def digest_inputs(self) -> str:
        """Return the digest of all that decides the outcome, the steps before this one included."""
        parts = [*((SOURCES / source).read_text(encoding="utf-8") for source in self.sources), *self.inputs]
        parts += [step.digest_inputs() for step in self.after]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def read_marker(step: Step, root: Path) -> tuple[str, tuple[Path, ...]]:
    """Return the digest and the outputs the step last succeeded with; an empty digest when it never did."""
    try:
        marker = json.loads((root / "steps" / f"{step.slug}.json").read_text(encoding="utf-8"))
        return marker["digest"], tuple(root / output for output in marker["outputs"])
    except (OSError, ValueError, KeyError):
        return "", ()


def is_done(step: Step, root: Path) -> bool:
    """Return whether the step's outputs exist and were made from what its inputs are now."""
    digest, outputs = read_marker(step, root)
    return digest == step.digest_inputs() and all(output.exists() for output in outputs)


def run_step(step: Step, root: Path) -> None:
    """Make the step unless it is done; say so on stderr. Raises KitError when it cannot be made."""
    if is_done(step, root):
        return
    workspace = Workspace(root=root, scratch=root / "tmp" / step.slug, log=root / "logs" / f"{step.slug}.log")
    shutil.rmtree(workspace.scratch, ignore_errors=True)
    for folder in (workspace.scratch, workspace.log.parent, root / "steps"):
        folder.mkdir(parents=True, exist_ok=True)
    workspace.log.unlink(missing_ok=True)
    _, stale = read_marker(step, root)
    digest = step.digest_inputs()
    with Progress(step.name, step.doing):
        try:
            outputs = tuple(step.make(workspace))
        except KitError as error:
            raise KitError(f"{step.name}: {error.message}", hint=error.hint) from error
    for output in set(stale) - set(outputs):
        output.unlink(missing_ok=True)
    marker = workspace.scratch / "marker.json"
    relative = sorted(str(output.relative_to(root)) for output in outputs)
    marker.write_text(json.dumps({"digest": digest, "outputs": relative}, indent=1), encoding="utf-8")
    workspace.publish(marker, root / "steps" / f"{step.slug}.json")
    shutil.rmtree(workspace.scratch)


def run_steps(steps: Iterable[Step], root: Path) -> None:
    """Make the steps, some at the same time; those that a step comes `after` stand before it.

    Raises the KitError of one that cannot be made, once those that have begun have ended.
    """
    begun: dict[Step, Future[None]] = {}

    def run(step: Step) -> None:
        for earlier in step.after:
            begun[earlier].result()
        run_step(step, root)

    executor = ThreadPoolExecutor(_AT_ONCE)
    try:
        for step in steps:
            begun[step] = executor.submit(run, step)
        for ended in wait(begun.values(), return_when=FIRST_EXCEPTION).done:
            ended.result()
    finally:
        executor.shutdown(cancel_futures=True)


class Progress:
    """Two lines on stderr about a thing that takes time: what is done, and how long it took."""

    def __init__(self, name: str, doing: str) -> None:
        self.name, self.doing = name, doing

    def __enter__(self) -> None:
        self.started = time.monotonic()
        self._say(f"{self.doing} …")

    def __exit__(self, kind: object, *_: object) -> None:
        self._say(f"{'failed after' if kind else 'done in'} {time.monotonic() - self.started:.0f} s")

    def _say(self, text: str) -> None:
        sys.stderr.write(f"[kit] {self.name}: {text}\n")
        sys.stderr.flush()
