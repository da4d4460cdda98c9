"""What a machine can build and run: findings about its engine, disk, BuildKit, GPUs, and how containers get those."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from builder.checks.gpu_use import lists_gpus
from builder.compat import name_driver
from builder.context import Context, ContextFile
from builder.errors import ImgbuildError
from builder.events import Built
from builder.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from builder.engine import Engine
    from builder.host_gpu import HostGpus

_ROOM = 30e9
"""Bytes of free disk under which the build of a GPU image may run out: its layers, packed and unpacked."""

_NVIDIA_SMI = "see that `nvidia-smi` works"
_TOOLKIT = "install nvidia-container-toolkit, run `nvidia-ctk runtime configure`, and restart the engine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fact about the machine: what it is about, whether it is as it should be, and what to do where it is not."""

    about: str
    state: Literal["ok", "warning", "failure"]
    text: str
    hint: str = ""


def examine(engine: Engine, gpus: HostGpus) -> Iterator[Finding]:
    """Yield the findings about an engine and the machine that it runs on."""
    info = engine.describe()
    words = ", rootless" if any("rootless" in it for it in info.get("SecurityOptions") or ()) else ""
    yield Finding(about="engine", state="ok", text=f"{info['ServerVersion']}, {info['OperatingSystem']}{words}")
    yield _find_store(info)
    if engine.is_local:
        yield _find_disk(str(info.get("DockerRootDir", "")))
    yield _find_buildkit(engine)
    yield _find_gpus(gpus)
    yield _find_way(info, gpus, local=engine.is_local)


def explain_unreachable(info: Mapping[str, Any], gpus: HostGpus) -> str:
    """Return why containers of an engine get none of a machine's GPUs, empty where they do or there is none."""
    if not gpus.names or "nvidia" in info.get("Runtimes", {}) or lists_gpus(info):
        return ""
    if shutil.which("nvidia-container-runtime-hook"):
        return ""
    return "the engine has no NVIDIA runtime, and no CDI device of a GPU"


def _find_store(info: Mapping[str, Any]) -> Finding:
    if any("io.containerd.snapshotter" in str(value) for row in info.get("DriverStatus") or () for value in row):
        return Finding(about="image store", state="ok", text=f"containerd ({info['Driver']}): keeps zstd layers")
    text = f"graphdriver ({info['Driver']}): keeps layers unpacked, a push packs them with gzip"
    return Finding(about="image store", state="ok", text=text)


def _find_disk(folder: str) -> Finding:
    if not os.path.isdir(folder):  # noqa: PTH112 (of another namespace, as in Docker Desktop)
        return Finding(about="disk", state="warning", text=f"{folder} cannot be seen from here")
    free = shutil.disk_usage(folder).free
    text = f"{format_bytes(free)} free in {folder}"
    if free < _ROOM:
        hint = "a GPU image may take 30 GB while it is built: `docker system df` tells what can go"
        return Finding(about="disk", state="warning", text=text, hint=hint)
    return Finding(about="disk", state="ok", text=text)


def _find_buildkit(engine: Engine) -> Finding:
    dockerfile = ContextFile(path="Dockerfile", data=b"FROM scratch\nCOPY Dockerfile /\n")
    try:
        *_, built = engine.build(Context(files=(dockerfile,)), secrets={}, credentials=lambda _: None, build_args={})
    except ImgbuildError as error:
        return Finding(about="BuildKit", state="failure", text=f"a build of one file fails: {error.message}")
    if isinstance(built, Built):
        engine.remove(built.image_id)
    return Finding(about="BuildKit", state="ok", text="builds")


def _find_gpus(gpus: HostGpus) -> Finding:
    if gpus.fault and not gpus.names:
        return Finding(about="GPU", state="warning", text=f"none is seen: {gpus.fault}", hint=_NVIDIA_SMI)
    if not gpus.names:
        return Finding(about="GPU", state="ok", text="none: images are built and run, their GPU checks are skipped")
    driver = f", driver {name_driver(gpus.driver)}" if gpus.driver else ""
    text = "; ".join(gpus.names) + (f" ({', '.join(gpus.arches)})" if gpus.arches else "") + driver
    if gpus.fault:
        return Finding(about="GPU", state="failure", text=f"{text}: {gpus.fault}", hint=_NVIDIA_SMI)
    return Finding(about="GPU", state="ok", text=text)


def _find_way(info: Mapping[str, Any], gpus: HostGpus, *, local: bool) -> Finding:
    if fault := explain_unreachable(info, gpus):
        return Finding(about="--gpus", state="failure", text=fault, hint=_TOOLKIT)
    if "nvidia" in info.get("Runtimes", {}):
        return Finding(about="--gpus", state="ok", text="NVIDIA's runtime")
    if lists_gpus(info):
        return Finding(about="--gpus", state="ok", text="CDI devices")
    return Finding(about="--gpus", state="ok", text="not needed here" if local else "the engine names no GPU")
