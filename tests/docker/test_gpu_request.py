"""What `--gpus all` asks of engines reaches them, without a GPU: NVIDIA's hook and a CDI device that record it."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import docker
import pytest

from builder.checks.container import GpuError, start_container
from builder.checks.gpu_use import decide_gpu_use
from tests.docker.conftest import give_up
from tests.kit import processes
from tests.kit.base import IMAGE, import_base
from tests.kit.engine import Engine, add_bridge, start_dockerd
from tests.kit.errors import KitError

if TYPE_CHECKING:
    from collections.abc import Iterator
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


@contextmanager
def run_engine(folder: Path, kit: Path, path: str) -> Iterator[str]:
    """Run dockerd with a PATH and CDI specs of its own, the kit's base in it; give its URL."""
    config = folder / "daemon.json"
    config.write_text(json.dumps({"cdi-spec-dirs": [str(folder / "cdi")], "features": {"cdi": True}}))
    engine = Engine(url=f"unix://{folder / 'docker.sock'}")
    argv = ["dockerd", f"--host={engine.url}", f"--pidfile={folder / 'dockerd.pid'}", f"--config-file={config}"]
    argv += [f"--data-root={folder / 'data'}", f"--bridge={add_bridge('imgbuild-gpu0')}"]
    argv += ["--iptables=false", "--ip6tables=false"]
    # Its containerd has sockets there, whose paths may have 104 characters.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as execution:
        try:
            start_dockerd(
                [*argv, f"--exec-root={execution}"], folder / "dockerd.log", engine, os.environ | {"PATH": path}
            )
            import_base(engine, kit)
            yield engine.url
        finally:
            processes.stop_process(folder / "dockerd.pid", str(folder))
            # One that did not get far leaves its data mounted on themselves.
            subprocess.run(["umount", folder / "data"], check=False, capture_output=True)


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
        with run_engine(tmp_path, kit, f"{bin_folder}:{os.environ['PATH']}") as url:
            use = decide(url, host)
            if serves == "nothing":
                with pytest.raises(GpuError, match="could not select device driver"):
                    start(url, use, monkeypatch)
                return
            variables = start(url, use, monkeypatch)
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
