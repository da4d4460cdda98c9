"""A heat map of a DataLoader's throughput: batch size by workers, one for each pinning and prefetch factor."""

from __future__ import annotations

import re
from collections import defaultdict
from importlib.util import find_spec
from io import BytesIO
from typing import TYPE_CHECKING

from builder.errors import ImgbuildError
from builder.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from builder.bench.figures import Figure

_NAME = re.compile(r"loader batch=(\d+) workers=(\d+) pin=(\d) prefetch=(\d+)")


def require_matplotlib() -> None:
    """Raise ImgbuildError where matplotlib is missing."""
    if find_spec("matplotlib") is None:
        message = "the heat map needs matplotlib, which is not installed"
        raise ImgbuildError(message, hint="pip install 'imgbuild[bench]'")


def draw_heat_map(figures: Iterable[Figure], path: Path) -> None:
    """Write the picture as PNG, whole or not at all. Raises ImgbuildError where nothing is to be drawn, OSError."""
    from matplotlib.figure import Figure as Canvas

    grids = arrange(figures)
    if not grids:
        raise ImgbuildError("no DataLoader was measured: there is no heat map to draw")
    top = max(value for grid in grids.values() for value in grid.values())
    canvas = Canvas(figsize=(3.6 * len(grids) + 0.6, 3.4), layout="constrained")
    axes = canvas.subplots(1, len(grids), squeeze=False)[0]
    for axis, (title, grid) in zip(axes, sorted(grids.items()), strict=True):
        batches, workers = (sorted({cell[place] for cell in grid}) for place in (0, 1))
        values = [[grid.get((batch, worker), float("nan")) for worker in workers] for batch in batches]
        image = axis.imshow(values, vmin=0, vmax=top, cmap="viridis", aspect="auto")
        axis.set(title=title, xlabel="workers", ylabel="batch size")
        axis.set_xticks(range(len(workers)), map(str, workers))
        axis.set_yticks(range(len(batches)), map(str, batches))
        for row, batch in enumerate(batches):
            for column, worker in enumerate(workers):
                if (batch, worker) in grid:
                    value = grid[batch, worker]
                    color = "black" if value > 0.6 * top else "white"
                    axis.text(column, row, f"{value:,.0f}", ha="center", va="center", color=color)
    canvas.colorbar(image, ax=list(axes), label="samples/s")
    drawn = BytesIO()
    canvas.savefig(drawn, format="png", dpi=150)
    write_whole(path, drawn.getvalue())


def arrange(figures: Iterable[Figure]) -> dict[str, dict[tuple[int, int], float]]:
    """Return the medians of the loaders by picture, and there by (batch size, workers).

    A loader without workers does not prefetch: it is in every picture of its pinning.
    """
    found = [(tuple(map(int, match.groups())), it.median) for it in figures if (match := _NAME.fullmatch(it.name))]
    grids: dict[str, dict[tuple[int, int], float]] = defaultdict(dict)
    for (_, workers, pin, prefetch), _ in found:
        if workers or all(other[3] == 0 for other, _ in found):
            grids[_name_grid(pin, prefetch)] = {}
    for (batch, workers, pin, prefetch), value in found:
        for title in list(grids) if not workers else [_name_grid(pin, prefetch)]:
            if workers or title.startswith(_name_pin(pin)):
                grids[title][batch, workers] = value
    return dict(grids)


def _name_grid(pin: int, prefetch: int) -> str:
    return f"{_name_pin(pin)}, prefetch {prefetch}"


def _name_pin(pin: int) -> str:
    return "pinned memory" if pin else "pageable memory"
