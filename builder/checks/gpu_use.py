"""Whether the checks of this run use a GPU: what the machine has, and what its engine gives to containers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.version import InvalidVersion, Version

from builder.checks import GpuUse
from builder.host_gpu import list_devices

if TYPE_CHECKING:
    from collections.abc import Mapping

_CDI_KIND = "nvidia.com/gpu="
_MAPS_TO_CDI = Version("29.2")
"""The first engine that serves `--gpus` by CDI; those before it ask NVIDIA's hook alone."""


def decide_gpu_use(info: Mapping[str, Any], *, local: bool, required: bool, root: Path = Path("/")) -> GpuUse:
    """Return what to do about a GPU, from what the engine tells of itself (`docker info`).

    `local` is whether the engine runs on this machine, whose files then tell whether there is a GPU; `required` makes
    a failure of the checks that would be skipped. What an engine names are its settings: NVIDIA's toolkit and a
    list of CDI devices may be there without a GPU.
    """
    if local and not list_devices(root):
        return _leave_out("no GPU on this host", required=required)
    if has_runtime(info):
        return GpuUse(state="gpus")
    if lists_gpus(info):
        return GpuUse(state="gpus" if _maps_to_cdi(info["ServerVersion"]) else "cdi")
    if local:
        # NVIDIA's hook on the engine's PATH would do, which nobody can ask for: a container is started to find out.
        return GpuUse(state="gpus")
    return _leave_out("the engine, on another machine, names no GPU", required=required)


def has_runtime(info: Mapping[str, Any]) -> bool:
    """Return whether an engine has NVIDIA's runtime."""
    return "nvidia" in (info.get("Runtimes") or {})


def lists_gpus(info: Mapping[str, Any]) -> bool:
    """Return whether an engine has found CDI devices of NVIDIA (it lists them since Engine 28.2)."""
    return any(it.get("ID", "").startswith(_CDI_KIND) for it in info.get("DiscoveredDevices") or ())


def _leave_out(why: str, *, required: bool) -> GpuUse:
    return (
        GpuUse(state="out of reach", why=f"{why}, and one is required") if required else GpuUse(state="none", why=why)
    )


def _maps_to_cdi(engine: str) -> bool:
    try:
        return Version(engine.partition("-")[0]) >= _MAPS_TO_CDI
    except InvalidVersion:  # "dev": every engine that lists CDI devices gives them by their own name
        return False
