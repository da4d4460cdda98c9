"""What the checks of torch say of a torch that is not the cell's: a stand-in, spoilt in one way at a time."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from builder.checks.expected import describe_cell
from tests.samples import make_conda, make_environment, make_job, make_wheel

if TYPE_CHECKING:
    from types import ModuleType

EXPECTED = {
    "torch": "2.6.0",
    "cuda": "12.6",
    "arches": ["sm_80", "sm_90"],
    "gpu": "gpus",
    "no-gpu": "",
    "libraries": {"cudnn": "9.5.1.17", "nccl": "2.21.5"},
}


class Ones:
    """A matrix of ones, as far as its product's sum."""

    total = 64.0**3

    def __matmul__(self, _: Ones) -> Ones:
        return self

    def sum(self) -> float:
        return self.total


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch, scripts: dict[str, ModuleType]) -> Any:
    """A torch that is just as EXPECTED says, on a GPU of capability 8.6."""
    traits = SimpleNamespace(major=8, minor=6, name="A10", total_memory=24 << 30)
    made = SimpleNamespace(
        __version__="2.6.0+cu126",
        version=SimpleNamespace(cuda="12.6"),
        ones=lambda *_: Ones(),
        _C=SimpleNamespace(
            _cuda_getArchFlags=lambda: "sm_80 sm_90",
            _cudnn=SimpleNamespace(getRuntimeVersion=lambda: (9, 5, 1)),
        ),
        backends=SimpleNamespace(cudnn=SimpleNamespace(is_available=lambda: True, version=lambda: 90501)),
        cuda=SimpleNamespace(
            is_available=lambda: True,
            device_count=lambda: 1,
            get_device_properties=lambda _: traits,
            get_arch_list=lambda: ["sm_80", "sm_90"],
            init=lambda: None,
            set_device=lambda _: None,
            nccl=SimpleNamespace(version=lambda: (2, 21, 5)),
        ),
    )
    monkeypatch.setitem(sys.modules, "torch", made)  # type: ignore[arg-type]
    monkeypatch.setattr(scripts["gpu"], "read_driver", lambda: "550")
    monkeypatch.setattr(scripts["diagnosis"].glob, "glob", lambda _: [])
    monkeypatch.setattr(scripts["diagnosis"], "load_driver", lambda: None)
    monkeypatch.setattr(scripts["gpu"], "read_nccl", lambda: (2, 21, 5))
    return made


def run(scripts: dict[str, ModuleType], check: str, **expected: object) -> str:
    module = scripts["torch_build"] if check in ("torch", "arches", "cudnn") else scripts["gpu"]
    return str(getattr(module, check)(EXPECTED | expected))


@pytest.mark.parametrize("check", ["torch", "arches", "cudnn", "device", "libraries"])
def test_torch_of_the_cell_passes(check: str, torch: Any, scripts: dict[str, ModuleType]) -> None:
    assert run(scripts, check), torch


@pytest.mark.parametrize(
    ("check", "place", "value", "words"),
    [
        ("torch", "__version__", "2.5.1+cu126", "torch is 2.5.1, the lock has 2.6.0"),
        ("torch", "version.cuda", "11.8", "built for CUDA 11.8, the cell is for CUDA 12.6"),
        ("torch", "version.cuda", None, "built for the CPU alone, the cell is for CUDA 12.6"),
        ("arches", "_C._cuda_getArchFlags", lambda: "sm_90", "no kernels for sm_80: torch is compiled for sm_90"),
        ("arches", "_C._cuda_getArchFlags", lambda: None, "no kernels for sm_80, sm_90: .* no GPU"),
        ("cudnn", "backends.cudnn.is_available", lambda: False, "torch finds no cuDNN"),
        ("cudnn", "backends.cudnn.version", lambda: None, "torch finds no cuDNN"),
        ("device", "cuda.get_arch_list", lambda: ["sm_90"], "no kernels for A10, capability 8.6"),
        ("device", "cuda.is_available", lambda: False, "run it with --gpus all"),
        ("libraries", "backends.cudnn.is_available", lambda: False, "torch finds no cuDNN"),
        ("libraries", "_C._cudnn.getRuntimeVersion", lambda: (9, 1, 0), "cudnn is 9.1.0, the lock has 9.5.1.17"),
    ],
)
def test_torch_that_is_another_fails(
    check: str, place: str, value: object, words: str, torch: Any, scripts: dict[str, ModuleType]
) -> None:
    *path, name = place.split(".")
    holder = torch
    for part in path:
        holder = getattr(holder, part)
    setattr(holder, name, value)
    with pytest.raises(scripts["verdict"].Failed, match=words):
        run(scripts, check)


def test_build_for_the_cpu_alone_has_no_kernels(torch: Any, scripts: dict[str, ModuleType]) -> None:
    del torch._C._cuda_getArchFlags
    with pytest.raises(scripts["verdict"].Failed, match="no kernels for sm_80, sm_90: torch is compiled for no GPU"):
        run(scripts, "arches")


def test_wrong_product_fails(torch: Any, scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ones, "total", 64.0**3 - 1)
    with pytest.raises(scripts["verdict"].Failed, match="a matrix product on the CPU gave"):
        run(scripts, "torch")
    assert torch.ones().sum() == Ones.total


def test_nccl_is_compared_where_it_is_a_library_of_its_own(
    torch: Any, scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts["gpu"], "read_nccl", lambda: (2, 19, 3))
    with pytest.raises(scripts["verdict"].Failed, match=r"nccl is 2\.19\.3, the lock has 2\.21\.5"):
        run(scripts, "libraries")
    monkeypatch.setattr(scripts["gpu"], "read_nccl", lambda: None)
    torch.cuda.nccl.version = lambda: (2, 18, 1)
    assert run(scripts, "libraries").endswith("NCCL 2.18.1")


@pytest.mark.parametrize(
    ("number", "version"), [(90501, (9, 5, 1)), (8902, (8, 9, 2)), (22105, (2, 21, 5)), (2708, (2, 7, 8))]
)
def test_versions_are_read_in_both_spellings(
    number: int, version: tuple[int, ...], scripts: dict[str, ModuleType]
) -> None:
    assert scripts["gpu"].split_version(number) == version


def test_a_gpu_that_is_out_of_reach_fails_and_none_is_skipped(torch: Any, scripts: dict[str, ModuleType]) -> None:
    assert torch
    with pytest.raises(scripts["verdict"].Failed, match="no runtime"):
        run(scripts, "matmul", gpu="out of reach", **{"no-gpu": "no runtime"})
    with pytest.raises(scripts["verdict"].Skip, match="no GPU"):
        run(scripts, "matmul", gpu="none", **{"no-gpu": "no GPU"})


def test_versions_of_libraries_are_those_that_torch_loads() -> None:
    python = make_conda("python", "3.10.16")
    wheels = [make_wheel("nvidia-cudnn-cu12", "9.5.1.17"), make_wheel("nvidia-cuda-runtime-cu12", "12.6.77")]
    packages = [python, make_conda("cudnn", "8.9.7.29"), make_conda("nccl", "2.21.5.1")]
    found = describe_cell(make_job(), make_environment(conda=packages, pip=wheels), "/opt/env", {}, [])
    assert found["libraries"] == {"cudnn": "9.5.1.17", "nccl": "2.21.5.1"}
