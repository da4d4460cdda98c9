"""Many cells in one real engine: they share steps, fail alone, and end together when they are told to."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import docker.errors
import pytest

from tests.docker.test_checks import Wire, find_containers, remove_orphans
from tests.docker.test_interruption import PATIENCE, find_sleepers, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.docker.conftest import Lab

CELLS = ("py3.11-cpu", "py3.11-cu126", "py3.11-cu128")
OWN = "echo {{ cell.id }} > /workspace/own"  # the cells have the same packages: without it they share every step
FAIL_LAST = "{{ ' && echo no snakes here >&2 && exit 3' if cell.id.endswith('-cu128') else '' }}"
WAITS = "waits for this step of"


EARLY = """
import sys
from builder import early
from builder.cli import main
from builder.engine import Engine

def remove(engine, image_id, remove=Engine.remove):
    print("removes", image_id, *engine._api.inspect_image(image_id)["RootFS"]["Layers"], file=sys.stderr)
    remove(engine, image_id)

early.LEAST, Engine.remove = 1, remove
main()
"""


def define_three(lab: Lab) -> list[str]:
    """Define three cells and return their refs."""
    lab.define(matrix={"python": ["3.11"], "cuda": ["cpu", "12.6", "12.8"], "torch": "none"})
    return [f"{lab.name}:{tag}-py311" for tag in ("cpu", "cu126", "cu128")]


def marker() -> str:
    """Return seconds to sleep that tell a process from all others."""
    return str(random.randrange(10**6, 10**9))


def tags(lab: Lab) -> set[str]:
    return {tag for image in lab.client.images.list(name=lab.name) for tag in image.tags}


@contextmanager
def building(lab: Lab) -> Iterator[subprocess.Popen[str]]:
    command = lab.command("build", "--all", "--progress", "plain", "--jobs", "3")
    with subprocess.Popen(
        command, env=lab.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_cell_that_fails_stops_no_other_and_the_next_run_builds_only_that_one(any_lab: Lab, jobs: str) -> None:
    lab = any_lab
    refs = define_three(lab)
    lab.add_step(f"{OWN}{FAIL_LAST}")
    done = lab.build("--jobs", jobs)
    assert done.returncode == 8, done.stderr
    assert done.stdout.splitlines() == refs[:2], done.stderr
    assert tags(lab) == set(refs[:2])
    *_, first, second, third, last = (line.partition("] ")[2] for line in done.stderr.splitlines())
    assert first.startswith(f"✓ {lab.name}-py3.11-cpu ")
    assert second.startswith(f"✓ {lab.name}-py3.11-cu126 ")
    assert third.startswith(f"✗ {lab.name}-py3.11-cu128 ")
    assert "exit code 3" in third
    assert last.startswith("3 cells: 2 built, 1 failed in ")
    assert f"✗ {lab.name}-py3.11-cu128: " in done.stderr
    assert "\n    no snakes here" in done.stderr

    lab.add_step(OWN)
    done = lab.build("--jobs", jobs)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == refs
    assert done.stderr.splitlines()[-1].partition("] ")[2].startswith("3 cells: 1 built, 2 up to date in ")


def test_shared_step_runs_once_and_its_failure_is_said_once(lab: Lab) -> None:
    define_three(lab)
    mark = marker()
    lab.add_step(f"sleep {mark} || true; echo shared >&2; exit 4", first=True)
    with building(lab) as process:
        assert process.stdout
        assert process.stderr
        lines = []
        for line in process.stderr:
            lines.append(line)
            if WAITS in line and sum(WAITS in it for it in lines) == 2:
                wait_for(lambda: find_sleepers(mark), "the shared step", process)
                for pid in find_sleepers(mark):
                    os.kill(pid, signal.SIGTERM)
        assert (process.wait(), process.stdout.read()) == (8, "")
    cells = [f"{lab.name}-{cell}" for cell in CELLS]
    said = [line.rstrip().partition("] ")[2] for line in lines]
    assert sum(line.startswith(f"✗ {', '.join(cells)}: ") for line in said) == 1
    assert sum(WAITS in line for line in said) == 2
    assert sum(line.endswith("exit code: 4") for line in said) == 1
    assert not tags(lab)


def test_lower_layers_that_are_exported_early_are_those_of_the_image(any_lab: Lab) -> None:
    lab = any_lab
    lab.define()
    once = "cat /proc/sys/kernel/random/uuid > /once"  # a step that ran twice would make two layers
    lab.add_step(f"{once} # nobody has it cached: {marker()}", first=True)
    _, *arguments = lab.command("build", "--all", "--progress", "plain")
    command = [sys.executable, "-c", EARLY, *arguments]
    done = subprocess.run(command, env=lab.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    whole = lab.client.images.get(lab.ref).attrs["RootFS"]["Layers"]
    removed = [line.split()[1:] for line in done.stderr.splitlines() if line.startswith("removes ")]
    assert removed
    for image_id, *layers in removed:
        assert layers == whole[: len(layers)]
        assert len(layers) > 3, "the base's, that of the step above, and more"
        with pytest.raises(docker.errors.ImageNotFound):
            lab.client.images.get(image_id)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_every_build_in_the_engine(lab: Lab, number: signal.Signals) -> None:
    define_three(lab)
    mark = marker()
    lab.add_step(f"{OWN}; exec sleep {mark}")
    with building(lab) as process:
        wait_for(lambda: len(find_sleepers(mark)) == 3, "the slow steps of three cells", process)
        process.send_signal(number)
        out, said = process.communicate(timeout=PATIENCE)
        assert (process.returncode, out) == (130, "")
        assert "3 cells: 3 cancelled in " in said
        assert said.splitlines()[-1].startswith("interrupted")
        assert "Traceback" not in said
        wait_for(lambda: not find_sleepers(mark), "the engine to stop the steps")
    assert not tags(lab)


def test_signal_ends_checks_and_removes_their_containers(lab: Lab) -> None:
    define_three(lab)
    lab.add_step("echo 'import time; time.sleep(600)' > $(echo /opt/env/lib/python3.*/site-packages)/slow.pth")
    with building(lab) as process:
        wait_for(
            lambda: sum(it.status == "running" for it in find_containers(lab, process.pid)) == 3,
            "checks of three cells",
            process,
        )
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=PATIENCE)
        assert (process.returncode, out) == (130, "")
        assert "3 cells: 3 cancelled in " in said
        assert not find_containers(lab, process.pid)
    assert not tags(lab)


def test_second_signal_ends_at_once(lab: Lab) -> None:
    define_three(lab)
    mark = marker()
    lab.add_step(f"{OWN}; exec sleep {mark}")
    with building(lab) as process:
        wait_for(lambda: len(find_sleepers(mark)) == 3, "the slow steps of three cells", process)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130
        assert "Traceback" not in said
        wait_for(lambda: not find_sleepers(mark), "the engine to stop the steps")
    assert not tags(lab)


def test_lost_engine_is_said_once(lab: Lab, tmp_path: Path) -> None:
    define_three(lab)
    mark = marker()
    lab.add_step(f"{OWN}; exec sleep {mark}")
    wire = Wire(tmp_path / "wire", lab.url)
    lab.env["DOCKER_HOST"] = f"unix://{tmp_path}/wire"
    try:
        with building(lab) as process:
            wait_for(lambda: len(find_sleepers(mark)) == 3, "the slow steps of three cells", process)
            wire.cut()
            out, said = process.communicate(timeout=PATIENCE)
            assert (process.returncode, out) == (7, "")
            assert said.count("start the engine again and rerun") == 1
            assert "Traceback" not in said
            wait_for(lambda: not find_sleepers(mark), "the engine to stop the steps")
    finally:
        wire.cut()
        remove_orphans(lab.client)
    assert not tags(lab)
