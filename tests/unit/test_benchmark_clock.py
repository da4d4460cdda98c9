"""What `benchmarks/clock.py` calls the same at all clocks, and what it refuses to begin."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from benchmarks.clock import compare, draw, list_digests, parse_arguments
from benchmarks.cold_builds import name_roles
from benchmarks.machine import use_own_loader
from builder.layers import Layer
from tests.kit.errors import KitError


def report(manifest: str, *layers: tuple[str, str, str]) -> dict[str, Any]:
    told = [dict(zip(("role", "digest", "diff_id"), layer, strict=True)) for layer in layers]
    return {"images": [{"store": "containerd", "cell": "a", "manifest": manifest, "layers": told}]}


def test_digests_are_compared_by_store_role_cell_and_position() -> None:
    now = report("m1", ("base", "p0", "u0"), ("adds packages", "p1", "u1"), ("adds packages", "p2", "u2"))
    later = report("m2", ("base", "p0", "u0"), ("adds packages", "p1", "u1"), ("adds packages", "p3", "u2"))
    assert compare(map(list_digests, (now, later))) == {
        ("containerd", "images, by their manifests"): (1, 0),
        ("containerd", "base"): (1, 1),
        ("containerd", "adds packages"): (2, 1),
    }


def test_a_layer_that_one_clock_lacks_is_not_the_same() -> None:
    more = report("m", ("base", "p0", "u0"), ("adds packages", "p1", "u1"))
    less = report("m", ("base", "p0", "u0"))
    for pair in ((more, less), (less, more)):
        assert compare(map(list_digests, pair))["containerd", "adds packages"] == (1, 0)


def test_the_table_names_the_clocks_and_counts() -> None:
    clocks = [datetime(year, 1, 31, tzinfo=UTC) for year in (2026, 2027)]
    table = draw({("containerd", "base"): (3, 2)}, clocks)
    assert "2026-01-31, 2027-01-31" in table
    assert table.splitlines()[-1] == "| base | containerd | 3 | 2 |"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--clocks", "tomorrow"], "tomorrow is no day like 2027-01-31"),
        (["--clocks", "2027-01-31"], "two clocks at least"),
        (["--clocks", "2027-01-31", "2027-01-31"], "two clocks at least"),
        (["--stores", "podman"], "invalid choice: 'podman'"),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        parse_arguments(words)
    assert left.value.code == 2
    assert said in capsys.readouterr().err


def test_clocks_are_a_year_apart_unless_given() -> None:
    now, later, earlier = parse_arguments([]).clocks
    assert (later - now).days == (now - earlier).days == 365


def test_layers_are_named_from_the_base_up() -> None:
    added, newer = (Layer(base="kit", artifacts=(), size=0, replaced=replaced) for replaced in ((), ("zstd-1",)))
    assert list(name_roles((added, added, newer), 8)) == [
        "base",
        "own files",
        "own files",
        "adds packages",
        "adds packages",
        "replaces packages",
        "own files",
        "own files",
    ]


def test_the_kernel_starts_with_the_loader_beside_it() -> None:
    program = b"\x7fELF/lib64/ld-linux-x86-64.so.2\0rest"
    changed = use_own_loader(program)
    assert len(changed) == len(program)
    assert b"./ld-linux.so.2\0" in changed
    with pytest.raises(KitError):
        use_own_loader(b"\x7fELF, static")
