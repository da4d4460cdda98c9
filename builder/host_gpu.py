"""The NVIDIA GPUs and the driver of this machine, by nvidia-smi, or by what the kernel tells where that is missing."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.version import InvalidVersion, Version

_QUERIES = ("name,compute_cap,driver_version", "name,driver_version")
"""What nvidia-smi is asked for: drivers before R510 refuse a question with `compute_cap` (huggingface/candle#733)."""

_ROW = re.compile(r"(.+?), *(?:(\d+\.\d+|\[?N/A\]?|\[[^]]*\]), *)?(\d+\.[\d.]*|\[[^]]*\])")
_WARNS = 14
_DRIVER = re.compile(r"^NVRM version:.*?\s(\d{3,}\.[\d.]+)\s", re.MULTILINE)
_VENDOR, _DISPLAY = "0x10de", "0x03"
_MODULE = "proc/driver/nvidia/version"
_WSL = "usr/lib/wsl/lib"
"""Where Windows's driver is under WSL, nvidia-smi too, which need not be on the PATH (NVIDIA, "CUDA on WSL")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostGpus:
    """What a machine has: the GPUs by name, with their architecture (`sm_90`) where it is known, and the driver.

    `fault` is what keeps a GPU that is there from being used on the machine itself.
    """

    names: tuple[str, ...] = ()
    arches: tuple[str, ...] = ()
    driver: Version | None = None
    fault: str = ""


def find_gpus(root: Path = Path("/"), command: str = "nvidia-smi", patience: float = 30) -> HostGpus:
    """Return the GPUs of this machine; `root` is where its /proc, /sys, /dev and /usr are.

    `patience` is how many seconds nvidia-smi has: it hangs where a GPU has fallen off the bus. Its exit status 14 only
    warns of a corrupted infoROM (nvidia-smi's manual, "Return value").
    """
    devices = list_devices(root)
    version = root / _MODULE
    driver = parse_driver(version.read_text(errors="replace")) if version.is_file() else None
    try:
        done = _ask(shutil.which(command) or str(root / _WSL / "nvidia-smi"), patience)
    except subprocess.TimeoutExpired:
        return HostGpus(names=devices, driver=driver, fault=f"nvidia-smi has not answered in {patience:g} s")
    except OSError:
        fault = "" if driver or _is_wsl(root) or not devices else "there is no driver: install NVIDIA's"
        return HostGpus(names=devices, driver=driver, fault=fault)
    found = parse_query(done.stdout)
    if found.names and done.returncode in (0, _WARNS):
        return found
    said = " ".join((done.stdout + done.stderr).split()) or f"exit status {done.returncode}"
    fault = f"nvidia-smi fails: {said}"
    return replace(found, fault=fault) if found.names else HostGpus(names=devices, driver=driver, fault=fault)


def _ask(command: str, patience: float) -> subprocess.CompletedProcess[str]:
    for query in _QUERIES:
        done = subprocess.run(
            [command, f"--query-gpu={query}", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=patience,
        )
        if '"compute_cap" is not a valid field' not in done.stdout + done.stderr:
            break
    return done


def parse_query(text: str) -> HostGpus:
    """Return the GPUs in what nvidia-smi prints, `NVIDIA H200, 9.0, 550.54.15` for each, and warnings among them.

    The architecture may be missing, or not known.
    """
    names, arches, drivers = [], [], []
    for line in text.splitlines():
        if (row := _ROW.fullmatch(line.strip())) is None:
            continue
        name, capability, driver = row.groups()
        names.append(name)
        if re.fullmatch(r"\d+\.\d", capability or ""):  # not "[N/A]"
            arches.append(f"sm_{capability.replace('.', '')}")
        drivers.append(driver)
    return HostGpus(names=tuple(names), arches=tuple(arches), driver=_to_version(drivers[0]) if drivers else None)


def parse_driver(text: str) -> Version | None:
    """Return the version in /proc/driver/nvidia/version, of the closed or the open kernel module."""
    found = _DRIVER.search(text)
    return _to_version(found[1]) if found else None


def list_devices(root: Path) -> tuple[str, ...]:
    """Return NVIDIA's GPUs as the kernel tells them: by their PCI addresses, whether or not they have a driver.

    Where the bus shows none, a driver that is there stands for one: Linux's, or Windows's under WSL.
    """
    found = []
    for device in sorted(root.glob("sys/bus/pci/devices/*")):
        kind = [(device / name).read_text().strip() for name in ("vendor", "class") if (device / name).is_file()]
        if len(kind) == 2 and kind[0] == _VENDOR and kind[1].startswith(_DISPLAY):
            found.append(f"NVIDIA GPU at {device.name}")
    if not found and ((root / _MODULE).exists() or _is_wsl(root)):
        found.append("NVIDIA GPU")
    return tuple(found)


def _is_wsl(root: Path) -> bool:
    """Return whether WSL lends an NVIDIA GPU: /dev/dxg stands for one of any make."""
    return (root / "dev/dxg").exists() and (root / _WSL / "libcuda.so.1").exists()


def _to_version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None
