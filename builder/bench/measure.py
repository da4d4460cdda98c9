"""Measure an image in a container, figure by figure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.bench.figures import Figure, Measurement
from builder.errors import Cancelled, CheckError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from builder.checks import GpuUse

_SCRIPT = Path(__file__).parent / "scripts" / "throughput.py"
_PLACE = "/tmp/imgbuild/throughput.py"  # noqa: S108 (inside a container that only this run uses)
_SHARED = "1g"
"""What DataLoader's workers pass batches through; docker's own 64 MB do not hold a few."""

OPTIONS: dict[str, Any] = {
    "repeats": 7,
    "samples": 2000,
    "steps": 20,
    "batch-sizes": [16, 64, 256],
    "workers": [0, 1, 2, 4],
    "prefetch": [2, 4],
}
QUICK: dict[str, Any] = OPTIONS | {
    "repeats": 3,
    "samples": 256,
    "steps": 3,
    "batch-sizes": [32],
    "workers": [0, 1],
    "prefetch": [2],
}


def measure_image(
    ref: str, *, options: dict[str, Any], gpu: GpuUse, cancelled: threading.Event, tell: Callable[[str], None]
) -> Measurement:
    """Return the figures of an image; `tell` hears of each as soon as it is there.

    Raises CheckError when the image does not start or has no torch, EngineError when the engine is lost, Cancelled.
    """
    from builder.checks.container import start_container  # docker and testcontainers are slow to import

    figures: list[Figure] = []
    machine: dict[str, str | int | None] = {}
    files = {_PLACE: _SCRIPT.read_bytes()}
    with start_container(ref, files, cancelled, gpu=gpu.state, shm_size=_SHARED) as container:
        command = ["python", "-B", _PLACE, json.dumps(options)]
        api: Any = container.client.api  # type: ignore[union-attr]
        run = api.exec_create(container.id, command)["Id"]
        rest, words = "", ""
        for part in api.exec_start(run, stream=True):
            *lines, rest = (rest + part.decode(errors="replace")).split("\n")
            for line in lines:
                found = _read_line(line)
                words += "" if found else f"{line}\n"
                machine |= found.get("machine", {})
                if "figure" in found:
                    figure = Figure(name=found["figure"], unit=found["unit"], repeats=tuple(found["repeats"]))
                    figures.append(figure)
                    tell(f"{figure.name}: {figure.median:,.0f} {figure.unit}")
        if cancelled.is_set():
            raise Cancelled("cancelled")
        if api.exec_inspect(run)["ExitCode"] != 0:
            raise CheckError(f"{ref} could not be measured: {(words + rest).strip()[-600:]}")
    return Measurement(ref=ref, machine=tuple(machine.items()), figures=tuple(figures))


def _read_line(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
