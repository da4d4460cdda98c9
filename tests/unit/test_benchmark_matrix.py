"""What the benchmark of a matrix is asked for is refused before it begins, where it makes no sense."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.matrix import FACTOR, parse_arguments

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--phases", "0"], "0 is no whole number from 1 on"),
        (["--factor", "0"], "0 is no whole number from 1 on"),
        (["--factor", "-3"], "-3 is no whole number"),
        (["--factor", "2.5"], "2.5 is no whole number"),
        (["--long", "--cells", "py39-cu121"], "--long has packages and cells of its own"),
        (["--long", "--factor", "20"], "--long has packages and cells of its own"),
        (["--ways", "podman"], "invalid choice: 'podman'"),
        (["--json", "absent/figures.json"], "there is no folder absent"),
        (["--svg", "absent/figures.svg"], "there is no folder absent"),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        parse_arguments(words)
    assert left.value.code == 2
    assert said in capsys.readouterr().err


def test_what_makes_sense_is_taken(tmp_path: Path) -> None:
    asked = parse_arguments(["--phases", "2", "--factor", "100", "--json", str(tmp_path / "x.json")])
    assert (asked.phases, asked.factor) == (2, 100)
    assert parse_arguments([]).factor == parse_arguments(["--long"]).factor == FACTOR
