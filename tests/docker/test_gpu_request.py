"""What `--gpus all` asks of engines reaches them, without a GPU: NVIDIA's hook and a CDI device that record it."""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING

import docker
import pytest

from builder.checks.container import GpuError, start_container
from builder.checks.gpu_use import decide_gpu_use
from tests.docker.conftest import give_up
from tests.docker.engines import run_engine
from tests.kit.base import IMAGE
from tests.kit.errors import KitError

if TYPE_CHECKING:
    from pathlib import Path

    from builder.checks import GpuUse

HOOK = """#!/bin/sh
cat > {folder}/state.json
echo "$@" > {folder}/arguments
"""
CDI = """
cdiVersion: "0.5.0"
kind: nvidia.com/gpu
devices:
- name: all
  containerEdits:
    env: [IMGBUILD_CDI=reached]
"""


def start(url: str, use: GpuUse, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the environment of a container that is started as the checks start theirs."""
    monkeypatch.setenv("DOCKER_HOST", url)
    with start_container(IMAGE, {}, threading.Event(), gpu=use.state) as container:
        return str(container.exec_run(["cat", "/proc/1/environ"], user="0").output.decode())


def decide(url: str, root: Path) -> GpuUse:
    client = docker.DockerClient(base_url=url, version="auto")
    try:
        return decide_gpu_use(client.info(), local=True, required=False, root=root)
    finally:
        client.close()


@pytest.mark.parametrize("serves", ["hook", "cdi", "nothing"])
def test_gpus_are_asked_for_as_the_engine_serves_them(
    serves: str, kit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (tmp_path / "cdi").mkdir()
    host = tmp_path / "host"  # the files of a machine that has a GPU and its driver
    (host / "proc/driver/nvidia").mkdir(parents=True)
    (host / "proc/driver/nvidia/version").touch()
    if serves == "hook":
        hook = bin_folder / "nvidia-container-runtime-hook"
        hook.write_text(HOOK.format(folder=tmp_path))
        hook.chmod(0o755)
    if serves == "cdi":
        (tmp_path / "cdi" / "nvidia.yaml").write_text(CDI)
    try:
        settings = {"cdi-spec-dirs": [str(tmp_path / "cdi")], "features": {"cdi": True}}
        path = f"{bin_folder}:{os.environ['PATH']}"
        with run_engine(tmp_path, kit, bridge="imgbuild-gpu0", settings=settings, path=path) as own:
            use = decide(own.engine.url, host)
            if serves == "nothing":
                with pytest.raises(GpuError, match="could not select device driver"):
                    start(own.engine.url, use, monkeypatch)
                return
            variables = start(own.engine.url, use, monkeypatch)
    except KitError as error:
        give_up(f"no engine of its own: {error}")
    if serves == "hook":
        assert use.state == "gpus"
        assert (tmp_path / "arguments").read_text() == "prestart\n"
        assert json.loads((tmp_path / "state.json").read_text())["bundle"]
        assert "NVIDIA_VISIBLE_DEVICES=all" in variables
    else:
        assert use.state == "cdi"
        assert "IMGBUILD_CDI=reached" in variables
