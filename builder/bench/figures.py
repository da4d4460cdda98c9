"""Figures with their repeats, medians and intervals, and the file that keeps them. Pure but for that file."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
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

_CHANCE = 0.05
_SPREADS = 4
"""Spreads that a drop has to exceed. Of five repeats that are the same but for normal noise, 1 in 200 then does."""
_LOUD = 0.5
"""Noise that hides the loss of half the speed."""


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
    """How a figure compares with its baseline: the `ratio` of the medians, and what else may explain it.

    `chance` is how probable repeats as low as these are where nothing has changed; `noise` is by how much the ratio
    may then miss 1.
    """

    name: str
    ratio: float
    chance: float
    noise: float

    @property
    def is_slower(self) -> bool:
        """Whether it is slower beyond what chance and the noise explain."""
        return self.ratio < 1 - self.noise and self.chance <= _CHANCE

    @property
    def is_unclear(self) -> bool:
        """Whether it may be slower and the repeats differ too much to tell."""
        return not self.is_slower and (self.ratio < 1 - self.noise or self.noise > _LOUD)


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

    Neither the chance, by the ranks of the repeats, nor the noise, by their median distance from their medians, is
    moved far by one repeat, however fast or slow: it cannot hide what all others show.
    """
    known = {figure.name: figure for figure in before}
    for figure in now:
        if (old := known.get(figure.name)) is None:
            continue
        yield Change(
            name=figure.name,
            ratio=figure.median / old.median,
            chance=_find_chance(figure.repeats, old.repeats),
            noise=_SPREADS * _measure_spread(figure, old),
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
        if not all(it.repeats and all(math.isfinite(value) and value > 0 for value in it.repeats) for it in figures):
            raise ValueError("a figure has no repeats, or one that is no positive number")
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        message = f"{path} is no baseline: {error}"
        raise ImgbuildError(message, hint="make one with `imgbuild bench REF --json FILE`.") from error
    return found


def _draw_medians(repeats: Sequence[float], source: random.Random) -> list[float]:
    return [median(source.choices(repeats, k=len(repeats))) for _ in range(DRAWS)]


def _find_chance(now: Sequence[float], before: Sequence[float]) -> float:
    """Return the share of all ways to part the repeats in which the first side ranks as low: Wilcoxon's rank sum test.

    It is exact, with ties, and makes no assumption on how repeats are distributed.
    """
    both = (*now, *before)
    # Twice the mean rank of equal values, so that it is whole.
    ranks = [2 * sum(other < value for other in both) + sum(other == value for other in both) for value in both]
    ways: list[Counter[int]] = [Counter({0: 1}), *(Counter() for _ in now)]  # sums of ranks, by how many are summed
    for rank in ranks:
        for size in range(len(now), 0, -1):
            for total, count in ways[size - 1].items():
                ways[size][total + rank] += count
    seen = sum(ranks[: len(now)])
    return sum(count for total, count in ways[-1].items() if total <= seen) / math.comb(len(both), len(now))


def _measure_spread(*figures: Figure) -> float:
    """Return the standard deviation of repeats, relative to their medians, by the median of their distances.

    Of normal noise that median is 1 / 1.4826 of the standard deviation.
    """
    return 1.4826 * median(abs(value / figure.median - 1) for figure in figures for value in figure.repeats)
