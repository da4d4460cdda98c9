"""Run check scripts inside an image through testcontainers, and collect their verdicts.

The scripts are plain files under `scripts/`, run by the image's own Python; each function in them gives one verdict:
pass, fail, or skip with the reason. A check that gave no verdict counts as failed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from builder.errors import CheckError

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from docker.models.containers import Container

    from builder.definition import Base
    from builder.lock import Environment
    from builder.matrix import Cell

_SCRIPTS = Path(__file__).parent / "scripts"
_FOLDER = "/tmp/imgbuild"  # noqa: S108 (inside a container that only this run uses)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """One script and the user it runs as (None: the image's default user), with the checks that it must report."""

    script: str
    user: str | None
    checks: tuple[str, ...]


SUITES = (
    Suite(
        script="packages.py",
        user=None,
        checks=("python", "command", "conda-packages", "pip-packages", "torch", "pip-check"),
    ),
    Suite(script="leftovers.py", user="0", checks=("no-caches", "no-settings")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one check found: `detail` says how much was looked at, why it failed, or why it was skipped."""

    check: str
    verdict: Literal["pass", "fail", "skip"]
    detail: str


def digest_checks() -> str:
    """Return the digest (`sha256:…`) of all checks: an image that passed others has to be checked again."""
    digest = hashlib.sha256(repr(SUITES).encode())
    for path in _list_scripts():
        digest.update(path.read_bytes())
    return f"sha256:{digest.hexdigest()}"


def _list_scripts() -> list[Path]:
    return sorted(_SCRIPTS.glob("*.py"))


def describe_cell(cell: Cell, environment: Environment, base: Base, prefix: str) -> dict[str, Any]:
    """Return what the scripts compare the image with, as JSON values."""
    python = next(package.version for package in environment.conda if package.name == "python")
    return {
        "prefix": prefix,
        "pkgs-dir": base.pkgs_dir,
        "python": python,
        "cuda": str(cell.cuda) if cell.cuda else None,
        "torch": str(cell.torch) if cell.torch else None,
        "conda": [(package.name, package.version, package.build, package.url) for package in environment.conda],
        "pip": [(package.name, package.version) for package in environment.pip],
    }


def run_checks(image: str, expected: dict[str, Any], cancelled: threading.Event) -> tuple[Verdict, ...]:
    """Return the verdicts of all suites on one image, in the order of the suites. Threads may run it side by side.

    Raises CheckError when the image cannot be started at all, EngineError when the engine is lost on the way, and
    Cancelled soon after that event is set.
    """
    from builder.checks.container import start_container  # docker and testcontainers are slow to import

    files = {f"{_FOLDER}/{path.name}": path.read_bytes() for path in _list_scripts()}
    files[f"{_FOLDER}/expected.json"] = json.dumps(expected).encode()
    with start_container(image, files, cancelled) as container:
        return tuple(verdict for suite in SUITES for verdict in _run_suite(container, suite, expected["prefix"]))


def require_pass(verdicts: tuple[Verdict, ...], name: str) -> None:
    """Raise CheckError naming every check that failed."""
    failed = [verdict for verdict in verdicts if verdict.verdict == "fail"]
    if failed:
        lines = "\n".join(f"  ✗ {verdict.check}: {verdict.detail}" for verdict in failed)
        hint = "the image stays without a tag; correct the definition or the lock and build again."
        raise CheckError(f"{name}: {len(failed)} of {len(verdicts)} checks failed\n{lines}", hint=hint)


def _run_suite(container: Container, suite: Suite, prefix: str) -> Iterator[Verdict]:
    from builder.checks.container import require_running

    # -E: variables of the image, PYTHONOPTIMIZE or PYTHONPATH, must not change what a check finds. Not -I, which would
    # hide the user's own site-packages, although the image's user imports from there.
    command = [f"{prefix}/bin/python", "-E", "-B", f"{_FOLDER}/{suite.script}", f"{_FOLDER}/expected.json"]
    done: Any = container.exec_run(command, user=suite.user or "", demux=True)
    out, err = ((part or b"").decode(errors="replace") for part in done.output)
    found = read_verdicts(out)
    if set(suite.checks) - found.keys():
        require_running(container)
    for check in suite.checks:
        if check in found:
            yield found[check]
        else:
            reason = err.strip() or out.strip() or f"exit status {done.exit_code}"
            yield Verdict(check=check, verdict="fail", detail=f"{suite.script} gave no verdict: {reason[-600:]}")


def read_verdicts(out: str) -> dict[str, Verdict]:
    """Return the verdicts among the lines that a script printed; a package may print lines of its own at start."""
    found = {}
    for line in out.splitlines():
        with contextlib.suppress(ValueError, TypeError):
            verdict = Verdict(**json.loads(line))
            found[verdict.check] = verdict
    return found
