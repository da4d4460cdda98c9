"""Whatever ends a build early leaves no tag, and the next run finishes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.docker.conftest import give_up
from tests.docker.engines import run_engine
from tests.kit.errors import KitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.docker.conftest import Lab
    from tests.docker.engines import OwnEngine

PATIENCE = 600  # seconds, which only a machine that is very busy needs


@contextmanager
def halfway(lab: Lab) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a build whose last step sleeps, and hand it over once that step runs, with what tells its process."""
    marker = str(random.randrange(10**6, 10**9))
    lab.define()
    lab.add_step(f"exec sleep {marker}")
    process = subprocess.Popen(
        lab.command("build", "--all", "--progress", "plain"),
        env=lab.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(lambda: find_sleepers(marker), "the slow step to start", process)
        yield process, marker
    finally:
        process.kill()
        process.communicate()
        for pid in find_sleepers(marker):  # an engine that stops leaves the step's process behind
            os.kill(pid, signal.SIGKILL)


def find_sleepers(marker: str) -> list[int]:
    """Return the processes `sleep MARKER` on this machine, in whatever container."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if path.read_bytes() == f"sleep\0{marker}\0".encode():
                found.append(int(path.parent.name))
    return found


def wait_for(condition: Callable[[], object], what: str, process: subprocess.Popen[str] | None = None) -> None:
    """Return once a condition holds; give up when the process that should bring it about has ended."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited {PATIENCE} seconds for {what}"
        assert process is None or process.poll() is None, f"waited for {what}: {process.communicate()}"
        time.sleep(0.1)


def finish(lab: Lab) -> None:
    """Build again without the slow step."""
    assert not lab.client.images.list(name=lab.name)
    (lab.root / "templates" / "Dockerfile.j2").unlink()
    done = lab.build()
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{lab.ref}\n"


@pytest.fixture
def own_engine(kit: Path, tmp_path: Path) -> Iterator[OwnEngine]:
    folder = tmp_path / "engine"
    folder.mkdir()
    settings = {"features": {"containerd-snapshotter": True}}
    with ExitStack() as running:
        try:
            own = running.enter_context(run_engine(folder, kit, bridge="imgbuild-own0", settings=settings))
        except KitError as error:
            give_up(f"no engine of its own: {error}")
        yield own


def test_interrupt_stops_the_step_in_the_engine(lab: Lab) -> None:
    with halfway(lab) as (process, marker):
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130
        assert "interrupted" in said
        assert "Traceback" not in said
        wait_for(lambda: not find_sleepers(marker), "the engine to stop the step")
    finish(lab)


def test_killed_client_stops_the_step_in_the_engine(lab: Lab) -> None:
    with halfway(lab) as (process, marker):
        process.kill()
        wait_for(lambda: not find_sleepers(marker), "the engine to stop the step")
    finish(lab)


def test_engine_that_stops_is_said_and_the_next_run_finishes(
    own_engine: OwnEngine, make_lab: Callable[..., Lab]
) -> None:
    lab = make_lab(own_engine.engine.url)
    with halfway(lab) as (process, _):
        assert own_engine.stop()
        _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 7, said
        assert "start the engine again and rerun" in said
        assert "Traceback" not in said
    own_engine.start()
    finish(lab)


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("echo pip: [Errno 28] No space left on device >&2 && exit 1", 7, "the engine's disk is full"),
        ("echo something went wrong >&2 && exit 3", 8, r"something went wrong"),
        ("echo junk > /opt/env/conda-meta/six-0-0.json", 9, r"conda-packages"),
        (
            "rm -r /opt/env/lib/python3.11/site-packages/six.py /opt/env/lib/python3.11/site-packages/pip",
            9,
            "pip-check",
        ),
        ("mkdir -p /root/.cache/pip && echo > /root/.cache/pip/x", 9, r"no-caches: 1 files left: /root/.cache/pip/x"),
    ],
)
def test_broken_image_gets_no_tag_and_the_old_one_keeps_it(lab: Lab, command: str, code: int, says: str) -> None:
    lab.define()
    assert lab.build().returncode == 0
    before = lab.client.images.get(lab.ref).id
    lab.add_step(command)
    done = lab.build()
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback (most recent call last)" not in done.stderr or code == 9
    assert lab.client.images.get(lab.ref).id == before
