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
"""Spreads that a drop has to exceed. Where nothing but normal noise differs, 1 run in 100 then has a figure that does,
of 47 with a GPU as of the 6 of --quick without; 4 do where some of a kind are several times as noisy as others
(simulated, 400 to 700 runs of five processes each)."""
_SIGMA = 1.4826
"""Standard deviations of normal noise in the median of its distances."""
_MACHINE = ("cores", "cpu", "gpu", "torch")
_LOUD = 0.5
"""Noise that hides the loss of half the speed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure, in `unit` (more is better), once for each process that measured it."""

    name: str
    unit: str
    repeats: tuple[float, ...]

    @property
    def kind(self) -> str:
        """What was measured, whatever the settings: `loader`, `matmul` or `train`."""
        return self.name.partition(" ")[0]

    @property
    def median(self) -> float:
        """The middle of the repeats."""
        return median(self.repeats)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The figures of an image, and the machine (`cores`, `cpu`, `gpu`, `torch`) that they hold for.

    What `quick` ones are called as the others, and are not to be compared with them.
    """

    ref: str
    quick: bool
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
    moved far by one repeat, however fast or slow: it cannot hide what all others show. The noise is not less than that
    of all figures of the same kind: among many, the few repeats of one lie close together by chance. What a steady
    figure loses within the noise of its kind is not seen.
    """
    known = {figure.name: figure for figure in before}
    pairs = [(figure, known[figure.name]) for figure in now if figure.name in known]
    kinds: dict[str, list[float]] = {}
    for pair in pairs:
        kinds.setdefault(pair[0].kind, []).extend(_list_distances(*pair))
    for figure, old in pairs:
        spread = _SIGMA * max(median(_list_distances(figure, old)), median(kinds[figure.kind]))
        yield Change(
            name=figure.name,
            ratio=figure.median / old.median,
            chance=_find_chance(figure.repeats, old.repeats),
            noise=_SPREADS * spread,
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
    return {
        "ref": measurement.ref,
        "quick": measurement.quick,
        "machine": dict(measurement.machine),
        "figures": figures,
    }


def read_measurement(path: Path) -> Measurement:
    """Return what `write_measurement` wrote. Raises ImgbuildError when the file is anything else."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        machine = {key: data["machine"][key] for key in _MACHINE}
        figures = tuple(_read_figure(it["name"], it["unit"], it["repeats"]) for it in data["figures"])
        if not isinstance(data["quick"], bool):
            raise TypeError("quick is neither true nor false")
        found = Measurement(ref=data["ref"], quick=data["quick"], machine=tuple(machine.items()), figures=figures)
    except (OSError, ValueError, LookupError, TypeError, OverflowError, RecursionError) as error:
        message = f"{path} is no baseline: {error}"
        raise ImgbuildError(message, hint="make one with `imgbuild bench REF --json FILE`.") from error
    return found


def _read_figure(name: Any, unit: Any, repeats: Any) -> Figure:
    if not (isinstance(name, str) and isinstance(unit, str) and isinstance(repeats, list)):
        raise TypeError("a figure has no name, no unit or no list of repeats")
    numbers = tuple(float(it) for it in repeats if isinstance(it, int | float) and not isinstance(it, bool))
    if len(numbers) < max(len(repeats), 2) or not all(math.isfinite(it) and it > 0 for it in numbers):
        raise ValueError(f"{name} has fewer than two repeats, or one that is no positive number")
    return Figure(name=name, unit=unit, repeats=numbers)


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


def _list_distances(*figures: Figure) -> list[float]:
    """Return by how much each repeat differs from the median of its figure, relative to that."""
    return [abs(value / figure.median - 1) for figure in figures for value in figure.repeats]
