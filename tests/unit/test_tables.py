from __future__ import annotations

from builder.matrix import matrix_as_json
from builder.tables import draw_matrix
from tests.samples import make_definition


def row(image: str, python: str, cuda: str, **more: str | None) -> dict[str, str | None]:
    return {"image": image, "python": python, "cuda": cuda, **more}


def test_grid_has_pythons_down_and_cudas_across_with_reasons_below() -> None:
    rows = {
        "cells": [
            row("pytorch", "3.10", "11.8", torch="2.7.1"),
            row("pytorch", "3.10", "cpu", torch="2.14.1"),
            row("pytorch", "3.11", "cpu", torch="2.14.1"),
            row("base", "3.10", "cpu", torch=None),
        ],
        "excluded": [row("pytorch", "3.11", "11.8", reason="there is none")],
    }
    assert draw_matrix(rows) == (
        "pytorch      CUDA 11.8  CPU\n"
        "Python 3.10  2.7.1      2.14.1\n"
        "Python 3.11  —          2.14.1\n"
        "  — Python 3.11, CUDA 11.8: there is none\n"
        "\n"
        "base         CPU\n"
        "Python 3.10  no torch"
    )


def test_every_cell_of_a_matrix_is_drawn() -> None:
    rows = matrix_as_json([make_definition()])
    text = draw_matrix(rows)
    assert all(str(cell["torch"]) in text for cell in rows["cells"])
    assert all(str(gap["reason"]) in text for gap in rows["excluded"])


def test_nothing_is_an_empty_text() -> None:
    assert draw_matrix({"cells": [], "excluded": []}) == ""
