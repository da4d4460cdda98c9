"""`imgbuild doctor` without an engine: what it says of the project around it, and of what engines tell."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import pytest

import builder.engine
from builder import doctor
from builder.doctor import examine
from builder.events import Built
from builder.host_gpu import HostGpus

if TYPE_CHECKING:
    from typing import Self

    from builder.doctor import Finding
    from builder.engine import Engine
    from tests.unit.conftest import Run


class FarEngine:
    """An engine on another machine that tells of itself, and takes every build without a word."""

    is_local = False
    told: ClassVar[dict[str, Any]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def describe(self) -> dict[str, Any]:
        return {"ServerVersion": "29.2.0", "OperatingSystem": "Debian", "Driver": "overlay2"} | self.told

    def build(self, *_: object, **__: object) -> tuple[None]:
        return (None,)


@pytest.fixture(autouse=True)
def _engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(builder.engine, "Engine", FarEngine)
    monkeypatch.chdir(tmp_path)


def test_no_project_is_no_failure(run: Run) -> None:
    code, out, _ = run("doctor", "--json")
    assert (code, json.loads(out)["cells"]) == (0, [])


def test_broken_project_is_told_of(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "images" / "one"
    folder.mkdir(parents=True)
    (folder / "image.yaml").write_text("name: [")
    code, _, err = run("doctor")
    assert code == 3
    assert "images/one/image.yaml:2: not valid YAML" in err


def test_folder_that_was_named_has_to_be_a_project(run: Run, tmp_path: Path) -> None:
    code, _, err = run("--project", str(tmp_path), "doctor")
    assert code == 3
    assert "there is no images/ folder" in err


@pytest.mark.parametrize(
    ("told", "way", "fit"),
    [
        ({"Runtimes": {"nvidia": {}}}, "NVIDIA's runtime", "unknown"),
        ({"DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=all"}]}, "CDI devices", "unknown"),
        ({"Runtimes": None}, "the engine, on another machine, names no GPU", "CPU only"),
    ],
)
def test_gpus_of_another_machine_are_unknown(
    told: dict[str, Any], way: str, fit: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FarEngine, "told", told)
    folder = tmp_path / "images" / "one"
    folder.mkdir(parents=True)
    (folder / "image.yaml").write_text(
        "name: one\nbase: miniforge\nmatrix: {python: ['3.11'], cuda: ['12.6'], torch: 2.7.1}\n"
    )
    _, out, _ = run("doctor", "--json")
    said = json.loads(out)
    found = {finding["about"]: (finding["state"], finding["text"]) for finding in said["findings"]}
    assert found["GPU"] == ("warning", "unknown: the engine is on another machine")
    assert found["--gpus"] == ("ok", way)
    assert [cell["fit"] for cell in said["cells"]] == [fit]
    assert f"{fit}: " in run("doctor")[1]


class NearEngine(FarEngine):
    """An engine on this machine."""

    is_local = True


def test_image_that_was_built_to_try_buildkit_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    removed: list[str] = []
    monkeypatch.setattr(NearEngine, "build", lambda *_, **__: (Built(image_id="sha256:1"),))
    monkeypatch.setattr(NearEngine, "remove", lambda _, image: removed.append(image), raising=False)
    assert find("BuildKit", HostGpus(), monkeypatch).state == "ok"
    assert removed == ["sha256:1"]


def find(about: str, gpus: HostGpus, monkeypatch: pytest.MonkeyPatch, **told: object) -> Finding:
    """Return what is found about one thing on an engine of this machine that tells these things of itself."""
    monkeypatch.setattr(NearEngine, "told", told)
    (found,) = (it for it in examine(cast("Engine", NearEngine()), gpus) if it.about == about)
    return found


@pytest.mark.parametrize(
    ("gpus", "hook", "state", "text"),
    [
        (HostGpus(names=("T4",)), "/usr/bin/hook", "ok", "nvidia-container-runtime-hook"),
        (HostGpus(names=("T4",)), None, "failure", "the engine has no NVIDIA runtime, and no CDI device of a GPU"),
        (HostGpus(), "/usr/bin/hook", "ok", "not needed here"),
    ],
)
def test_hook_gives_gpus_too(
    gpus: HostGpus, hook: str | None, state: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: hook)
    found = find("--gpus", gpus, monkeypatch, Runtimes=None)
    assert (found.state, found.text) == (state, text)


STORE = {"DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]}
OWN = {"Containerd": {"Address": "/var/run/docker/containerd/containerd.sock"}}


@pytest.mark.parametrize(
    ("told", "folders", "fullest"),
    [
        ({}, ("docker", "containerd"), "docker"),
        (STORE, ("docker",), "docker"),
        (STORE, ("docker", "containerd"), "containerd"),
        (STORE | OWN, ("docker", "containerd", "docker/containerd"), "docker/containerd"),
    ],
)
def test_disk_is_that_of_the_images(
    told: dict[str, Any], folders: tuple[str, ...], fullest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir()
    config = tmp_path / "config.toml"
    config.write_text(f"version = 3\nroot = '{tmp_path}/containerd'\n")
    room = {"docker": 9e10, "docker/containerd": 8e10, "containerd": 7e9}
    monkeypatch.setattr(doctor, "_CONTAINERD_CONFIG", config)
    monkeypatch.setattr(
        shutil, "disk_usage", lambda it: SimpleNamespace(free=room[str(Path(it).relative_to(tmp_path))])
    )
    found = find("disk", HostGpus(), monkeypatch, DockerRootDir=f"{tmp_path}/docker", **told)
    assert found.text.endswith(f" free in {tmp_path}/{fullest}")
    assert found.state == ("warning" if fullest == "containerd" else "ok")


@pytest.mark.parametrize("text", ["version = 3", "version =", None])
def test_containerd_that_names_no_root_has_the_usual_one(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_CONTAINERD_CONFIG", tmp_path / "config.toml")
    if text:
        (tmp_path / "config.toml").write_text(text)
    assert doctor._find_containerd_root() == "/var/lib/containerd"
