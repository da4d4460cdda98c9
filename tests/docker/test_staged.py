"""Images that wait in a registry: what passes its test there gets its tags, by digest, and nothing else does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.docker.conftest import Lab
    from tests.docker.served import Registry

MATRIX = {"python": ["3.11", "3.13"], "cuda": ["cpu"], "torch": "none"}


def test_image_that_fails_moves_no_tag_and_keeps_no_other_from_it(lab: Lab, registry: Registry) -> None:
    lab.define(matrix=MATRIX, aliases={"newest": "cpu-py313"})
    place = f"{registry.address}/team"
    staged = lab.build("--push", place, "--stage")
    assert staged.returncode == 0, staged.stderr
    bad, good = staged.stdout.split()
    tags = {ref.rpartition(":")[2] for ref in (bad, good)}
    tags |= {f"{tag}-staged" for tag in tags}
    assert registry.tags(f"team/{lab.name}") == tags
    was, _ = registry.manifest(good)

    spoil(lab, f"{lab.name}:cpu-py311", f"{bad}-staged")
    registry.asked.clear()
    done = lab.run("test", "--all", "--registry", place, "--promote", "--json")
    assert done.returncode == 9, done.stderr
    failed, passed = json.loads(done.stdout)
    assert (failed["passed"], failed["promoted"]) == (False, [])
    assert [check["check"] for check in failed["checks"] if check["verdict"] == "fail"] == ["no-secrets"]
    assert passed["passed"], done.stdout
    assert passed["ref"] == f"{place}/{lab.name}@{was}"
    assert passed["promoted"] == [f"{place}/{lab.name}:{tag}" for tag in ("cpu-py313", "newest")]
    assert registry.tags(f"team/{lab.name}") == tags | {"cpu-py313", "newest"}
    assert {registry.manifest(ref)[0] for ref in passed["promoted"]} == {was}
    assert max(registry.uploads()) < 10_000, "what the test found, and nothing of the image"


def test_image_of_another_lock_under_the_tag_is_not_promoted(lab: Lab, registry: Registry) -> None:
    lab.define(matrix=MATRIX)
    place = f"{registry.address}/team"
    first, second = lab.build("--push", place, "--stage").stdout.split()
    push(lab, f"{lab.name}:cpu-py313", f"{first}-staged")
    before = registry.tags(f"team/{lab.name}")
    done = lab.run("test", "--cell", f"{lab.name}-py3.11-cpu", "--registry", place, "--promote")
    assert done.returncode == 9
    assert "was built from another lock" in done.stderr
    assert registry.tags(f"team/{lab.name}") == before
    assert before == {f"{ref.rpartition(':')[2]}{end}" for ref in (first, second) for end in ("", "-staged")}


def test_what_is_not_staged_is_said(lab: Lab, registry: Registry) -> None:
    lab.define()
    assert lab.run("lock").returncode == 0
    done = lab.run("test", "--all", "--registry", f"{registry.address}/team")
    assert done.returncode == 9
    assert "is not in the registry" in done.stderr
    assert "--stage" in done.stderr


def spoil(lab: Lab, image: str, ref: str) -> None:
    """Let a ref of a registry name what an image would be if somebody had left a secret in it."""
    container = lab.client.containers.create(image, ["sh", "-c", "echo machine example.org password x > ~/.netrc"])
    try:
        container.start()
        assert container.wait()["StatusCode"] == 0
        spoiled = container.commit(lab.name, "spoiled")
    finally:
        container.remove(force=True)
    push(lab, spoiled.tags[0], ref)


def push(lab: Lab, image: str, ref: str) -> None:
    name, _, tag = ref.rpartition(":")
    lab.client.images.get(image).tag(name, tag)
    said = lab.client.images.push(name, tag)
    assert "errorDetail" not in said, said
    lab.client.images.remove(ref)
