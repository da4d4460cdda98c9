from __future__ import annotations

import json
from pathlib import Path

import pytest
from packaging.version import Version

from builder import compat
from builder.compat import Source, driver_for, find_builds, name_driver, nearest, runs_on, why_not
from builder.compat_table import load_builds

DATA = Path(compat.__file__).parent / "data"
CPU = None


def version(text: str | None) -> Version | None:
    return None if text is None else Version(text)


def pick(python: str, cuda: str | None, torch: str | None = None, **more: object) -> tuple[str, Source]:
    found = find_builds(python=Version(python), cuda=version(cuda), torch=version(torch), **more)  # type: ignore[arg-type]
    return str(found[0].torch), found[0].source


def reason(python: str, cuda: str | None, torch: str | None = None, **more: object) -> str | None:
    return why_not(python=Version(python), cuda=version(cuda), torch=version(torch), **more)  # type: ignore[arg-type]


def test_every_row_has_a_source_and_unknown_stays_unknown() -> None:
    rows = json.loads((DATA / "torch.json").read_text())["builds"]
    assert all(row["source_url"] for row in rows)
    assert {row["known"] for row in rows} == {True, None}
    assert len(load_builds()) == len(rows) > 200
    for name in ("torch.json", "drivers.json"):
        table = json.loads((DATA / name).read_text())
        assert table["sources"]
        assert "shared" not in json.dumps(table)


@pytest.mark.parametrize(
    ("python", "cuda", "torch", "source"),
    [
        ("3.10", "11.8", "2.7.1", Source.WHEELS),
        ("3.13", "11.8", "2.7.1", Source.WHEELS),
        ("3.12", "12.8", "2.11.0", Source.WHEELS),
        ("3.10", "13.0", "2.14.1", Source.PYPI),
        ("3.11", "13.2", "2.15.0", Source.PYPI),
        ("3.10", "12.0", "2.5.1", Source.CONDA_FORGE),
        ("3.10", CPU, "2.14.1", Source.WHEELS),  # 2.15.0 has no Python 3.10
        ("3.8", "11.8", "2.4.1", Source.WHEELS),
    ],
)
def test_newest_torch_wins_and_wheels_come_before_conda(
    python: str, cuda: str | None, torch: str, source: Source
) -> None:
    assert pick(python, cuda) == (torch, source)


def test_default_wheel_comes_before_the_wheel_index_of_the_same_cuda() -> None:
    sources = [
        build.source for build in find_builds(python=Version("3.11"), cuda=Version("12.6"), torch=Version("2.7.1"))
    ]
    assert sources == [Source.PYPI, Source.WHEELS, Source.CONDA_FORGE]


def test_pytorch_channel_ends_at_2_5_1_and_python_3_12() -> None:
    only = (Source.PYTORCH,)
    assert pick("3.12", "11.8", sources=only) == ("2.5.1", Source.PYTORCH)
    assert reason("3.13", "11.8", sources=only) == (
        "torch for CUDA 11.8 and Python 3.13 comes from wheels, conda-forge, not from pytorch"
    )


def test_unverified_build_is_never_chosen_but_may_be_asked_for() -> None:
    assert not any(build.known is None for build in find_builds(python=Version("3.11"), cuda=Version("12.6")))
    assert pick("3.11", "12.6")[0] == "2.14.1"
    asked = find_builds(python=Version("3.11"), cuda=Version("12.6"), torch=Version("2.15.0"))
    assert asked
    assert all(build.known is None for build in asked)
    assert "torch 2.15.0 for it is unknown: nobody verified it" in str(reason("3.15", "12.6"))


def test_free_threaded_python_is_not_the_python_of_that_number() -> None:
    rows = json.loads((DATA / "torch.json").read_text())["builds"]
    assert any("3.13t" in row["python"].split() for row in rows)
    for row, build in zip(
        sorted(rows, key=lambda row: (Version(row["torch"]), str(row["cuda"]), row["source"])),
        sorted(load_builds(), key=lambda build: (build.torch, str(build.cuda), build.source)),
        strict=True,
    ):
        assert {str(python) for python in build.python} == {tag for tag in row["python"].split() if tag[-1] != "t"}


