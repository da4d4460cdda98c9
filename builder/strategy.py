"""The matrix of a GitHub Actions job: one entry for each runner, with what its steps are told.

`fromJSON` makes it a `strategy.matrix` (docs.github.com, "Running variations of jobs in a workflow").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.matrix import Cell
    from builder.runners import Runner

Entry = dict[str, str | int]


def describe_strategy(runners: Sequence[Runner], cells: Sequence[Cell]) -> dict[str, list[Entry]]:
    """Return the matrix as JSON values; each entry of `include` is a runner.

    `name` is for people. `cells` are words for imgbuild that select what the runner has, with blanks between, in the
    order of the matrix. `disk` is in bytes.
    """
    return {
        "include": [
            _describe_runner(runner, [cell for cell in cells if cell.id in runner.cells]) for runner in runners
        ]
    }


def _describe_runner(runner: Runner, cells: Sequence[Cell]) -> Entry:
    return {
        "name": runner.name,
        "cells": " ".join(f"--cell {cell.id}" for cell in cells),
        "disk": runner.disk,
    }
