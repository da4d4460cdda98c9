"""What `docker buildx bake` makes of a baked folder is what `imgbuild build` makes: step by step, byte by byte."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.docker.conftest import Lab
    from tests.docker.served import Registry


STEPS = 5
"""The different RUN instructions of the two cells: the installer's, and those of layers; three of these are shared."""


def test_bake_finds_every_step_of_a_build_in_the_cache(any_lab: Lab, tmp_path: Path) -> None:
    built = build_two_cells(any_lab)
    said = bake(any_lab, tmp_path)
    steps = list_steps(said)
    assert len(set(steps.values())) == STEPS
    assert set(steps) <= list_cached(said)
    assert {ref: any_lab.client.images.get(ref).id for ref in built} == built


# Not in the classic store, which may sort a layer's files in another way then: see docs/layers.md on what holds.
def test_baking_anew_makes_the_same_images(make_lab: Callable[..., Lab], second_engine: str, tmp_path: Path) -> None:
    lab = make_lab(second_engine)
    built = build_two_cells(lab)
    said = bake(lab, tmp_path, "--no-cache")
    steps = list_steps(said)
    assert len(set(steps.values())) == STEPS
    assert {steps[number] for number in set(steps) - list_cached(said)} == set(steps.values())
    assert {ref: lab.client.images.get(ref).id for ref in built} == built


def test_what_bake_pushes_waits_until_it_has_passed_its_test(
    make_lab: Callable[..., Lab], second_engine: str, registry: Registry, tmp_path: Path
) -> None:
    lab, place = make_lab(second_engine), f"{registry.address}/team"
    lab.define()
    built = lab.build()
    assert built.returncode == 0, built.stderr
    bake(lab, tmp_path, push_to=place)
    (waiting,) = registry.tags(f"team/{lab.name}")
    assert waiting.endswith("-staged")
    refused = lab.run("test", "--all", "--registry", place, "--promote")
    assert refused.returncode == 10
    assert "lacks documents" in refused.stderr
    done = lab.run("test", "--all", "--registry", place, "--promote", "--no-documents")
    assert done.returncode == 0, done.stdout + done.stderr
    assert registry.tags(f"team/{lab.name}") == {waiting, "cpu-py311"}
    assert registry.manifest(f"{place}/{lab.ref}") == registry.manifest(f"{place}/{lab.name}:{waiting}")


def list_steps(said: str) -> dict[str, str]:
    """Return the RUN instructions of a build by their numbers in what it says: what cells share has two numbers."""
    return dict(re.findall(r"^#(\d+) \[.*\] (RUN .*)$", said, re.M))


def list_cached(said: str) -> set[str]:
    """Return the numbers of what was not run: an earlier build, or another cell of this one, had done so."""
    return set(re.findall(r"^#(\d+) CACHED$", said, re.M))


def build_two_cells(lab: Lab) -> dict[str, str]:
    """Return the refs and digests of what imgbuild builds; afterwards the images have other names."""
    lab.define(matrix={"python": ["3.11", "3.13"], "cuda": ["cpu"], "torch": "none"}, pip=["tqdm"])
    done = lab.build()
    assert done.returncode == 0, done.stderr
    built = {ref: lab.client.images.get(ref) for ref in done.stdout.split()}
    assert len(built) == 2
    for ref, image in built.items():
        image.tag(lab.name, f"built-{ref.rpartition(':')[2]}")
        lab.client.images.remove(ref)
    return {ref: str(image.id) for ref, image in built.items()}


def bake(lab: Lab, tmp_path: Path, *options: str, push_to: str = "") -> str:
    """Return what bake says of the lab's project, with the settings that lead to the kit's server on the loopback."""
    folder, settings = tmp_path / "baked", tmp_path / "settings"
    pushing = ("--push-to", push_to) if push_to else ()
    baked = lab.run("bake", "--output", str(folder), "--settings", str(settings), *pushing)
    assert baked.stdout == f"{folder}/docker-bake.json\n", baked.stderr
    own = {"IMGBUILD_SETTINGS": str(settings), "IMGBUILD_NETWORK": "host", "BUILDX_CONFIG": str(tmp_path / "buildx")}
    allowed = ("--allow=network.host", "--allow=fs.read=..")
    done = subprocess.run(
        ["docker", "buildx", "bake", "--file=docker-bake.json", "--progress=plain", *allowed, *options],
        cwd=folder,
        capture_output=True,
        text=True,
        env={key: value for key, value in lab.environment.items() if key != "BUILDX_BUILDER"} | own,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr
