from __future__ import annotations

from builder.artifacts import list_artifacts
from builder.layers import make_layer
from tests.samples import make_conda, make_environment, make_wheel

WHEELS = [
    make_wheel("nvidia-nccl-cu12", url="https://files.example/nvidia_nccl_cu12-2-py3-none-manylinux_2_28.whl", size=9),
    make_wheel("tqdm", size=5),
    make_wheel("torch"),
]
ARTIFACTS = list_artifacts(make_environment(conda=[make_conda("python", "3.11.9", size=7)], pip=WHEELS))


def test_id_follows_from_what_is_installed_and_replaced() -> None:
    layer = make_layer("miniforge", ARTIFACTS, 0)
    assert layer.id == make_layer("miniforge", ARTIFACTS[::-1], 99).id
    others = [
        make_layer("micromamba", ARTIFACTS, 0),
        make_layer("miniforge", ARTIFACTS[1:], 0),
        make_layer("miniforge", ARTIFACTS, 0, replaced=["tqdm"]),
        make_layer("miniforge", ARTIFACTS, 0, replaced=["six"]),
    ]
    assert len({it.id for it in (layer, *others)}) == 5


def test_id_is_a_folder_name_that_never_changes() -> None:
    # Published plans and build caches hold these: another rule would make every layer a new one.
    assert make_layer("miniforge", ARTIFACTS, 0).id == "f28bd1afa2c0"


def test_size_counts_the_unknown_as_told() -> None:
    assert make_layer("miniforge", ARTIFACTS, 100).size == 7 + 9 + 32_768 + 5 + 100


def test_links_are_no_packages_of_their_own() -> None:
    assert sorted(it.name for it in make_layer("b", ARTIFACTS, 0).packages) == [
        "nvidia-nccl-cu12",
        "python",
        "torch",
        "tqdm",
    ]
