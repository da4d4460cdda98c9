"""`imgbuild bench`: the throughput of an image, and whether it is slower than it was."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from builder.errors import ImgbuildError, SlowerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from builder.bench.figures import Change, Measurement

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("ref")
@click.option("--json", "target", type=_FILE, metavar="FILE", help="Write every repeat there; - prints it.")
@click.option("--heat-map", "picture", type=_FILE, metavar="FILE.png", help="Draw the DataLoader's throughput.")
@click.option("--baseline", type=_FILE, metavar="FILE", help="An earlier --json: exit 11 when a figure is slower.")
@click.option("--quick", is_flag=True, help="A few figures, measured a few times, for a first look.")
def bench(ref: str, target: Path | None, picture: Path | None, baseline: Path | None, *, quick: bool) -> None:
    """Measure an image's DataLoader, matrix products and training steps in a container, on a GPU where there is one.

    Each figure is measured several times. Slower than a baseline is what lies below it with 95 % confidence, and by
    more than the repeats of either differ: nothing of a fixed percentage.
    """
    from builder.bench.figures import compare_figures, read_measurement, to_json, write_measurement
    from builder.bench.measure import OPTIONS, QUICK, measure_image
    from builder.bench.picture import draw_heat_map
    from builder.checks.gpu_use import decide_gpu_use
    from builder.engine import Engine

    before = read_measurement(baseline) if baseline else None
    cancelled = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: cancelled.set())
    with Engine() as engine:
        gpu = decide_gpu_use(engine.describe(), local=engine.is_local, required=False)
    now = measure_image(
        ref,
        options=QUICK if quick else OPTIONS,
        gpu=gpu,
        cancelled=cancelled,
        tell=lambda text: click.echo(text, err=True),
    )
    if target and str(target) == "-":
        click.echo(json.dumps(to_json(now), indent=1))
    else:
        click.echo("\n".join(_draw(now)))
        if target:
            write_measurement(target, now)
    if picture:
        draw_heat_map(now.figures, picture)
    if before:
        _require_same_machine(now, before)
        _require_speed(tuple(compare_figures(now.figures, before.figures)), baseline)


def _draw(measurement: Measurement) -> Iterator[str]:
    from builder.bench.figures import find_interval

    yield "  ".join(f"{key} {value}" for key, value in measurement.machine if value)
    width = max(len(figure.name) for figure in measurement.figures)
    for figure in measurement.figures:
        low, high = find_interval(figure.repeats)
        yield f"{figure.name:{width}}  {figure.median:>12,.1f} {figure.unit:9}  [{low:,.1f}, {high:,.1f}]"


def _require_same_machine(now: Measurement, before: Measurement) -> None:
    """Raise ImgbuildError when a baseline is of another machine or torch: its figures say nothing about this one."""
    other = [f"{key}: {value}" for key, value in before.machine if dict(now.machine).get(key) != value]
    if other:
        message = f"the baseline was measured elsewhere: {'; '.join(other)}"
        raise ImgbuildError(message, hint="make one here, with `imgbuild bench REF --json FILE`.")


def _require_speed(changes: Sequence[Change], baseline: Path | None) -> None:
    if not changes:
        raise ImgbuildError(f"{baseline} has none of these figures", hint="was it measured with, or without, --quick?")
    slower = [change for change in changes if change.is_slower]
    if slower:
        lines = [f"  {it.name}: {it.ratio:.2f} times, 95 % in [{it.low:.2f}, {it.high:.2f}]" for it in slower]
        message = f"{len(slower)} of {len(changes)} figures are slower than {baseline}:"
        raise SlowerError("\n".join([message, *lines]), hint="measure again when nothing else runs here.")
    click.echo(f"none of {len(changes)} figures is slower than {baseline}", err=True)
