"""Draw the matrix as text: one grid per image, then what is excluded and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Row = Mapping[str, str | None]


def draw_matrix(rows: Mapping[str, Sequence[Row]]) -> str:
    """Return the tables for what `matrix_as_json` gives: Pythons down, CUDAs across, torch versions inside."""
    images = dict.fromkeys(row["image"] for row in (*rows["cells"], *rows["excluded"]))
    return "\n\n".join(_draw_image(str(image), rows) for image in images)


def _draw_image(image: str, rows: Mapping[str, Sequence[Row]]) -> str:
    cells = {
        (row["python"], row["cuda"]): row["torch"] or "no torch" for row in rows["cells"] if row["image"] == image
    }
    excluded = [row for row in rows["excluded"] if row["image"] == image]
    found = cells | {(row["python"], row["cuda"]): "—" for row in excluded}
    pythons = list(dict.fromkeys(python for python, _ in found))
    cudas = list(dict.fromkeys(cuda for _, cuda in found))
    table = [[image, *(_name_cuda(cuda) for cuda in cudas)]]
    table += [[f"Python {python}", *(found.get((python, cuda), "") for cuda in cudas)] for python in pythons]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in table]
    lines += [f"  — Python {row['python']}, {_name_cuda(row['cuda'])}: {row['reason']}" for row in excluded]
    return "\n".join(lines)


def _name_cuda(cuda: str | None) -> str:
    return "CPU" if cuda == "cpu" else f"CUDA {cuda}"
