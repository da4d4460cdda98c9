"""The checks inside a real image: what fails them, and what is left when they cannot finish."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from typing import TYPE_CHECKING

from builder.checks.container import LABEL, describe_owner, remove_orphans
from tests.docker.test_interruption import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from docker.models.containers import Container

    from tests.docker.conftest import Lab

SITE = "/opt/env/lib/python3.11/site-packages"


def refuse(lab: Lab, step: str, last: str) -> str:
    """Return what a build says whose image a step and a last instruction have spoilt."""
    lab.define()
    lab.add_step(step)
    with (lab.root / "templates" / "Dockerfile.j2").open("a") as template:
        template.write(f"\n{last}\n")
    done = lab.build()
    assert done.returncode == 9, done.stderr
    assert not lab.client.images.list(name=lab.name)
    return done.stderr


def find_containers(lab: Lab, pid: int) -> list[Container]:
    """Return the containers of checks that belong to a process."""
    here, _, _ = describe_owner().rpartition(" ")
    return list(lab.client.containers.list(all=True, filters={"label": f"{LABEL}={here} {pid}"}, ignore_removed=True))


def test_no_variable_of_the_image_turns_the_checks_off(lab: Lab) -> None:
    said = refuse(lab, "mkdir -p /root/.cache/pip && touch /root/.cache/pip/x", "ENV PYTHONOPTIMIZE=1")
    assert "✗ no-caches: 1 files left: /root/.cache/pip/x" in said


def test_another_python_in_front_is_found(lab: Lab) -> None:
    said = refuse(lab, "install -D /bin/true /opt/front/python", "ENV PATH=/opt/front:$PATH")
    assert "✗ command: `python` is /opt/front/python" in said


def test_words_that_a_package_prints_at_start_are_no_verdicts(lab: Lab) -> None:
    lab.define()
    lab.add_step(f"echo 'import sys; sys.stdout.write(\"welcome\")' > {SITE}/chatty.pth")
    done = lab.build()
    assert done.returncode == 0, done.stderr
    assert "checks passed" in done.stderr


@contextlib.contextmanager
def halfway(lab: Lab) -> Iterator[subprocess.Popen[str]]:
    """Start a build whose checks take a minute each, and hand it over once their container runs."""
    lab.define()
    lab.add_step(f"echo 'import time; time.sleep(60)' > {SITE}/slow.pth")
    command = lab.command("build", "--all", "--progress", "plain")
    with subprocess.Popen(
        command, env=lab.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            wait_for(lambda: any(it.status == "running" for it in find_containers(lab, process.pid)), "the checks")
            yield process
        finally:
            process.kill()


def require_engine_error(process: subprocess.Popen[str]) -> None:
    _, said = process.communicate()
    assert process.returncode == 7, said
    assert "Traceback" not in said
    assert "\n  → " in said


def test_container_of_a_killed_run_is_removed_by_the_next(lab: Lab) -> None:
    with halfway(lab) as process:
        process.kill()
    assert find_containers(lab, process.pid)
    (lab.root / "templates" / "Dockerfile.j2").unlink()
    done = lab.build()
    assert done.returncode == 0, done.stderr
    assert not find_containers(lab, process.pid)


def test_container_that_is_stopped_meanwhile_is_no_fault_of_the_image(lab: Lab) -> None:
    with halfway(lab) as process:
        for container in find_containers(lab, process.pid):
            container.kill()
        require_engine_error(process)


class Wire:
    """A socket that leads to the engine until it is cut."""

    def __init__(self, path: Path, engine: str) -> None:
        self.engine = engine.removeprefix("unix://")
        self.ends: list[socket.socket] = []
        self.door = socket.socket(socket.AF_UNIX)
        self.door.bind(str(path))
        self.door.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, far = self.door.accept()[0], socket.socket(socket.AF_UNIX)
                far.connect(self.engine)
                self.ends += near, far
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        for end in (self.door, *self.ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for end in (self.door, *self.ends):
            end.close()


def test_engine_that_is_lost_is_no_fault_of_the_image(lab: Lab, tmp_path: Path) -> None:
    wire = Wire(tmp_path / "wire", lab.url)
    lab.env["DOCKER_HOST"] = f"unix://{tmp_path}/wire"
    try:
        with halfway(lab) as process:
            wire.cut()
            require_engine_error(process)
    finally:
        wire.cut()
        remove_orphans(lab.client)
