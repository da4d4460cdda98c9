"""Draw a plan as text: its figures, the layers, the cells, and what differs from the plan before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.plan import compare_plans
from builder.titles import title_layers
from builder.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from builder.plan import Plan, Published


def draw_plan(plan: Plan, previous: Published | None = None) -> str:
    """Return the tables of a plan."""
    return "\n".join(_list_lines(plan, previous))


def _list_lines(plan: Plan, previous: Published | None) -> Iterator[str]:
    if not plan.cells:
        yield "no cell is locked: `imgbuild lock` writes the locks that a plan is made of"
        return
    titles = title_layers(plan)
    shared = plan.shared_by
    yield from _align(
        [
            ("layer", "in", "packages", "bytes", ""),
            *(
                (
                    layer.id,
                    f"{shared[layer.id]}",
                    f"{len(layer.packages)}",
                    format_bytes(layer.size),
                    titles[layer.id],
                )
                for layer in sorted(plan.layers, key=lambda layer: (-shared[layer.id], -layer.size))
            ),
        ]
    )
    yield ""
    rows = [("cell", "layers", "bytes", "of its own", "chain")]
    for cell in plan.cells:
        own = sum(layer.size for layer in cell.layers if shared[layer.id] == 1)
        total = sum(layer.size for layer in cell.layers)
        chain = " ".join(layer.id[:4] for layer in cell.layers)
        rows.append((cell.id, str(len(cell.layers)), format_bytes(total), format_bytes(own), chain))
    yield from _align(rows)
    yield ""
    yield f"every cell with its own packages  {format_bytes(plan.naive_bytes)}"
    yield f"every package once                {format_bytes(plan.unique_bytes)}"
    yield f"these layers in a registry        {format_bytes(plan.registry_bytes)} ({plan.ratio:.4f} of the line above)"
    yield f"these layers on one engine        {format_bytes(plan.disk_bytes)}"
    if plan.unknown_sizes:
        yield f"{plan.unknown_sizes} packages without a size in their lock count as {format_bytes(plan.unknown)} each"
    if previous is not None:
        yield from _compare(plan, previous)


def _compare(plan: Plan, previous: Published) -> Iterator[str]:
    change = compare_plans(plan, previous)
    if not change.cells:
        yield "nothing differs from the plan before"
        return
    new = f"{change.new_layers} are new ({format_bytes(change.new_bytes)} to publish)"
    yield f"since the plan before: {change.kept_layers} layers stay, {new}, in {len(change.cells)} cells"


def _align(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        first, *numbers, last = (text.rjust(width) for text, width in zip(row, widths, strict=True))
        yield "  ".join([first.strip().ljust(widths[0]), *numbers, last.strip()]).rstrip()
