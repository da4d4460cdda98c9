"""When the checks use a GPU, from what engines tell of themselves and what this machine's files say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from builder.checks.gpu_use import decide_gpu_use

if TYPE_CHECKING:
    from pathlib import Path

PLAIN: dict[str, Any] = {"ServerVersion": "28.5.2+dfsg4", "Runtimes": {"runc": {}}, "DiscoveredDevices": None}
CDI = {"DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=all"}]}


@pytest.mark.parametrize(
    ("info", "state"),
    [
        ({"Runtimes": {"runc": {}, "nvidia": {}}}, "gpus"),
        (CDI, "cdi"),
        (CDI | {"ServerVersion": "29.2.0"}, "gpus"),
        ({"DiscoveredDevices": [{"Source": "cdi", "ID": "vendor.example/net=all"}]}, "none"),
        ({}, "none"),
    ],
)
def test_engine_says_how_it_gives_gpus(info: dict[str, Any], state: str, tmp_path: Path) -> None:
    assert decide_gpu_use(PLAIN | info, local=True, required=False, root=tmp_path).state == state


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
