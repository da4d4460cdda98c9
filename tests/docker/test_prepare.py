"""The steps of `.github/actions/prepare`, run as a job runs them, on a machine that is not GitHub's."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from packaging.utils import canonicalize_name

from builder import __version__
from tests.docker.conftest import require_programs
from tests.workflow import GITHUB, Runner, read_steps, with_programs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from subprocess import CompletedProcess

PROJECT = GITHUB.parent
STEPS = read_steps("prepare")
SETTINGS = "/etc/docker/daemon.json"
PINNED = re.compile(r"^(\S+==\S+)", re.MULTILINE)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with a `sudo` and a `systemctl` that only write down what they were told."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in ("sudo", "systemctl"):
        write_program(folder / name, f'echo "$@" >> {tmp_path}/{name}')
    return folder


def write_program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def run_step(step: Mapping[str, Any], folder: Path, **environment: str) -> CompletedProcess[str]:
    runner = Runner(folder=folder, scratch=folder, environment=os.environ | environment, values={})
    (done,), _ = runner.run({"steps": [step]})
    return done


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What a job of GitHub's has of this project, and a `python3` that is the one of these tests."""
    folder = tmp_path / "checkout"
    (folder / "programs").mkdir(parents=True)
    for name in ("builder", "templates", "images", ".github"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(PROJECT / name, folder)
    (folder / "programs" / "python3").symlink_to(sys.executable)
    return folder


def test_imgbuild_is_installed_from_what_is_pinned(checkout: Path) -> None:
    done = run_step(STEPS["Install imgbuild"], checkout, PATH=with_programs(checkout / "programs"))
    assert done.returncode == 0, done.stderr
    (folder,) = (checkout / "path").read_text().splitlines()
    said = subprocess.run([f"{folder}/imgbuild", "--version"], cwd="/", capture_output=True, text=True, check=True)
    assert __version__ in said.stdout
    asked = [f"{folder}/python", "-m", "pip", "list", "--format", "json"]
    listed = json.loads(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)
    installed = {f"{canonicalize_name(it['name'])}=={it['version']}" for it in listed}
    pinned = set(PINNED.findall((GITHUB / "requirements.txt").read_text()))
    others = {it.partition("==")[0] for it in installed - pinned}
    assert {"imgbuild"} <= others <= {"imgbuild", "pip", "setuptools"}


def test_library_that_is_not_what_was_pinned_is_not_installed(checkout: Path) -> None:
    pins = checkout / ".github" / "requirements.txt"
    pins.write_text(re.sub(r"sha256:[0-9a-f]{64}", f"sha256:{'0' * 64}", pins.read_text()))
    done = run_step(STEPS["Install imgbuild"], checkout, PATH=with_programs(checkout / "programs"))
    assert done.returncode == 1
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert not (checkout / "imgbuild" / "bin" / "imgbuild").exists()


def give_store(tmp_path: Path, programs: Path, before: str | None, **environment: str) -> CompletedProcess[str]:
    """Run the step that writes the engine's settings, on some that lie in `settings`, and with a `sudo` for these."""
    settings = tmp_path / "settings"
    if before is not None:
        settings.write_text(before)
    step = STEPS["Give the engine the containerd store"]
    assert step["run"].count(SETTINGS) == 1
    write_program(programs / "sudo", 'case "$*" in */etc/*) exit 9;; esac\nexec "$@"')
    moved = step | {"run": step["run"].replace(SETTINGS, str(settings))}
    return run_step(moved, tmp_path, PATH=with_programs(programs), **environment)


@pytest.mark.parametrize("before", [None, "", '{"features": {"x": true}, "mtu": 1400}'])
def test_engine_gets_the_containerd_store_beside_its_own_settings(
    tmp_path: Path, programs: Path, second_engine: str, before: str | None
) -> None:
    """The engine that answers is one that has this store."""
    require_programs(tmp_path, "jq")
    done = give_store(tmp_path, programs, before, DOCKER_HOST=second_engine)
    assert done.returncode == 0, done.stderr
    kept = json.loads(before or "{}")
    settings = tmp_path / "settings"
    assert json.loads(settings.read_text()) == kept | {
        "features": kept.get("features", {}) | {"containerd-snapshotter": True}
    }
    subprocess.run(["dockerd", "--validate", "--config-file", settings], check=True, capture_output=True)
    assert (tmp_path / "systemctl").read_text() == "restart docker\n"


def test_engine_that_keeps_its_other_store_ends_the_job(tmp_path: Path, programs: Path) -> None:
    require_programs(tmp_path, "jq")
    write_program(programs / "docker", """echo '[["Backing Filesystem","extfs"],["Native Overlay Diff","true"]]'""")
    done = give_store(tmp_path, programs, None)
    assert done.returncode == 1
    assert (tmp_path / "systemctl").read_text() == "restart docker\n"


def test_disk_is_freed_of_toolchains_alone_and_only_for_an_engine(tmp_path: Path, programs: Path) -> None:
    done = run_step(STEPS["Free the disk"], tmp_path, PATH=with_programs(programs))
    assert done.returncode == 0, done.stderr
    (asked,) = (tmp_path / "sudo").read_text().splitlines()
    toolchains = {"/opt/ghc", "/usr/local/.ghcup", "/usr/local/lib/android", "/usr/share/dotnet", "/usr/share/swift"}
    assert set(asked.removeprefix("rm -rf ").split()) == toolchains
    asked_for = {step["if"] for name, step in STEPS.items() if name != "Install imgbuild"}
    assert asked_for == {"inputs.engine == 'true'"}