@pytest.mark.parametrize(
    ("python", "cuda", "torch", "says"),
    [
        ("3.10", "12.7", None, "CUDA 12.7 was never released"),
        ("3.10", "12.3", None, "no torch is known for CUDA 12.3: there is 11.2, 11.6"),
        (
            "3.14",
            "11.8",
            None,
            "no torch for CUDA 11.8 has Python 3.14: "
            "the last with CUDA 11.8 is 2.7.1, which has Python 3.9\N{EN DASH}3.13",
        ),
        ("3.10", "11.8", "2.9.0", "torch 2.9.0 dropped CUDA 11.8 after 2.7.1: it has 12.6, 12.8, 12.9, 13.0, cpu"),
        ("3.10", "13.0", "2.5.1", "torch 2.5.1 has no CUDA 13.0: it has 11.8, 12.0, 12.1, 12.4, 12.6, cpu"),
        ("3.14", "11.8", "2.5.1", "torch 2.5.1 for CUDA 11.8 has Python 3.9\N{EN DASH}3.13, not 3.14"),
        ("3.10", "12.6", "2.7.9", "torch 2.7.9 is not in the compatibility table, which has 2.7.0, 2.7.1"),
        ("3.10", "12.6", "0.4.1", "torch 0.4.1 is not in the compatibility table, which has 1.13.0 to 2.15.0"),
        ("3.10", "12.6", "2.15.0", "torch 2.15.0 for CUDA 12.6 has Python 3.11\N{EN DASH}3.15, not 3.10"),
        ("3.6", CPU, None, "no torch for CPU has Python 3.6"),
    ],
)
def test_reason_names_the_axis_that_rules_it_out(python: str, cuda: str | None, torch: str | None, says: str) -> None:
    text = reason(python, cuda, torch)
    assert text is not None
    assert text.startswith(says)


def test_there_is_a_reason_exactly_when_there_is_no_build() -> None:
    pythons = [Version(f"3.{minor}") for minor in range(6, 17)]
    cudas = [*sorted({build.cuda for build in load_builds() if build.cuda}), None, Version("12.7")]
    torches = [*sorted({build.torch for build in load_builds()}), None]
    for cuda in cudas:
        for torch in torches:
            for python in pythons:
                found = find_builds(python=python, cuda=cuda, torch=torch)
                assert (why_not(python=python, cuda=cuda, torch=torch) is None) == bool(found)


def test_nearest_are_existing_pairs_by_distance() -> None:
    pairs = nearest(python=Version("3.14"), cuda=Version("11.8"))
    assert pairs[:2] == ((Version("3.13"), Version("11.8")), (Version("3.12"), Version("11.8")))
    assert all(find_builds(python=python, cuda=cuda) for python, cuda in pairs)
    assert pairs[-1][1] is None
    assert nearest(python=Version("3.10"), cuda=Version("12.7"))[0][1] == Version("12.8")


def test_gpu_that_the_newest_build_dropped_gets_an_older_torch() -> None:
    assert pick("3.11", "12.8")[0] == "2.11.0"
    assert pick("3.11", "12.8", arches=("sm_70",))[0] == "2.10.0"
    assert reason("3.11", "12.8", arches=("sm_90", "sm_61")) == (
        "no torch for CUDA 12.8 and Python 3.11 is known to run on sm_61"
    )


def test_kernels_run_on_later_gpus_of_their_generation_and_ptx_on_all_later_ones() -> None:
    (default,) = (b for b in load_builds() if (str(b.torch), str(b.cuda), b.source) == ("2.8.0", "12.8", Source.PYPI))
    assert runs_on(default, "sm_89")  # Ada runs the sm_86 kernels
    assert runs_on(default, "sm_61") is False
    assert runs_on(default, "sm_121") is True
    (ptx,) = (b for b in load_builds() if (str(b.torch), str(b.cuda), b.source) == ("2.8.0", "12.9", Source.WHEELS))
    assert runs_on(ptx, "sm_130") is True
    assert runs_on(default, "sm_130") is False
    (channel,) = (
        b for b in load_builds() if (str(b.torch), str(b.cuda), b.source) == ("2.5.1", "11.8", Source.PYTORCH)
    )
    assert runs_on(channel, "sm_80") is None


def test_driver_minimum_is_the_familys_and_keeps_nvidias_spelling() -> None:
    driver = driver_for(Version("11.8"))
    assert driver.minimum is not None
    assert driver.toolkit is not None
    assert (name_driver(driver.minimum), name_driver(driver.toolkit)) == ("450.80.02", "520.61.05")
    assert driver_for(Version("12.3")).toolkit is None
    assert driver_for(Version("9.2")).minimum is None


def test_torch_is_one_that_torchvision_goes_with() -> None:
    assert pick("3.13", "12.1") == ("2.5.1", Source.WHEELS)
    assert reason("3.13", "12.1") is None
    told = "there is no torchvision and torchaudio for torch 2.5.0, torch 2.5.1, CUDA 12.1 and Python 3.13"
    assert reason("3.13", "12.1", trio=True) == told
    assert pick("3.12", "12.1", trio=True) == ("2.5.1", Source.WHEELS)


def test_nearest_pairs_have_the_torch_that_is_asked_for() -> None:
    found = nearest(python=Version("3.13"), cuda=Version("12.8"), torch=Version("2.0.1"))
    assert found[0] == (Version("3.11"), Version("11.8"))
    assert {cuda for _, cuda in found} == {Version("11.7"), Version("11.8"), None}
