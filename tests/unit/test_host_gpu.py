"""The GPUs of a machine, from what nvidia-smi and the kernel say, and the cells that they can run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from builder.doctor import examine
from builder.errors import EngineError
from builder.fitness import judge_cells
from builder.host_gpu import HostGpus, find_gpus, parse_driver, parse_query
from builder.matrix import select_cells
from tests.samples import make_definition

if TYPE_CHECKING:
    from pathlib import Path

    from builder.engine import Engine

CLOSED = """\
NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024
GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)
"""
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (dvs-builder@U22)\n"


@pytest.mark.parametrize(("text", "driver"), [(CLOSED, "535.183.1"), (OPEN, "580.95.5"), ("NVRM version:\n", None)])
def test_driver_of_a_kernel_module(text: str, driver: str | None) -> None:
    assert parse_driver(text) == (Version(driver) if driver else None)


def test_what_nvidia_smi_lists() -> None:
    found = parse_query("NVIDIA H200, 9.0, 550.54.15\nNVIDIA A100-SXM4-80GB, 8.0, 550.54.15\n")
    assert found.names == ("NVIDIA H200", "NVIDIA A100-SXM4-80GB")
    assert found.arches == ("sm_90", "sm_80")
    assert found.driver == Version("550.54.15")
    assert parse_query("Tesla K80, [N/A], 470.256.02\n").arches == ()


def add_device(root: Path) -> None:
    device = root / "sys/bus/pci/devices/0000:41:00.0"
    device.mkdir(parents=True)
    (device / "vendor").write_text("0x10de\n")
    (device / "class").write_text("0x030200\n")


def write_command(tmp_path: Path, script: str) -> str:
    command = tmp_path / "nvidia-smi"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    return str(command)


def test_machine_without_nvidia_smi(tmp_path: Path) -> None:
    absent = str(tmp_path / "nvidia-smi")
    assert find_gpus(tmp_path, absent) == HostGpus()
    add_device(tmp_path)
    assert find_gpus(tmp_path, absent).fault == "there is no driver: install NVIDIA's"
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    (tmp_path / "proc/driver/nvidia/version").write_text(CLOSED)
    assert find_gpus(tmp_path, absent) == HostGpus(names=("NVIDIA GPU at 0000:41:00.0",), driver=Version("535.183.1"))


def test_driver_that_is_loaded_stands_for_a_gpu_that_the_bus_does_not_show(tmp_path: Path) -> None:
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    (tmp_path / "proc/driver/nvidia/version").write_text(CLOSED)
    found = find_gpus(tmp_path, str(tmp_path / "nvidia-smi"))
    assert found == HostGpus(names=("NVIDIA GPU",), driver=Version("535.183.1"))


def test_nvidia_smi_of_wsl_need_not_be_on_the_path(tmp_path: Path) -> None:
    absent, library = str(tmp_path / "nvidia-smi"), tmp_path / "usr/lib/wsl/lib"
    library.mkdir(parents=True)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/dxg").touch()
    assert find_gpus(tmp_path, absent) == HostGpus()
    (library / "libcuda.so.1").touch()
    assert find_gpus(tmp_path, absent) == HostGpus(names=("NVIDIA GPU",))
    write_command(library, f"echo {H200}")
    assert find_gpus(tmp_path, absent).names == ("NVIDIA H200",)


def test_nvidia_smi_that_knows_no_architecture_is_asked_without(tmp_path: Path) -> None:
    refusal = 'echo Field \\"compute_cap\\" is not a valid field to query.; echo; exit 2'
    script = f'case "$*" in *compute_cap*) {refusal};; *) echo NVIDIA A100-SXM4-80GB, 470.256.02;; esac'
    found = find_gpus(tmp_path, write_command(tmp_path, script))
    assert found == HostGpus(names=("NVIDIA A100-SXM4-80GB",), driver=Version("470.256.02"))


def test_nvidia_smi_that_fails_says_why(tmp_path: Path) -> None:
    add_device(tmp_path)
    command = write_command(tmp_path, "echo couldn\\'t communicate with the NVIDIA driver; exit 9")
    assert find_gpus(tmp_path, command).fault == "nvidia-smi fails: couldn't communicate with the NVIDIA driver"


class StoppedEngine:
    """An engine on another machine that tells of itself, and builds nothing."""

    is_local = False

    def describe(self) -> dict[str, Any]:
        return {"ServerVersion": "29.2.0", "OperatingSystem": "Debian", "Driver": "overlay2"}

    def build(self, *_: object, **__: object) -> NoReturn:
        raise EngineError("stopped")


H200 = "NVIDIA H200, 9.0, 550.54.15"


@pytest.mark.parametrize(
    ("script", "names", "fault"),
    [
        (f"echo {H200}; echo WARNING: infoROM is corrupted at gpu 0000:41:00.0", ("NVIDIA H200",), ""),
        (f"echo {H200}; echo WARNING: infoROM is corrupted; exit 14", ("NVIDIA H200",), ""),
        (f"echo {H200}; echo Unable to determine the next; exit 15", ("NVIDIA H200",), "Unable to determine the next"),
        ("echo No devices were found", (), "nvidia-smi fails: No devices were found"),
        ("echo No devices, were found, at all", (), "were found"),
        ("exit 255", (), "nvidia-smi fails: exit status 255"),
        ("printf '\\377\\n'; exit 9", (), "nvidia-smi fails: "),
    ],
)
def test_nvidia_smi_that_is_odd_is_no_crash_and_hides_no_gpu(
    script: str, names: tuple[str, ...], fault: str, tmp_path: Path
) -> None:
    found = find_gpus(tmp_path, write_command(tmp_path, script))
    assert found.names == names
    assert fault in found.fault
    assert bool(found.fault) is bool(fault)


def test_nvidia_smi_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    found = find_gpus(tmp_path, write_command(tmp_path, "exec sleep 600"), patience=0.5)
    assert found == HostGpus(fault="nvidia-smi has not answered in 0.5 s")


@given(st.text())
def test_whatever_nvidia_smi_says_is_read(text: str) -> None:
    assert parse_query(f"{text}\n{H200}\n").names[-1] == "NVIDIA H200"


def test_gpu_that_only_nvidia_smi_misses_is_told_of() -> None:
    fault = "nvidia-smi fails: No devices were found"
    engine = cast("Engine", StoppedEngine())
    (found,) = (it for it in examine(engine, HostGpus(fault=fault)) if it.about == "GPU")
    assert (found.state, found.text) == ("warning", "none is seen: nvidia-smi fails: No devices were found")
    assert found.hint


@pytest.mark.parametrize(
    ("gpus", "unreachable", "fits"),
    [
        (HostGpus(), "", {"11.8": "CPU only", "12.6": "CPU only", "cpu": "runs"}),
        (
            HostGpus(names=("A100",), arches=("sm_80",), driver=Version("550.54.15")),
            "",
            {"11.8": "runs", "12.6": "runs"},
        ),
        (
            HostGpus(names=("A100",), arches=("sm_80",), driver=Version("470.256.02")),
            "",
            {"11.8": "runs", "12.6": "does not run"},
        ),
        (
            HostGpus(names=("B200",), arches=("sm_100",), driver=Version("580.95.05")),
            "",
            {"11.8": "does not run", "cpu": "runs"},
        ),
        (HostGpus(names=("A100",), arches=("sm_80",)), "no runtime", {"12.6": "CPU only", "cpu": "runs"}),
        (HostGpus(names=("A100",), fault="no driver"), "", {"12.6": "CPU only"}),
        (HostGpus(fault="nvidia-smi fails"), "", {"12.6": "CPU only", "cpu": "runs"}),
    ],
)
def test_cells_are_judged_by_driver_and_architecture(gpus: HostGpus, unreachable: str, fits: dict[str, str]) -> None:
    cells = select_cells([make_definition()], python="3.10")
    found = {judgement.cell: judgement for judgement in judge_cells(cells, gpus, unreachable)}
    for cuda, fit in fits.items():
        variant = "cpu" if cuda == "cpu" else f"cu{cuda.replace('.', '')}"
        assert found[f"pytorch-py3.10-{variant}"].fit == fit


def judge(gpus: HostGpus | None, unreachable: str = "") -> tuple[str, str]:
    """Return what is made of the cell of CUDA 12.6."""
    (cell,) = select_cells([make_definition()], python="3.10", cuda="12.6")
    (judgement,) = judge_cells([cell], gpus, unreachable)
    return judgement.fit, judgement.why


def test_one_gpu_that_is_served_is_enough() -> None:
    names, driver = ("A100", "A100", "K620"), Version("550.54.15")
    gpus = HostGpus(names=names, arches=("sm_80", "sm_80", "sm_30"), driver=driver)
    assert judge(gpus) == ("runs", "on sm_80; no kernels for sm_30")
    fit, why = judge(HostGpus(names=("K620", "K620"), arches=("sm_30", "sm_30"), driver=driver))
    assert fit == "does not run"
    assert "has no kernels for sm_30: " in why


def test_architecture_that_nobody_knows_is_told() -> None:
    fit, why = judge(HostGpus(names=("A100",), driver=Version("550.54.15")))
    assert (fit, why.startswith("the GPU's architecture is not known")) == ("runs", True)
    assert judge(HostGpus(names=("A100", "K80"), arches=("sm_30",), driver=Version("550.54.15")))[0] == "runs"
    assert judge(HostGpus(names=("A100",), driver=Version("470.256.02")))[0] == "does not run"


def test_gpus_of_another_machine_are_unknown_unless_its_engine_names_none() -> None:
    assert judge(None) == ("unknown", "GPUs of another machine cannot be seen")
    assert judge(None, "the engine names no GPU") == ("CPU only", "the engine names no GPU")


def test_reason_names_both_drivers() -> None:
    gpus = HostGpus(names=("A100",), arches=("sm_80",), driver=Version("470.256.02"))
    assert judge(gpus)[1] == "driver 470.256.02 is older than CUDA 12.6 needs: 525.60.13 or newer"
