"""The benchmark's table and picture show every way and phase that was measured, however few there are."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest

from benchmarks.install_time import InstallTime
from benchmarks.measure import Row
from benchmarks.report import draw_picture, draw_table
from benchmarks.result import Input, Result

if TYPE_CHECKING:
    from collections.abc import Sequence

SECONDS = {
    ("docker", "cold"): 200.0,
    ("imgbuild", "cold"): 50.0,
    ("docker", "bumped"): 210.0,
    ("imgbuild", "bumped"): 9.0,
}


def measured(*phases: str, ways: Sequence[str] = ("docker", "imgbuild")) -> Result:
    rows = [
        Row(
            way=way,
            phase=phase,
            seconds=SECONDS[way, phase],
            pushed_bytes=300_000_000,
            image_bytes=299_000_000,
            registry_bytes=301_000_000,
            engine_bytes=900_000_000,
        )
        for way in ways
        for phase in phases
    ]
    install = InstallTime(way=ways[-1], image="it:1", install_seconds=5.0, copy_seconds=2.5)
    described = Input(title="a matrix", cells=2, naive_bytes=500_000_000, unique_bytes=250_000_000)
    return Result(input=described, cores=2, docker="28.5", buildx="0.29", rows=tuple(rows), installs=(install,))


@pytest.mark.parametrize("phases", [("cold",), ("cold", "bumped")])
@pytest.mark.parametrize("ways", [("imgbuild",), ("docker", "imgbuild")])
def test_the_picture_has_every_phase_that_it_is_of(phases: Sequence[str], ways: Sequence[str]) -> None:
    picture = draw_picture(measured(*phases, ways=ways))
    texts = [text.text for text in ET.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]
    titles = ["Built and pushed, from nothing", "Stored in the registry (line: every distinct package once)"]
    titles += ["Again: bumped", "Pushed: bumped"] if "bumped" in phases else []
    assert [text for text in texts if text in titles] == titles
    assert texts.count("docker") == (len(titles) if "docker" in ways else 0)
    assert ("9.0 s" in texts) == ("bumped" in phases)


def test_the_table_has_a_column_for_each_way() -> None:
    lines = draw_table(measured("cold", "bumped")).splitlines()
    assert lines[0] == "| a matrix: 2 cells, 500 MB of packages, 250 MB distinct; 2 cores | | docker | imgbuild |"
    assert lines[2] == "| cold | time | 200.0 s | 50.0 s |"
    assert "| bumped | time | 210.0 s | 9.0 s |" in lines
    assert lines[-1] == "|  | `cp -a` of what they make |  | 2.5 s |"
