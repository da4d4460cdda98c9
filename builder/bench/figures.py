"""Figures with their repeats, medians and intervals, and the file that keeps them. Pure but for that file."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from builder.errors import ImgbuildError
from builder.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

DRAWS = 2000
"""Samples of a bootstrap: the ends of a 95 % interval are then steady to a few in a thousand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure, in `unit` (more is better), once for each process that measured it."""

    name: str
    unit: str
    repeats: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle of the repeats."""
        return median(self.repeats)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The figures of an image, and the machine (`cores`, `cpu`, `gpu`, `torch`) that they hold for."""

    ref: str
    machine: tuple[tuple[str, str | int | None], ...]
    figures: tuple[Figure, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How a figure compares with its baseline: `ratio` of the medians, with the ends of its 95 % interval."""

    name: str
    ratio: float
    low: float
    high: float
    noise: float

    @property
    def is_slower(self) -> bool:
        """Whether it is slower beyond what the repeats of either side differ by."""
        return self.high < 1 - self.noise


def require_same_machine(machine: Mapping[str, str | int | None], before: Measurement | None) -> None:
    """Raise ImgbuildError when a baseline is of another machine or torch: its figures say nothing about this one."""
    other = [f"{key}: {value}" for key, value in (before.machine if before else ()) if machine.get(key) != value]
    if other:
        message = f"the baseline was measured elsewhere: {'; '.join(other)}"
        raise ImgbuildError(message, hint="make one here, with `imgbuild bench REF --json FILE`.")


def find_interval(repeats: Sequence[float]) -> tuple[float, float]:
    """Return the ends of the 95 % interval of a median, by a bootstrap whose draws are always the same."""
    draws = sorted(_draw_medians(repeats, random.Random(0)))  # noqa: S311 (statistics)
    return draws[int(0.025 * DRAWS)], draws[int(0.975 * DRAWS)]


def compare_figures(now: Sequence[Figure], before: Sequence[Figure]) -> Iterator[Change]:
    """Yield how each figure that both sides have changed, in the order of the first.

    The interval is that of the ratio of two medians, each drawn anew from its own repeats; the noise is the larger
    half-width, relative to its median, of the two sides' own intervals.
    """
    known = {figure.name: figure for figure in before}
    for figure in now:
        if (old := known.get(figure.name)) is None:
            continue
        source = random.Random(0)  # noqa: S311 (statistics)
        pairs = zip(_draw_medians(figure.repeats, source), _draw_medians(old.repeats, source), strict=True)
        ratios = sorted(one / two for one, two in pairs)
        yield Change(
            name=figure.name,
            ratio=figure.median / old.median,
            low=ratios[int(0.025 * DRAWS)],
            high=ratios[int(0.975 * DRAWS)],
            noise=max(map(_measure_noise, (figure, old))),
        )


def write_measurement(path: Path, measurement: Measurement) -> None:
    """Write a measurement as JSON, whole or not at all."""
    write_whole(path, json.dumps(to_json(measurement), indent=1) + "\n")


def to_json(measurement: Measurement) -> dict[str, Any]:
    """Return a measurement as JSON values, with the medians and intervals of its figures."""
    figures = [
        asdict(figure) | {"median": figure.median, "interval": find_interval(figure.repeats)}
        for figure in measurement.figures
    ]
    return {"ref": measurement.ref, "machine": dict(measurement.machine), "figures": figures}


def read_measurement(path: Path) -> Measurement:
    """Return what `write_measurement` wrote. Raises ImgbuildError when the file is anything else."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        figures = [
            Figure(name=it["name"], unit=it["unit"], repeats=tuple(map(float, it["repeats"])))
            for it in data["figures"]
        ]
        found = Measurement(ref=data["ref"], machine=tuple(data["machine"].items()), figures=tuple(figures))
        if not all(figure.repeats and min(figure.repeats) > 0 for figure in figures):
            raise ValueError("a figure has no repeats, or one that is not positive")
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        message = f"{path} is no baseline: {error}"
        raise ImgbuildError(message, hint="make one with `imgbuild bench REF --json FILE`.") from error
    return found


def _draw_medians(repeats: Sequence[float], source: random.Random) -> list[float]:
    return [median(source.choices(repeats, k=len(repeats))) for _ in range(DRAWS)]


def _measure_noise(figure: Figure) -> float:
    low, high = find_interval(figure.repeats)
    return (high - low) / 2 / figure.median
