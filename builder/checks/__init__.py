"""Run check scripts inside an image through testcontainers, and collect their verdicts.

The scripts are plain files under `scripts/`, run by the image's own Python; each function in them gives one verdict:
pass, fail, or skip with the reason. A check that gave no verdict counts as failed.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from builder.checks.suites import Suite, list_suites, read_scripts
from builder.errors import CheckError

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Mapping

    from docker.models.containers import Container

    from builder.definition import Definition

FOLDER = f"/tmp/imgbuild-{secrets.token_hex(8)}"  # noqa: S108
"""Where the scripts lie, inside a container that only this run uses: no image has modules there for them to import."""

_AT_ONCE = 3
"""Scripts that run side by side in one container; each may import torch, which takes half a gigabyte of memory."""

_ASKED = ("gpus", "cdi")
_SHOWN = 300  # characters of a line that is no verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuUse:
    """What the checks do about a GPU: use it, by `--gpus all` or as a CDI device, or not, and `why` not.

    `none` skips the checks that need one, `out of reach` fails them: there is one, or one is asked for.
    """

    state: Literal["gpus", "cdi", "none", "out of reach"]
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one check found: `detail` says how much was looked at, why it failed, or why it was skipped."""

    check: str
    verdict: Literal["pass", "fail", "skip"]
    detail: str


def run_checks(
    image: str, definition: Definition, expected: Mapping[str, Any], *, gpu: GpuUse, cancelled: threading.Event
) -> tuple[Verdict, ...]:
    """Return the verdicts of all suites on one image, in the order of the suites. Threads may run it side by side.

    `expected` is what `describe_cell` returns. Raises what `check_container` raises.
    """
    with check_container(image, definition, expected, gpu=gpu, cancelled=cancelled) as (_, verdicts):
        return verdicts


@contextlib.contextmanager
def check_container(
    image: str, definition: Definition, expected: Mapping[str, Any], *, gpu: GpuUse, cancelled: threading.Event
) -> Iterator[tuple[Container, tuple[Verdict, ...]]]:
    """Yield the container that checks ran in, for whoever has more to ask of the image, and their verdicts.

    Raises CheckError when the image cannot be started at all, EngineError when the engine is lost on the way, and
    Cancelled soon after that event is set.
    """
    from builder.checks.container import GpuError, start_container  # docker and testcontainers are slow to import

    def start(gpu: GpuUse) -> contextlib.AbstractContextManager[Container]:
        told = {**expected, "gpu": gpu.state, "no-gpu": gpu.why}
        files = {**read_scripts(definition), "expected.json": json.dumps(told).encode()}
        asked = gpu.state if expected["cuda"] else "none"
        return start_container(image, {f"{FOLDER}/{name}": it for name, it in files.items()}, cancelled, gpu=asked)

    with contextlib.ExitStack() as stack:
        try:
            container = stack.enter_context(start(gpu))
        except GpuError as error:
            if gpu.state not in _ASKED:  # a container that asked for none is refused for another reason
                raise
            container = stack.enter_context(start(GpuUse(state="out of reach", why=error.message)))
        yield container, tuple(_run_suites(container, list_suites(definition), expected["prefix"]))


def require_pass(verdicts: tuple[Verdict, ...], name: str) -> None:
    """Raise CheckError naming every check that failed."""
    failed = [verdict for verdict in verdicts if verdict.verdict == "fail"]
    if failed:
        lines = "\n".join(f"  ✗ {verdict.check}: {verdict.detail}" for verdict in failed)
        hint = "the image stays without a tag; correct the definition or the lock and build again."
        names = ", ".join(verdict.check for verdict in failed)
        raise CheckError(f"{name}: {len(failed)} of {len(verdicts)} checks failed: {names}\n{lines}", hint=hint)


def _run_suites(container: Container, suites: tuple[Suite, ...], prefix: str) -> Iterator[Verdict]:
    def run(suite: Suite) -> tuple[Verdict, ...]:
        return tuple(_run_suite(container, suite, prefix))

    for alone, group in groupby(suites, key=attrgetter("alone")):
        with ThreadPoolExecutor(1 if alone else _AT_ONCE) as pool:
            yield from chain.from_iterable(pool.map(run, group))


def _run_suite(container: Container, suite: Suite, prefix: str) -> Iterator[Verdict]:
    from builder.checks.container import require_running

    # -E: variables of the image, PYTHONOPTIMIZE or PYTHONPATH, must not change what a check finds. Not -I, which would
    # hide the user's own site-packages, although the image's user imports from there.
    options = ["-E", "-B", *(["-S"] if suite.bare else [])]
    command = [f"{prefix}/bin/python", *options, f"{FOLDER}/{suite.script}", f"{FOLDER}/expected.json"]
    done: Any = container.exec_run(command, user=suite.user or "", demux=True)
    out, err = ((part or b"").decode(errors="replace") for part in done.output)
    found = read_verdicts(out)
    wanted = suite.checks or tuple(found) or (Path(suite.script).stem,)
    if set(wanted) - found.keys() or done.exit_code != 0:
        require_running(container)
    for check in wanted:
        if check in found:
            yield found[check]
        else:
            detail = f"{suite} gave no verdict and {_describe_end(done.exit_code, err, out)}"
            yield Verdict(check=check, verdict="fail", detail=detail)
    if not suite.checks and found and done.exit_code != 0:
        detail = f"{suite} {_describe_end(done.exit_code, err, out)}"
        yield Verdict(check=Path(suite.script).stem, verdict="fail", detail=detail)


def _describe_end(status: int, err: str, out: str) -> str:
    """Return how a script ended, and what it said besides verdicts: its beginning, where crashes are, and its end."""
    said = err.strip() or "\n".join(line for line in out.splitlines() if not _read_verdict(line)).strip()
    shown = said if len(said) <= 2 * _SHOWN else f"{said[:_SHOWN]} … {said[-_SHOWN:]}"
    return f"ended with exit status {status}" + (f": {shown}" if shown else "")


def read_verdicts(out: str) -> dict[str, Verdict]:
    """Return the verdicts among the lines that a script printed; a package may print lines of its own at start.

    What names a check and is no verdict, by a word of its own or no text as detail, is a failure of that check. Of two
    verdicts on one check the failure counts: nothing that comes later takes it back.
    """
    found: dict[str, Verdict] = {}
    for line in out.splitlines():
        verdict = _read_verdict(line)
        if verdict and (verdict.check not in found or found[verdict.check].verdict != "fail"):
            found[verdict.check] = verdict
    return found


def _read_verdict(line: str) -> Verdict | None:
    """Return the verdict in a line, None where the line names no check."""
    try:
        match json.loads(line):
            case {"check": str(check), "verdict": "pass" | "fail" | "skip" as word, "detail": str(detail)}:
                return Verdict(check=_writable(check), verdict=word, detail=_writable(detail))
            case {"check": str(check)}:
                return Verdict(check=_writable(check), verdict="fail", detail=f"no verdict: {line[:_SHOWN]}")
            case _:
                return None
    except (ValueError, RecursionError):
        return None


def _writable(text: str) -> str:
    """Return a text that can be written as UTF-8: in the name of a file, JSON may tell bytes that are none."""
    return text.encode(errors="replace").decode()
