"""A kit is made of steps: each runs once for its inputs, can be killed at any time, and is remembered by a marker."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.kit.errors import KitError
from tests.kit.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SOURCES = Path(__file__).parent


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


class Progress:
    """One line on stderr about a thing that takes time: what is done, then how long it took."""

    def __init__(self, name: str, doing: str) -> None:
        self.line = f"[kit] {name}: {doing} …"

    def __enter__(self) -> None:
        self.started = time.monotonic()
        print(self.line, end="", file=sys.stderr, flush=True)

    def __exit__(self, kind: object, *_: object) -> None:
        outcome = "failed after " if kind else ""
        print(f" {outcome}{time.monotonic() - self.started:.0f} s", file=sys.stderr, flush=True)
