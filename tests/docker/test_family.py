"""The images that ship, as far as the kit has what they need: JupyterLab and sshd are real, torch is left out."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.docker.test_interruption import wait_for

if TYPE_CHECKING:
    from tests.docker.conftest import Lab

IMAGES = Path(__file__).parents[2] / "images"


def adopt(lab: Lab, name: str, **changes: object) -> None:
    """Make the lab's image that of the family: with its command and its checks."""
    shipped = yaml.safe_load((IMAGES / name / "image.yaml").read_text())
    lab.define(command=shipped["command"], **changes)
    shutil.copytree(IMAGES / "jupyter" / "checks", lab.folder / "checks")
    done = lab.build()
    assert done.returncode == 0, done.stderr
    assert "28 checks" in done.stderr or "17 checks passed" in done.stderr, done.stderr


@pytest.mark.parametrize("user", [[], ["--user=12345:67890"]])
def test_jupyter_starts_for_any_user_without_a_network(lab: Lab, user: list[str]) -> None:
    adopt(lab, "jupyter", conda=["six"], pip=["jupyterlab"])
    argv = ["docker", "run", "--detach", "--network=none", *user, lab.ref]
    container = lab.client.containers.get(
        subprocess.run(argv, env=lab.environment, capture_output=True, text=True, check=True).stdout.strip()
    )
    try:
        wait_for(lambda: b"/lab?token=" in container.logs(), "JupyterLab")
        ask = "import urllib.request as u; u.urlopen('http://127.0.0.1:8888/api/contents')"
        refused = container.exec_run(["python", "-c", ask])
        assert b"403: Forbidden" in refused.output
        container.stop(timeout=20)
        assert container.wait()["StatusCode"] == 0
    finally:
        container.remove(force=True)


def test_jupyter_does_not_start_as_root(lab: Lab) -> None:
    adopt(lab, "jupyter", conda=["six"], pip=["jupyterlab"])
    argv = ["docker", "run", "--rm", "--network=none", "--user=0", lab.ref]
    done = subprocess.run(argv, env=lab.environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert "Running as root is not recommended" in done.stderr


def test_ssh_lets_in_who_has_the_key(lab: Lab) -> None:
    adopt(lab, "jupyter-ssh", conda=["six"], pip=["jupyterlab"], apt=["openssh-server", "openssh-client"])
    assert lab.shell(lab.ref, "ls /etc/ssh | grep -c host_ || true") == "0\n"
    container = lab.client.containers.run(lab.ref, detach=True, network_mode="none")
    reach = "ssh -p 2222 -o BatchMode=yes -o StrictHostKeyChecking=no -i /tmp/key user@127.0.0.1 id -u"
    try:
        container.exec_run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/tmp/key"])
        wait_for(lambda: b"Permission denied" in container.exec_run(["sh", "-c", reach]).output, "sshd")
        container.exec_run(["sh", "-c", "cp /tmp/key.pub ~/.ssh/authorized_keys"])
        let_in = container.exec_run(["sh", "-c", reach])
        assert let_in.output.endswith(b"1000\n"), let_in.output + container.logs()
        for script in ("python -V; echo $PIP_CONSTRAINT $CONDA_PREFIX", "bash -lc 'python -V; echo $PIP_CONSTRAINT'"):
            asked = container.exec_run(["sh", "-c", f"{reach.removesuffix('id -u')} {shlex.quote(script)}"])
            assert asked.exit_code == 0, asked.output
            assert b"Python 3.11" in asked.output
            assert b"/etc/imgbuild/constraints.txt" in asked.output
    finally:
        container.remove(force=True)
