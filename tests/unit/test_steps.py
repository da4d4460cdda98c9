from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from builder.artifacts import list_artifacts
from builder.layers import make_layer
from builder.steps import Step, make_step, sort_by_dependency
from tests.samples import BASE, make_conda, make_environment, make_python, make_wheel

if TYPE_CHECKING:
    import random

    from builder.lock import CondaPackage

FAST = replace(BASE, installer="rattler", python="/opt/conda/bin/python")
NVIDIA = make_wheel(
    "nvidia-nccl-cu12", "2.26", url="https://files.example/nvidia_nccl_cu12-2.26-py3-none-manylinux_2_28.whl"
)
TORCH = make_wheel(
    "torch", "2.7.1+cu126", url="https://download.pytorch.org/whl/cu126/torch-2.7.1-cp310-cp310-linux.whl"
)
TQDM = make_wheel("tqdm", "4.67", url=f"https://files.example/packages/aa/bb/{'c' * 60}/tqdm-4.67-py3-none-any.whl")


def step(base=FAST, *, conda=None, pip=(TORCH, TQDM, NVIDIA), only=None) -> Step:
    environment = make_environment(conda=conda, pip=pip)
    artifacts = list_artifacts(environment, neutral=base.installer == "rattler", index="cu126")
    return make_step(make_layer(base.key, (it for it in artifacts if only is None or it.name in only), 0), base)


def lists(made: Step) -> dict[str, list[str]]:
    return {name: data.decode().splitlines() for name, data in made.lists}


def test_each_kind_has_its_list() -> None:
    found = lists(step())
    assert set(found) == {"neutral.txt", "conda.txt", "pip.txt", "links.txt"}
    assert found["neutral.txt"][-1] == f"nvidia-nccl-cu12==2.26 --hash=sha256:{NVIDIA.sha256}"
    assert found["links.txt"] == ["nvidia-nccl-cu12==2.26"]
    assert found["pip.txt"][1:] == [
        "--only-binary :all:",
        f"torch==2.7.1+cu126 --hash=sha256:{TORCH.sha256}",
        f"tqdm==4.67 --hash=sha256:{TQDM.sha256}",
    ]


def test_pytorchs_index_is_asked_only_for_what_is_not_on_pypi() -> None:
    index = "--extra-index-url https://download.pytorch.org/whl/cu126"
    assert lists(step(only={"torch"}))["pip.txt"][0] == index
    assert index not in lists(step(only={"tqdm"}))["pip.txt"]


def test_package_without_sha256_is_listed_with_its_md5() -> None:
    old = make_conda("libold", sha256="")
    assert lists(step(conda=[old], pip=()))["conda.txt"] == ["@EXPLICIT", f"{old.url}#{old.md5}"]


def test_step_has_only_the_commands_for_what_it_installs() -> None:
    assert "uv_pip" not in "".join(step(only={"libgcc"}).commands)
    assert "install.py" not in "".join(step(only={"tqdm"}).commands)
    begin, *_, end = step(only={"tqdm"}).commands
    assert begin == ". /host/begin"
    assert end.startswith("sh /host/end /opt/env")


def test_base_installs_with_its_own_conda_and_the_environments_pip() -> None:
    text = " && ".join(step(BASE).commands)
    assert 'conda install --yes --quiet --prefix /opt/env --file "$(mirrored /build/conda.txt)"' in text
    assert "/opt/env/bin/python -m pip install" in text
    assert "--no-deps --require-hashes" in text
    assert "export CONDA_NO_PLUGINS=true" in text
    assert f"conda {BASE.clean}" in text
    assert "installer" not in "".join(step(BASE).mounts)


def test_cache_of_conda_is_for_one_step_at_a_time() -> None:
    (conda,) = (mount for mount in step(BASE).mounts if BASE.pkgs_dir in mount)
    assert conda == "type=cache,id=imgbuild-conda-miniforge,target=/opt/conda/pkgs,sharing=locked"
    assert all("sharing=locked" not in mount for mount in step(FAST).mounts)


@st.composite
def packages(draw: st.DrawFn) -> list[CondaPackage]:
    """Packages p0…pn, each with dependencies on earlier ones and maybe on Python."""
    found = [make_conda("python", "3.10.16", depends=("libgcc", "pip")), make_conda("libgcc")]
    for number in range(draw(st.integers(0, 12))):
        depends = {
            f"p{other}" for other in draw(st.sets(st.integers(0, max(number - 1, 0)), max_size=3)) if other < number
        }
        depends |= {"python >=3.10"} if draw(st.booleans()) else set()
        found.append(make_conda(f"p{number}", depends=tuple(sorted(depends))))
    return found


@given(packages(), st.randoms(use_true_random=False))
def test_dependencies_come_first_whatever_the_order_was(found: list[CondaPackage], chance: random.Random) -> None:
    artifacts = list(list_artifacts(make_environment(conda=found)))
    ordered = sort_by_dependency(artifacts)
    chance.shuffle(artifacts)
    assert sort_by_dependency(artifacts) == ordered
    assert len(ordered) == len(found)
    names = {artifact.name for artifact in ordered}
    seen: set[str] = set()
    for artifact in ordered:
        assert set(artifact.needs) & names - {"pip"} <= seen
        seen.add(artifact.name)


def test_python_comes_before_pip_although_they_need_each_other() -> None:
    names = [it.name for it in sort_by_dependency(list_artifacts(make_environment(conda=make_python("3.10.16"))))]
    assert names.index("python") < names.index("pip")
