"""Measure an image in a container: the same script in several processes, one after the other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.bench.figures import Figure, Measurement, require_same_machine
from builder.errors import Cancelled, CheckError
from builder.progress_text import tail

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from docker.models.containers import Container

    from builder.checks import GpuUse

_SCRIPT = Path(__file__).parent / "scripts" / "throughput.py"
_PLACE = "/tmp/imgbuild/throughput.py"  # noqa: S108 (inside a container that only this run uses)

OPTIONS: dict[str, Any] = {
    "processes": 5,
    "repeats": 3,
    "samples": 512,
    "steps": 20,
    "batch-sizes": [16, 64, 256],
    "workers": [0, 1, 2, 4],
    "prefetch": [2, 4],
}
QUICK: dict[str, Any] = OPTIONS | {
    "repeats": 1,
    "samples": 128,
    "steps": 3,
    "batch-sizes": [32],
    "workers": [0, 1],
    "prefetch": [2],
}


def measure_image(
    ref: str,
    *,
    quick: bool,
    gpu: GpuUse,
    before: Measurement | None,
    cancelled: threading.Event,
    tell: Callable[[str], None],
) -> Measurement:
    """Return the figures of an image, all or the `quick` ones; `tell` hears of each as soon as it is there.

    A figure's repeats are the medians of its processes: where memory and threads happen to lie makes processes of the
    same program differ by more than one differs from itself.

    Raises CheckError when the image does not start or has no torch, EngineError when the engine is lost, Cancelled,
    and ImgbuildError as soon as this turns out to be another machine than that of `before`.
    """
    from builder.checks.container import SHARED, start_container  # docker and testcontainers are slow to import

    options = QUICK if quick else OPTIONS
    machine: dict[str, str | int | None] = {}
    repeats: dict[tuple[str, str], list[float]] = {}
    files = {_PLACE: _SCRIPT.read_bytes()}
    # Whatever the image starts with, its container has to wait for what runs in it.
    options_of_run = {"shm_size": SHARED, "entrypoint": ""}
    with start_container(ref, files, cancelled, gpu=gpu.state, **options_of_run) as container:
        for number in range(1, options["processes"] + 1):
            for found in _run(container, ref, options):
                if "machine" in found:
                    machine = found["machine"]
                    require_same_machine(machine, before)
                else:
                    once = Figure(name=found["figure"], unit=found["unit"], repeats=tuple(found["repeats"]))
                    repeats.setdefault((once.name, once.unit), []).append(once.median)
                    tell(f"{number} of {options['processes']}  {once.name}: {once.median:,.0f} {once.unit}")
            if cancelled.is_set():
                raise Cancelled("cancelled")
    figures = (Figure(name=name, unit=unit, repeats=tuple(values)) for (name, unit), values in repeats.items())
    return Measurement(ref=ref, quick=quick, machine=tuple(machine.items()), figures=tuple(figures))


def _run(container: Container, ref: str, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the JSON lines that one process prints. Raises CheckError with its other words when it fails."""
    python = 'exec "$(command -v python || command -v python3)" -B "$@"'
    api: Any = container.client.api  # type: ignore[union-attr]
    run = api.exec_create(container.id, ["sh", "-c", python, "sh", _PLACE, json.dumps(options)])["Id"]
    rest, words = "", ""
    for part in api.exec_start(run, stream=True):
        *lines, rest = (rest + part.decode(errors="replace")).split("\n")
        for line in lines:
            if found := _read_line(line):
                yield found
            else:
                words += f"{line}\n"
    if api.exec_inspect(run)["ExitCode"] != 0:
        raise CheckError(f"{ref} could not be measured:\n{tail((words + rest).splitlines()) or '    it said nothing'}")


def _read_line(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and found.keys() & {"machine", "figure"} else {}
