"""The checks inside a real image: what fails them, and what is left when they cannot finish."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from builder.checks.container import LABEL, describe_owner
from tests.docker.test_interruption import wait_for

if TYPE_CHECKING:
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
    return list(lab.client.containers.list(all=True, filters={"label": f"{LABEL}={here} {pid}"}))


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


def test_container_of_a_killed_run_is_removed_by_the_next(lab: Lab) -> None:
    lab.define()
    lab.add_step(f"echo 'import time; time.sleep(60)' > {SITE}/slow.pth")
    process = subprocess.Popen(
        lab.command("build", "--all", "--progress", "plain"),
        env=lab.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: any(it.status == "running" for it in find_containers(lab, process.pid)), "the checks to run")
    finally:
        process.kill()
        process.wait()
    assert find_containers(lab, process.pid)
    (lab.root / "templates" / "Dockerfile.j2").unlink()
    done = lab.build()
    assert done.returncode == 0, done.stderr
    assert not find_containers(lab, process.pid)


def test_container_that_is_stopped_meanwhile_is_no_fault_of_the_image(lab: Lab) -> None:
    lab.define()
    lab.add_step(f"echo 'import time; time.sleep(60)' > {SITE}/slow.pth")
    process = subprocess.Popen(
        lab.command("build", "--all", "--progress", "plain"), env=lab.environment, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for(lambda: any(it.status == "running" for it in find_containers(lab, process.pid)), "the checks to run")
        for container in find_containers(lab, process.pid):
            container.kill()
        _, said = process.communicate()
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 7, said
    assert "Traceback" not in said
    assert "\n  → " in said
