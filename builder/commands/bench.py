"""`imgbuild bench`: the throughput of an image, and whether it is slower than it was."""

from __future__ import annotations

import json
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from builder.errors import Cancelled, ImgbuildError, SlowerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.bench.figures import Measurement

_FILE = click.Path(dir_okay=False, writable=True, path_type=Path)


@click.command()
@click.argument("ref")
@click.option("--json", "target", type=_FILE, metavar="FILE", help="Write every repeat there; - prints it.")
@click.option("--heat-map", "picture", type=_FILE, metavar="FILE.png", help="Draw the DataLoader's throughput.")
@click.option("--baseline", type=_FILE, metavar="FILE", help="An earlier --json: exit 11 when a figure is slower.")
@click.option("--cpu-only", is_flag=True, help="Leave the GPUs of the machine out.")
@click.option("--quick", is_flag=True, help="A few figures, of a few steps each, for a first look.")
def bench(
    ref: str, target: Path | None, picture: Path | None, baseline: Path | None, *, cpu_only: bool, quick: bool
) -> None:
    """Measure an image's DataLoader, matrix products and training steps in a container, on a GPU where there is one.

    Each figure is measured in several processes. Slower than a baseline is what lies below it with 95 % confidence,
    and by four times what processes differ by, its own and those of all figures of its kind: nothing of a fixed
    percentage. Figures that are too noisy to tell are named.
    """
    from builder.bench.figures import read_measurement, to_json, write_measurement
    from builder.bench.measure import measure_image
    from builder.bench.picture import draw_heat_map, require_matplotlib
    from builder.checks import GpuUse
    from builder.checks.gpu_use import decide_gpu_use
    from builder.engine import Engine
    from builder.schedule import run_tasks

    if not ref.strip():
        raise click.BadParameter("an image has a name", param_hint="REF")
    before = read_measurement(baseline) if baseline else None
    if before and before.quick != quick:
        how = "with" if before.quick else "without"
        raise ImgbuildError(f"{baseline} was measured {how} --quick", hint=f"measure {how} it now: steps differ.")
    for path in (target, picture):
        _require_folder(path)
    if picture:
        require_matplotlib()
    with Engine() as engine:
        image_id = engine.find_image(ref)
        gpu = decide_gpu_use(engine.describe(), local=engine.is_local, required=False)
    if image_id is None:
        raise ImgbuildError(f"{ref} is not on this engine", hint="build it, or `docker pull` it.")
    cancelled = threading.Event()
    measure = partial(
        measure_image,
        ref,
        quick=quick,
        gpu=GpuUse(state="none", why="it was left out") if cpu_only else gpu,
        before=before,
        cancelled=cancelled,
        tell=partial(click.echo, err=True),
    )
    (outcome,) = run_tasks({ref: measure}, workers=1, cancel=cancelled.set)
    if isinstance(outcome.error, Cancelled):
        raise KeyboardInterrupt
    if outcome.value is None:
        raise outcome.error or AssertionError("a task ends with a value or with an error")
    now = outcome.value
    if target and str(target) == "-":
        click.echo(json.dumps(to_json(now), indent=1))
    else:
        click.echo("\n".join(_draw(now)))
        if target:
            write_measurement(target, now)
    if picture:
        draw_heat_map(now.figures, picture)
    if before:
        _require_speed(now, before, f"{baseline}")


def _draw(measurement: Measurement) -> Iterator[str]:
    from builder.bench.figures import find_interval

    yield "  ".join(f"{key} {value}" for key, value in measurement.machine if value)
    width = max((len(figure.name) for figure in measurement.figures), default=0)
    for figure in measurement.figures:
        low, high = find_interval(figure.repeats)
        yield f"{figure.name:{width}}  {figure.median:>12,.1f} {figure.unit:9}  [{low:,.1f}, {high:,.1f}]"


def _require_folder(path: Path | None) -> None:
    """Raise ImgbuildError when a file could not be written: better now than after minutes of measuring."""
    if path and not path.parent.is_dir():
        raise ImgbuildError(f"{path.parent} is not a folder to write {path.name} to")


def _require_speed(now: Measurement, before: Measurement, baseline: str) -> None:
    """Raise SlowerError when a figure is slower than in the baseline; say which figures only one of them has."""
    from builder.bench.figures import compare_figures

    changes = tuple(compare_figures(now.figures, before.figures))
    if not changes:
        raise ImgbuildError(f"{baseline} has none of these figures", hint="measure it again with this imgbuild.")
    if alone := {it.name for it in now.figures} ^ {it.name for it in before.figures}:
        click.echo(f"not compared, for one side alone has them: {', '.join(sorted(alone))}", err=True)
    if unclear := [change.name for change in changes if change.is_unclear]:
        click.echo(f"too noisy to tell: {', '.join(sorted(unclear))}; measure when nothing else runs here", err=True)
    if slower := [change for change in changes if change.is_slower]:
        lines = [f"  {it.name}: {it.ratio:.2f} times, with a noise of {it.noise:.2f}" for it in slower]
        message = f"{len(slower)} of {len(changes)} figures are slower than {baseline}:"
        raise SlowerError("\n".join([message, *lines]), hint="measure again when nothing else runs here.")
    click.echo(f"none of {len(changes)} figures is slower than {baseline}", err=True)
