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
    from collections.abc import Iterator

    from testcontainers.core.container import DockerContainer

    from builder.definition import Base
    from builder.lock import Environment
    from builder.matrix import Cell

LABEL = "dev.imgbuild.check"
"""Label of the containers that checks run in, so that those of a killed run can be found and removed."""

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
        checks=("python", "conda-packages", "pip-packages", "torch", "pip-check"),
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
    """Return the digest (`sha256:…`) of all check scripts: an image that passed others has to be checked again."""
    digest = hashlib.sha256()
    for path in sorted(_SCRIPTS.glob("*.py")):
        digest.update(path.read_bytes())
    return f"sha256:{digest.hexdigest()}"


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


def run_checks(image: str, expected: dict[str, Any]) -> tuple[Verdict, ...]:
    """Return the verdicts of all suites on one image, in the order of the suites.

    Raises CheckError when the image cannot be started at all.
    """
    with _started(image, expected) as container:
        return tuple(verdict for suite in SUITES for verdict in _run_suite(container, suite, expected["prefix"]))


def require_pass(verdicts: tuple[Verdict, ...], name: str) -> None:
    """Raise CheckError naming every check that failed."""
    failed = [verdict for verdict in verdicts if verdict.verdict == "fail"]
    if failed:
        lines = "\n".join(f"  ✗ {verdict.check}: {verdict.detail}" for verdict in failed)
        hint = "the image stays without a tag; correct the definition or the lock and build again."
        raise CheckError(f"{name}: {len(failed)} of {len(verdicts)} checks failed\n{lines}", hint=hint)


@contextlib.contextmanager
def _started(image: str, expected: dict[str, Any]) -> Iterator[DockerContainer]:
    from docker.errors import APIError
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.container import DockerContainer

    # Ryuk, which reaps containers of dead test runs, is an image of its own that an air gap does not have.
    testcontainers_config.ryuk_disabled = True
    python = f"{expected['prefix']}/bin/python"
    container = DockerContainer(image).with_command([python, "-c", "import time; time.sleep(3600)"])
    container.with_kwargs(network_mode="none", labels={LABEL: "true"}, auto_remove=True, init=True)
    for path in sorted(_SCRIPTS.glob("*.py")):
        container.with_copy_into_container(path, f"{_FOLDER}/{path.name}")
    container.with_copy_into_container(json.dumps(expected).encode(), f"{_FOLDER}/expected.json")
    _remove_leftovers(container)
    try:
        container.start()
    except APIError as error:
        raise CheckError(f"the image does not start: {error.explanation or error}") from error
    try:
        yield container
    finally:
        container.stop(force=True, delete_volume=True)


def _remove_leftovers(container: DockerContainer) -> None:
    from docker.errors import APIError

    client = container.get_docker_client().client
    for old in client.containers.list(all=True, filters={"label": f"{LABEL}=true", "status": "exited"}):
        with contextlib.suppress(APIError):
            old.remove(force=True)


def _run_suite(container: DockerContainer, suite: Suite, prefix: str) -> Iterator[Verdict]:
    command = [f"{prefix}/bin/python", "-B", f"{_FOLDER}/{suite.script}", f"{_FOLDER}/expected.json"]
    done: Any = container.get_wrapped_container().exec_run(command, user=suite.user or "", demux=True)
    out, err = ((part or b"").decode(errors="replace") for part in done.output)
    found = {row["check"]: row for row in map(json.loads, out.splitlines())}
    for check in suite.checks:
        if check in found:
            yield Verdict(**found[check])
        else:
            reason = err.strip() or f"exit status {done.exit_code}"
            yield Verdict(check=check, verdict="fail", detail=f"{suite.script} gave no verdict: {reason[-600:]}")
