"""The jupyter image, with a real JupyterLab: its metadata and files, what it prints, and how it runs for whom.

What is asked of it is what the tests of jupyter/docker-stacks and container-structure-test ask of an image.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.docker.conftest import open_lab
from tests.docker.test_family import adopt
from tests.docker.test_interruption import wait_for
from tests.kit.engine import find_engine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from docker.models.containers import Container

    from tests.docker.conftest import Lab

COMMAND = ["jupyter", "lab", "--ip=0.0.0.0", "--port=8888", "--no-browser"]
TOKEN = re.compile(rb"127\.0\.0\.1:8888/lab\?token=(\S+)\n")
NOTEBOOK = {
    "cells": [
        {"cell_type": "code", "execution_count": None, "id": "a", "metadata": {}, "outputs": [], "source": "6 * 7"}
    ],
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}
ASK = """
import sys, urllib.error, urllib.request
headers = {"Authorization": "token " + sys.argv[1]}
request = urllib.request.Request("http://127.0.0.1:8888/api/contents", headers=headers)
try:
    print(urllib.request.urlopen(request, timeout=300).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""

USERS = {
    "its own user": [],
    "any user": ["--user=12345:67890"],
    "any user of group 0": ["--user=12345:0"],
    "a root that is read-only": ["--read-only", "--tmpfs=/tmp"],
    "no capabilities": ["--cap-drop=ALL", "--security-opt=no-new-privileges"],
}


@pytest.fixture(scope="module")
def image(kit: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The lab whose image is the jupyter image, built and checked."""
    with open_lab(kit, find_engine(kit, "default").url, tmp_path_factory.mktemp("jupyter")) as lab:
        adopt(lab, "jupyter")
        done = lab.build()
        assert done.returncode == 0, done.stderr
        assert "18 checks passed" in done.stderr
        yield lab


def run(image: Lab, *command: str, options: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Return what `docker run` without a network did: a command, or that of the image."""
    argv = ["docker", "run", "--rm", "--network=none", *options, image.ref, *command]
    return subprocess.run(argv, capture_output=True, text=True, env=image.environment)


@contextlib.contextmanager
def start(image: Lab, *options: str) -> Iterator[Container]:
    """Yield a container of the image, started by its own command, once JupyterLab runs there."""
    argv = ["docker", "run", "--detach", "--network=none", *options, image.ref]
    done = subprocess.run(argv, env=image.environment, capture_output=True, text=True, check=True)
    container = image.client.containers.get(done.stdout.strip())
    try:
        wait_for(lambda: TOKEN.search(container.logs()) is not None, "JupyterLab")
        yield container
    finally:
        container.remove(force=True)


def ask(container: Container, token: str) -> str:
    """Return the status with which the server answers who has a token."""
    return str(container.exec_run(["python", "-c", ASK, token]).output.decode().strip())


def read_token(container: Container) -> str:
    found = TOKEN.search(container.logs())
    assert found
    return found[1].decode()


def test_metadata_of_the_image(image: Lab) -> None:
    config = image.client.images.get(image.ref).attrs["Config"]
    assert config["User"] == "1000:1000"
    assert config["WorkingDir"] == "/workspace"
    assert config["Entrypoint"] == ["bash", "/etc/imgbuild/entrypoint"]
    assert config["Cmd"] == COMMAND
    assert not config.get("ExposedPorts"), "docker run --publish-all would publish it"
    assert not config.get("Volumes")
    env = dict(line.split("=", 1) for line in config["Env"])
    assert env["PATH"].startswith("/opt/env/bin:")
    assert (env["HOME"], env["CONDA_PREFIX"]) == ("/home/user", "/opt/env")
    assert not [name for name in env if name.startswith("JUPYTER")]


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/workspace", "drwxrwxr-x 1000:0"),
        ("/home/user", "drwxr-xr-x 1000:1000"),
        ("/opt/env", "drwxr-xr-x 0:0"),
        ("/opt/env/bin/jupyter-lab", "-rwxr-xr-x 0:0"),
        ("/etc/imgbuild/entrypoint", "-rw-r--r-- 0:0"),
        ("/etc/imgbuild/constraints.txt", "-rw-r--r-- 0:0"),
        ("/home/user/.jupyter", ""),
        ("/home/user/.local", ""),
        ("/root/.jupyter", ""),
        ("/root/.cache", ""),
    ],
)
def test_files_have_their_owners_and_modes(path: str, wanted: str, image: Lab) -> None:
    assert image.shell(image.ref, f"stat --format='%A %u:%g' {path} 2> /dev/null || true", user="0").strip() == wanted


