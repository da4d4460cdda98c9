"""What a machine can build and run: findings about its engine, disk, BuildKit, GPUs, and how containers get those."""

from __future__ import annotations

import os
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from builder.checks.gpu_use import has_runtime, lists_gpus
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

_CONTAINERD = "/run/containerd/containerd.sock"
_CONTAINERD_CONFIG = Path("/etc/containerd/config.toml")
_CONTAINERD_ROOT = "/var/lib/containerd"
"""Where the system's containerd listens, is configured, and keeps images unless it is told otherwise."""

_HOOK = "nvidia-container-runtime-hook"
_NVIDIA_SMI = "see that `nvidia-smi` works"
_TOOLKIT = "install nvidia-container-toolkit, run `nvidia-ctk runtime configure`, and restart the engine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fact about the machine: what it is about, whether it is as it should be, and what to do where it is not."""

    about: str
    state: Literal["ok", "warning", "failure"]
    text: str
    hint: str = ""


def examine(engine: Engine, gpus: HostGpus | None) -> Iterator[Finding]:
    """Yield the findings about an engine and the machine that it runs on; `gpus` is None where that is another one."""
    info = engine.describe()
    words = ", rootless" if any("rootless" in it for it in info.get("SecurityOptions") or ()) else ""
    yield Finding(about="engine", state="ok", text=f"{info['ServerVersion']}, {info['OperatingSystem']}{words}")
    yield _find_store(info)
    if engine.is_local:
        yield _find_disk(info)
    yield _find_buildkit(engine)
    yield _find_gpus(gpus)
    yield _find_way(info, gpus)


def explain_unreachable(info: Mapping[str, Any], gpus: HostGpus | None) -> str:
    """Return why containers of an engine get none of its machine's GPUs, empty where they do or there is none.

    `gpus` is None for those of another machine: what its engine says is then all that is known.
    """
    if has_runtime(info) or lists_gpus(info):
        return ""
    if gpus is None:
        return "the engine, on another machine, names no GPU"
    if not gpus.names or shutil.which(_HOOK):
        return ""
    return "the engine has no NVIDIA runtime, and no CDI device of a GPU"


def _find_store(info: Mapping[str, Any]) -> Finding:
    if _uses_containerd(info):
        return Finding(about="image store", state="ok", text=f"containerd ({info['Driver']}): keeps zstd layers")
    text = f"graphdriver ({info['Driver']}): keeps layers unpacked, a push packs them with gzip"
    return Finding(about="image store", state="ok", text=text)


def _uses_containerd(info: Mapping[str, Any]) -> bool:
    return any("io.containerd.snapshotter" in str(value) for row in info.get("DriverStatus") or () for value in row)


def _find_disk(info: Mapping[str, Any]) -> Finding:
    root = str(info.get("DockerRootDir", ""))
    if not os.path.isdir(root):  # noqa: PTH112 (of another namespace, as in Docker Desktop)
        return Finding(about="disk", state="warning", text=f"{root} cannot be seen from here")
    room = {folder: shutil.disk_usage(folder).free for folder in (root, *_list_image_folders(info))}
    folder = min(room, key=room.__getitem__)
    text = f"{format_bytes(room[folder])} free in {folder}"
    if room[folder] < _ROOM:
        hint = "a GPU image may take 30 GB while it is built: `docker system df` tells what can go"
        return Finding(about="disk", state="warning", text=text, hint=hint)
    return Finding(about="disk", state="ok", text=text)


def _list_image_folders(info: Mapping[str, Any]) -> Iterator[str]:
    """Yield where containerd may keep the images of an engine that leaves them to it, as far as that is there.

    An engine that starts a containerd of its own has its root below its own (moby: cmd/dockerd, initContainerd). Which
    socket it speaks to it tells since Engine 27.
    """
    if not _uses_containerd(info):
        return
    folders = [f"{info['DockerRootDir']}/containerd"]
    if (info.get("Containerd") or {}).get("Address", _CONTAINERD) == _CONTAINERD:
        folders.append(_find_containerd_root())
    yield from filter(os.path.isdir, folders)


def _find_containerd_root() -> str:
    try:
        return str(tomllib.loads(_CONTAINERD_CONFIG.read_text()).get("root", _CONTAINERD_ROOT))
    except (OSError, ValueError):
        return _CONTAINERD_ROOT


def _find_buildkit(engine: Engine) -> Finding:
    dockerfile = ContextFile(path="Dockerfile", data=b"FROM scratch\nCOPY Dockerfile /\n")
    try:
        *_, built = engine.build(Context(files=(dockerfile,)), secrets={}, credentials=lambda _: None, build_args={})
    except ImgbuildError as error:
        return Finding(about="BuildKit", state="failure", text=f"a build of one file fails: {error.message}")
    if isinstance(built, Built):
        engine.remove(built.image_id)
    return Finding(about="BuildKit", state="ok", text="builds")


def _find_gpus(gpus: HostGpus | None) -> Finding:
    if gpus is None:
        return Finding(about="GPU", state="warning", text="unknown: the engine is on another machine")
    if gpus.fault and not gpus.names:
        return Finding(about="GPU", state="warning", text=f"none is seen: {gpus.fault}", hint=_NVIDIA_SMI)
    if not gpus.names:
        return Finding(about="GPU", state="ok", text="none: images are built and run, their GPU checks are skipped")
    driver = f", driver {name_driver(gpus.driver)}" if gpus.driver else ""
    text = "; ".join(gpus.names) + (f" ({', '.join(gpus.arches)})" if gpus.arches else "") + driver
    if gpus.fault:
        return Finding(about="GPU", state="failure", text=f"{text}: {gpus.fault}", hint=_NVIDIA_SMI)
    return Finding(about="GPU", state="ok", text=text)


def _find_way(info: Mapping[str, Any], gpus: HostGpus | None) -> Finding:
    if has_runtime(info):
        return Finding(about="--gpus", state="ok", text="NVIDIA's runtime")
    if lists_gpus(info):
        return Finding(about="--gpus", state="ok", text="CDI devices")
    fault = explain_unreachable(info, gpus)
    if gpus and fault:
        return Finding(about="--gpus", state="failure", text=fault, hint=_TOOLKIT)
    return Finding(about="--gpus", state="ok", text=fault or (_HOOK if gpus and gpus.names else "not needed here"))
