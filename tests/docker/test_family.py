"""The images that ship, as far as the kit has what they need: sshd is real, torch is left out."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from tests.docker.test_interruption import wait_for

if TYPE_CHECKING:
    from tests.docker.conftest import Lab

IMAGES = Path(__file__).parents[2] / "images"


def adopt(lab: Lab, name: str, **changes: object) -> None:
    """Make the lab's image that of the family: with its command and its checks."""
    shipped = yaml.safe_load((IMAGES / name / "image.yaml").read_text())
    lab.define(**{"command": shipped["command"], "pip": ["jupyterlab"]} | changes)
    shutil.copytree(IMAGES / "jupyter" / "checks", lab.folder / "checks")


def test_ssh_lets_in_who_has_the_key(lab: Lab) -> None:
    adopt(lab, "jupyter-ssh", apt=["openssh-server", "openssh-client"])
    done = lab.build()
    assert done.returncode == 0, done.stderr
    assert "18 checks passed" in done.stderr
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
