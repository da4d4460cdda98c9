"""kill -9 at any moment: what a public tag names has passed its checks, is whole, and has its documents.

Every other build makes an image that a check refuses. IMGBUILD_KILLS says how often to kill.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import time
import urllib.request
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

from builder.attach import RETEST, TYPES
from tests.docker.test_attach import read_documents

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from tests.docker.conftest import Lab
    from tests.docker.served import Registry

KILLS = int(os.environ.get("IMGBUILD_KILLS", "6"))
MATRIX = {"python": ["3.11", "3.13"], "cuda": ["cpu"], "torch": "none"}
MOVING = {"cpu-py311", "cpu-py313", "newest"}
CHECK = """
import os
from verdict import Failed, run_checks

def even(expected):
    if int(os.environ["ROUND"]) % 2:
        raise Failed("an odd round is not to be published")

if __name__ == "__main__":
    run_checks((even,))
"""


def test_public_tag_never_names_what_is_untested_or_partial(lab: Lab, registry: Registry) -> None:
    place = f"{registry.address}/team"
    write_round(lab, 0)
    assert lab.run("lock").returncode == 0
    began = time.monotonic()
    done = lab.build("--push", place)
    assert done.returncode == 0, done.stderr
    usual = time.monotonic() - began
    assert registry.tags(f"team/{lab.name}") >= MOVING

    seen = {read_round(lab, registry)}
    for number in range(1, KILLS + 1):
        write_round(lab, number)
        run_and_kill(lab, random.uniform(0, 1.2 * usual), "build", "--all", "--push", place)
        seen.add((*read_round(lab, registry), *read_local(lab)))
    assert all(number % 2 == 0 for numbers in seen for number in numbers)

    write_round(lab, KILLS + KILLS % 2 + 2)
    done = lab.build("--push", place)
    assert done.returncode == 0, done.stderr
    assert set(read_round(lab, registry)) == {KILLS + KILLS % 2 + 2}


def test_public_tag_never_names_what_its_promotion_has_not_tested(lab: Lab, registry: Registry) -> None:
    place = f"{registry.address}/team"
    promote = ("test", "--all", "--registry", place, "--promote")
    write_round(lab, 0)
    assert lab.run("lock").returncode == 0
    stage_round(lab, place, 0)
    began = time.monotonic()
    done = lab.run(*promote)
    assert done.returncode == 0, done.stderr
    usual = time.monotonic() - began
    for number in range(2, KILLS + 1, 2):
        stage_round(lab, place, number)
        run_and_kill(lab, random.uniform(0, 1.2 * usual), *promote)
        read_round(lab, registry, {*TYPES, RETEST})
    done = lab.run(*promote)
    assert done.returncode == 0, done.stderr
    assert set(read_round(lab, registry, {*TYPES, RETEST})) == {KILLS - KILLS % 2}


def stage_round(lab: Lab, place: str, number: int) -> None:
    write_round(lab, number)
    done = lab.build("--push", place, "--stage")
    assert done.returncode == 0, done.stderr


def write_round(lab: Lab, number: int) -> None:
    lab.define(matrix=MATRIX, aliases={"newest": "cpu-py313"}, env={"ROUND": str(number)})
    (lab.folder / "checks").mkdir(exist_ok=True)
    (lab.folder / "checks" / "even.py").write_text(CHECK)


def run_and_kill(lab: Lab, seconds: float, *words: str) -> None:
    """Start a command, and kill it and whatever it has started after some seconds."""
    process = subprocess.Popen(
        lab.command(*words),
        env=lab.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def read_round(lab: Lab, registry: Registry, documents: Collection[str] = tuple(TYPES)) -> tuple[int, ...]:
    """Return the rounds that the images of public tags are of, having read the whole of each."""
    repository = f"team/{lab.name}"
    name = f"{registry.address}/{repository}"
    variables = []
    lasting = {registry.manifest(f"{name}:{tag}")[0] for tag in registry.tags(repository) - MOVING}
    for tag in MOVING:
        digest, manifest = registry.manifest(f"{name}:{tag}")
        assert digest in lasting
        assert set(read_documents(registry, repository, tag)[1]) == set(documents)
        for layer in manifest["layers"]:
            read_blob(registry.address, repository, layer["digest"])
        variables += json.loads(read_blob(registry.address, repository, manifest["config"]["digest"]))["config"]["Env"]
    return find_rounds(variables)


def read_local(lab: Lab) -> tuple[int, ...]:
    """Return the rounds that the images of local tags are of."""
    images = lab.client.images.list(name=lab.name)
    return find_rounds(variable for image in images for variable in image.attrs["Config"]["Env"])


def find_rounds(variables: Iterable[str]) -> tuple[int, ...]:
    return tuple(int(it.removeprefix("ROUND=")) for it in variables if it.startswith("ROUND="))


@cache
def read_blob(address: str, repository: str, digest: str) -> bytes:
    """Return the bytes of a blob that is what its digest says; what has been read stays what it is."""
    with urllib.request.urlopen(f"http://{address}/v2/{repository}/blobs/{digest}") as reply:
        data: bytes = reply.read()
    assert digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    return data
