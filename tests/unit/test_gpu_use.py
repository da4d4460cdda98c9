"""When the checks use a GPU, from what engines tell of themselves and what this machine's files say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from builder.checks.gpu_use import decide_gpu_use

if TYPE_CHECKING:
    from pathlib import Path

PLAIN: dict[str, Any] = {"ServerVersion": "28.5.2+dfsg4", "Runtimes": {"runc": {}}, "DiscoveredDevices": None}
CDI: dict[str, Any] = {"DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=all"}]}


@pytest.mark.parametrize(
    ("info", "state"),
    [
        ({"Runtimes": {"runc": {}, "nvidia": {}}}, "gpus"),
        (CDI, "cdi"),
        (CDI | {"ServerVersion": "29.2.0"}, "gpus"),
        (CDI | {"ServerVersion": "dev"}, "cdi"),
        ({"DiscoveredDevices": [{"Source": "cdi", "ID": "vendor.example/net=all"}]}, "none"),
        ({"Runtimes": None}, "none"),
        ({}, "none"),
    ],
)
def test_engine_says_how_it_gives_gpus(info: dict[str, Any], state: str, tmp_path: Path) -> None:
    assert decide_gpu_use(PLAIN | info, local=False, required=False, root=tmp_path).state == state


@pytest.mark.parametrize("info", [{"Runtimes": {"nvidia": {}}}, CDI, {}])
@pytest.mark.parametrize(("required", "state"), [(False, "none"), (True, "out of reach")])
def test_host_without_a_gpu_is_told_so_whatever_its_engine_is_set_up_for(
    info: dict[str, Any], state: str, tmp_path: Path, *, required: bool
) -> None:
    found = decide_gpu_use(PLAIN | info, local=True, required=required, root=tmp_path)
    assert found.state == state
    assert "no GPU on this host" in found.why


def test_host_under_wsl_has_its_gpu_at_another_place(tmp_path: Path) -> None:
    """/dev/dxg is there for every make of GPU, the library for NVIDIA's alone."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/dxg").touch()
    assert decide_gpu_use(PLAIN | CDI, local=True, required=False, root=tmp_path).state == "none"
    (tmp_path / "usr/lib/wsl/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/wsl/lib/libcuda.so.1").touch()
    assert decide_gpu_use(PLAIN | CDI, local=True, required=False, root=tmp_path).state == "cdi"


def test_host_with_a_gpu_is_never_skipped(tmp_path: Path) -> None:
    device = tmp_path / "sys/bus/pci/devices/0000:01:00.0"
    device.mkdir(parents=True)
    (device / "vendor").write_text("0x10de\n")
    (device / "class").write_text("0x040300\n")  # its sound
    assert decide_gpu_use(PLAIN, local=True, required=False, root=tmp_path).state == "none"
    (device / "class").write_text("0x030200\n")
    assert decide_gpu_use(PLAIN, local=True, required=False, root=tmp_path).state == "gpus"
    assert decide_gpu_use(PLAIN, local=False, required=False, root=tmp_path).state == "none"


def test_what_is_required_is_not_skipped(tmp_path: Path) -> None:
    found = decide_gpu_use(PLAIN, local=True, required=True, root=tmp_path)
    assert (found.state, found.why) == ("out of reach", "no GPU on this host, and one is required")
