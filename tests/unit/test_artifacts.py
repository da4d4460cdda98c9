from __future__ import annotations

from typing import Any

import pytest

from builder.artifacts import Artifact, Kind, Need, assume_size, is_neutral, list_artifacts
from tests.samples import make_conda, make_environment, make_python, make_wheel

CUDNN = "nvidia_cudnn_cu12-9.5.1.17-py3-none-manylinux_2_28_x86_64.whl"


def make_nvidia(name: str = "nvidia-cudnn-cu12", version: str = "9.5.1.17", size: int | None = 570_000_000):
    return make_wheel(name, version, url=f"https://files.example/w/{CUDNN}", size=size)


def by_name(artifacts: tuple[Artifact, ...], kind: Kind = Kind.CONDA) -> dict[str, Artifact]:
    return {artifact.name: artifact for artifact in artifacts if artifact.kind is kind}


def test_what_knows_no_python_is_the_same_for_every_python() -> None:
    older, newer = (by_name(list_artifacts(make_environment(conda=make_python(it)))) for it in ("3.10.16", "3.11.9"))
    same = {name for name in older if older[name] == newer[name]}
    assert same == {"libblas", "libgcc", "tzdata"}


def test_what_lands_in_pythons_folder_is_another_artifact_for_each_python() -> None:
    pip = make_conda("pip", "26.0", "pyh0_0", subdir="noarch", depends=("python >=3.9",))
    wheel = make_wheel("tqdm")
    found = [
        list_artifacts(make_environment(conda=[make_conda("python", version), pip], pip=[wheel]))
        for version in ("3.10.16", "3.10.17", "3.11.9")
    ]
    pips, wheels = (
        ([by_name(it, kind)[name] for it in found]) for kind, name in ((Kind.CONDA, "pip"), (Kind.WHEEL, "tqdm"))
    )
    for first, second, other in (pips, wheels):
        assert first == second != other


@pytest.mark.parametrize(
    "more",
    [
        {"depends": ("conda-forge::python >=3",)},
        {"depends": (" python >=3",)},
        {"depends": (), "noarch": "python", "build": "pyh0_0"},
    ],
)
def test_package_for_python_needs_it_however_that_is_told(more: dict[str, Any]) -> None:
    conda = [*make_python("3.11.9"), make_conda("ext", **more)]
    assert by_name(list_artifacts(make_environment(conda=conda)))["ext"].need is Need.PYTHON_NEEDED


def test_needs_follow_the_dependencies_of_python_both_ways() -> None:
    meta = make_conda("pytorch-gpu", depends=("pytorch 2.7.1 cuda126_py310_0",))
    torch = make_conda("pytorch", "2.7.1", depends=("python >=3.10,<3.11", "libtorch"))
    packages = [*make_python("3.10.16"), meta, torch, make_conda("libtorch")]
    needs = {name: it.need for name, it in by_name(list_artifacts(make_environment(conda=packages))).items()}
    assert needs["python"] is Need.PYTHON
    assert {name for name, need in needs.items() if need is Need.RUNTIME} == {"libgcc", "tzdata"}
    assert {name for name, need in needs.items() if need is Need.NONE} == {"libblas", "libtorch"}
    assert needs["pytorch-gpu"] is Need.PYTHON_NEEDED


def test_nvidia_wheel_is_one_artifact_for_all_pythons_and_a_link_for_each() -> None:
    older, newer = (
        list_artifacts(make_environment(conda=make_python(version), pip=[make_nvidia()]))
        for version in ("3.10.16", "3.11.9")
    )
    assert by_name(older, Kind.NEUTRAL) == by_name(newer, Kind.NEUTRAL) != {}
    assert by_name(older, Kind.LINK) != by_name(newer, Kind.LINK)
    assert not by_name(older, Kind.WHEEL)


def test_base_without_python_installs_nvidia_wheels_like_others() -> None:
    found = list_artifacts(make_environment(pip=[make_nvidia()]), neutral=False)
    assert set(by_name(found, Kind.WHEEL)) == {"nvidia-cudnn-cu12"}
    assert not by_name(found, Kind.NEUTRAL)


@pytest.mark.parametrize(
    ("file", "neutral"),
    [
        (CUDNN, True),
        ("nvidia_nccl_cu12-2.26.2-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl", True),
        ("nvidia_ml_py-12.5-py3-none-any.whl", False),
        ("nvidia_dali_cuda120-1.4-cp311-cp311-manylinux_2_28_x86_64.whl", False),
        ("torch-2.7.1-cp311-cp311-manylinux_2_28_x86_64.whl", False),
        ("ninja-1.11-py3-none-manylinux1_x86_64.whl", False),
    ],
)
def test_neutral_wheels_are_told_by_their_tags(file: str, neutral: bool) -> None:
    assert is_neutral(make_wheel("x", url=f"https://files.example/{file}")) is neutral


@pytest.mark.parametrize("more", ["#sha256=0a1b", "?token=a/b", "?a=/x#egg=cudnn&subdirectory=a/b.whl"])
def test_what_follows_the_address_of_a_wheel_says_nothing_of_it(more: str) -> None:
    assert is_neutral(make_wheel("x", url=f"https://files.example/{CUDNN}{more}"))
    torch = "torch-2.7.1-cp311-cp311-manylinux_2_28_x86_64.whl"
    assert not is_neutral(make_wheel("x", url=f"https://files.example/{torch}{more}/{CUDNN}"))


def test_address_of_a_wheel_may_be_quoted() -> None:
    file = "nvidia%5Fcusparselt_cu12-0.7%2Bx-py3-none-manylinux_2%5F28_x86_64.whl"
    assert is_neutral(make_wheel("x", url=f"https://files.example/{file}"))


def test_two_kinds_of_the_same_download_are_two_artifacts() -> None:
    found = list_artifacts(make_environment(conda=[], pip=[make_nvidia()]))
    assert len({artifact.key for artifact in found}) == 2


def test_unknown_size_counts_as_the_median_of_the_known() -> None:
    wheels = [make_wheel("a", size=5), make_wheel("b", size=9), make_wheel("c", size=100), make_wheel("d")]
    assert assume_size(list_artifacts(make_environment(conda=[], pip=wheels))) == 9
    assert assume_size(list_artifacts(make_environment(conda=[], pip=[make_wheel("d")]))) == 1_000_000
    nvidia = make_wheel("nvidia-nccl-cu12", url="https://files.example/nvidia_nccl_cu12-2-py3-none-manylinux_2_28.whl")
    assert assume_size(list_artifacts(make_environment(conda=[], pip=[nvidia]))) == 1_000_000


def test_order_of_the_lock_does_not_matter() -> None:
    packages = make_python("3.10.16")
    assert list_artifacts(make_environment(conda=packages)) == list_artifacts(make_environment(conda=packages[::-1]))