@pytest.mark.parametrize("user", ["1000:1000", "12345:67890"])
def test_nobody_but_root_writes_to_the_environment(user: str, image: Lab) -> None:
    assert image.shell(image.ref, "find /opt/env /etc ! -type l -writable", user=user) == ""


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["jupyter", "lab", "--version"], r"\d+\.\d+\.\d+\n"),
        (
            ["jupyter", "kernelspec", "list"],
            r"Available kernels:\n  python3 +/opt/env/share/jupyter/kernels/python3\n",
        ),
        (["jupyter", "lab", "path"], r"(?s)Application directory: +/opt/env/share/jupyter/lab\n.*"),
        (["jupyter", "server", "list"], r"Currently running servers:\n"),
        (["python", "-c", "import sys; print(sys.executable)"], r"/opt/env/bin/python\n"),
        (["id", "--user"], r"1000\n"),
        (["pwd"], r"/workspace\n"),
    ],
)
def test_command_of_a_users_own_runs_in_place_of_the_images(command: list[str], words: str, image: Lab) -> None:
    done = run(image, *command)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(words, done.stdout), done.stdout


@pytest.mark.parametrize("options", USERS.values(), ids=USERS)
def test_jupyter_serves_who_has_its_token_offline(options: list[str], image: Lab) -> None:
    with start(image, *options) as container:
        assert [ask(container, token) for token in ("", "x", read_token(container))] == ["403", "403", "200"]
        ports = container.exec_run(["sh", "-c", "cat /proc/net/tcp /proc/net/tcp6"]).output.decode()
        assert re.findall(r"^ *\d+: 0+:(\w+) \S+ 0A", ports, re.MULTILINE) == [f"{8888:04X}"]
        container.stop(timeout=300)
        assert container.wait()["StatusCode"] == 0


@pytest.mark.parametrize("user", ["any user", "a root that is read-only"])
def test_kernel_runs_a_notebook(user: str, image: Lab) -> None:
    write = f"cd $(mktemp -d); echo '{json.dumps(NOTEBOOK)}' > it.ipynb"
    execute = "jupyter execute --output=out.ipynb it.ipynb; cat out.ipynb"
    done = run(image, "sh", "-c", f"{write}; {execute}", options=USERS[user])
    (cell,) = json.loads(done.stdout)["cells"]
    assert cell["outputs"][0]["data"]["text/plain"] == ["42"], done.stderr


@pytest.mark.parametrize("user", ["its own user", "any user of group 0"])
def test_user_of_the_image_or_of_group_0_writes_where_the_container_starts(user: str, image: Lab) -> None:
    assert run(image, "touch", "here", options=USERS[user]).returncode == 0


def test_token_is_new_at_each_start_unless_one_is_given(image: Lab) -> None:
    with start(image) as first, start(image) as second:
        assert read_token(first) != read_token(second)
    with start(image, "--env=JUPYTER_TOKEN=of-mine-alone") as container:
        assert ask(container, "of-mine-alone") == "200"
        assert b"of-mine-alone" not in container.logs()
    with start(image, "--env=JUPYTER_TOKEN=") as container:
        assert ask(container, "") == "403"


def test_jupyter_does_not_start_as_root_and_says_why(image: Lab) -> None:
    done = run(image, options=["--user=0"])
    assert done.returncode == 1
    assert "Running as root is not recommended" in done.stderr


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("--allow-root", "✗ no-root: the server would start as root"),
        ("--IdentityProvider.token=", "✗ jupyter-lab: the server lists files for somebody who has no token"),
        ("--port=x", "✗ jupyter-lab: the server does not answer: "),
    ],
)
def test_command_that_lets_in_root_or_anybody_is_refused(more: str, words: str, lab: Lab) -> None:
    adopt(lab, "jupyter", command=[*COMMAND, more])
    done = lab.build()
    assert done.returncode == 9
    assert words in done.stderr
