"""What a container starts with: for any user, any command, and a machine that cannot serve the image."""

from __future__ import annotations

import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.docker.test_interruption import wait_for

if TYPE_CHECKING:
    from tests.docker.conftest import Lab


@pytest.fixture
def built(lab: Lab) -> Lab:
    lab.define()
    done = lab.build()
    assert done.returncode == 0, done.stderr
    return lab


def run(lab: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Return what `docker run` of the image, with options before the command, did."""
    argv = ["docker", "run", "--rm", "--network=none", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, env=lab.environment)


@pytest.mark.parametrize("user", [[], ["--user=12345:67890"], ["--user=0"]])
def test_any_user_has_a_home_and_a_name(built: Lab, user: list[str]) -> None:
    script = (
        "import getpass, os, pathlib, tempfile; pathlib.Path.home().joinpath('x').touch(); print(getpass.getuser())"
    )
    done = run(built, *user, built.ref, "python", "-c", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert done.stderr == ""


@pytest.mark.parametrize("more", [[], ["--tmpfs=/tmp"]])
def test_container_that_nobody_can_write_to_has_a_home(built: Lab, more: list[str]) -> None:
    done = run(built, "--read-only", *more, built.ref, "sh", "-c", 'test -d "$HOME"')
    assert (done.returncode, done.stderr) == (0, "")


def test_command_keeps_its_exit_status_and_its_words(built: Lab) -> None:
    done = run(built, built.ref, "python", "-c", "import sys; print(sys.argv[1:]); sys.exit(7)", "a  b", "$HOME")
    assert (done.returncode, done.stdout) == (7, "['a  b', '$HOME']\n")


def test_environment_is_activated(built: Lab) -> None:
    built.add_step(
        "mkdir -p /opt/env/etc/conda/activate.d && cd /opt/env/etc/conda/activate.d "
        "&& echo 'x=(1 2); export GREETING=${x[1]}' > hello.sh"
    )
    built.define(conda=["six", "click"])  # what stands in the prefix besides is no package's
    assert built.build().returncode == 0
    assert run(built, built.ref, "sh", "-c", "echo $GREETING $CONDA_PREFIX").stdout == "2 /opt/env\n"


def test_signals_reach_the_command(built: Lab) -> None:
    script = (
        "import signal, sys; signal.signal(15, lambda *_: sys.exit(9)); print('ready', flush=True); signal.pause()"
    )
    container = built.client.containers.run(built.ref, ["python", "-c", script], detach=True, network_mode="none")
    try:
        wait_for(lambda: b"ready" in container.logs(), "the command")
        container.kill(signal.SIGTERM)
        assert container.wait()["StatusCode"] == 9
    finally:
        container.remove(force=True)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        (["IMGBUILD_CUDA=12.6", "IMGBUILD_DRIVER=525.60.13"], "sees no GPU: use a machine with an NVIDIA driver"),
        (["IMGBUILD_CUDA=12.6", "IMGBUILD_DRIVER=525.60.13", "NVIDIA_VISIBLE_DEVICES=void"], ""),
        ([], ""),
    ],
)
def test_gpu_image_without_a_gpu_says_so_in_one_line_and_runs(built: Lab, variables: list[str], words: str) -> None:
    options = [f"--env={variable}" for variable in variables]
    done = run(built, *options, built.ref, "python", "-c", "print(1)")
    assert done.stdout == "1\n"
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == bool(words)
