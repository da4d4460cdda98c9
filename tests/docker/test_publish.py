"""`imgbuild build --push`: what passed its checks is in the registry, each layer once, and nothing is sent twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.docker.test_schedule import FAIL_LAST, OWN, define_three, tags

if TYPE_CHECKING:
    from pathlib import Path

    from tests.docker.conftest import Lab
    from tests.docker.served import Registry

MATRIX = {"python": ["3.11", "3.13"], "cuda": ["cpu"], "torch": "none"}


def test_matrix_is_pushed_and_a_second_run_sends_nothing(any_lab: Lab, registry: Registry) -> None:
    any_lab.define(matrix=MATRIX)
    refs = [f"{registry.address}/team/{any_lab.name}:cpu-py{python}" for python in ("311", "313")]
    done = any_lab.build("--jobs", "2", "--push", f"{registry.address}/team")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == refs
    one, other = ([layer["digest"] for layer in registry.manifest(ref)[1]["layers"]] for ref in refs)
    assert len(set(one) & set(other)) > 1, "the layers below Python are the same"
    digests = [registry.manifest(ref)[0] for ref in refs]
    registry.asked.clear()
    again = any_lab.build("--push", f"{registry.address}/team")
    assert again.returncode == 0, again.stderr
    assert [registry.manifest(ref)[0] for ref in refs] == digests
    assert not [ask for ask in registry.asked if ask[0] in ("POST", "PATCH")]


@pytest.mark.parametrize("fault", ["build", "push"])
def test_others_ship_when_a_cell_fails_and_a_rerun_sends_nothing_of_theirs(
    lab: Lab, registry: Registry, fault: str
) -> None:
    place = f"{registry.address}/team"
    refs = [f"{place}/{ref}" for ref in define_three(lab)]
    lab.add_step(f"{OWN}{FAIL_LAST}" if fault == "build" else OWN)
    registry.refused = f"PUT /v2/team/{lab.name}/manifests/cu128-py311.*" if fault == "push" else "none"
    done = lab.build("--push", place)
    assert done.returncode == (8 if fault == "build" else 10), done.stderr
    assert done.stdout.splitlines() == refs[:2]
    assert not registry.has(refs[2])
    theirs = {layer["digest"] for ref in refs[:2] for layer in registry.manifest(ref)[1]["layers"]}

    lab.add_step(OWN)
    registry.refused = "none"
    registry.asked.clear()
    done = lab.build("--push", place)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == refs
    count = "1 built, 2 up to date" if fault == "build" else "3 up to date"
    assert done.stderr.splitlines()[-1].partition("] ")[2].startswith(f"3 cells: {count} in ")
    sent = {path.partition("digest=")[2].replace("%3A", ":") for verb, path, _ in registry.asked if verb == "PUT"}
    assert registry.has(refs[2])
    assert sent
    assert not sent & theirs
    put = [path for verb, path, _ in registry.asked if verb == "PUT" and "-py311" in path]
    assert all("/manifests/cu128-py311" in path for path in put), put


def test_another_machine_builds_only_what_nobody_has_published(
    any_lab: Lab, registry: Registry, tmp_path: Path
) -> None:
    place = f"{registry.address}/team"
    refs = define_three(any_lab)
    any_lab.add_step(f"{OWN}{FAIL_LAST}")
    assert any_lab.build("--push", place).returncode == 8
    published = {ref: registry.manifest(f"{place}/{ref}") for ref in refs[:2]}
    theirs = {layer["digest"] for _, manifest in published.values() for layer in manifest["layers"]}
    for ref in refs[:2]:
        any_lab.client.images.remove(ref, force=True)
    any_lab.env["XDG_CACHE_HOME"] = str(tmp_path / "cache")

    any_lab.add_step(OWN)
    registry.asked.clear()
    done = any_lab.build("--push", place)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{place}/{ref}" for ref in refs]
    assert done.stderr.splitlines()[-1].partition("] ")[2].startswith("3 cells: 1 built, 2 up to date in ")
    assert tags(any_lab) == {refs[2]}
    assert {ref: registry.manifest(f"{place}/{ref}") for ref in refs[:2]} == published
    sent = {path.partition("digest=")[2].replace("%3A", ":") for verb, path, _ in registry.asked if verb == "PUT"}
    assert sent
    assert not sent & theirs


def test_image_that_fails_its_checks_is_not_pushed(lab: Lab, registry: Registry) -> None:
    lab.define()
    lab.add_step("mkdir -p /root/.cache/pip && echo > /root/.cache/pip/x")
    done = lab.build("--push", registry.address)
    assert done.returncode == 9, done.stderr
    assert not registry.has(f"{registry.address}/{lab.ref}")


def test_registry_that_cannot_be_reached_is_exit_code_10(lab: Lab) -> None:
    lab.define()
    done = lab.build("--push", "127.0.0.1:9")
    assert done.returncode == 10, done.stderr
    assert "Traceback" not in done.stderr
    assert lab.client.images.get(lab.ref).id


def test_tag_that_lasts_stays_while_the_others_move(any_lab: Lab, registry: Registry) -> None:
    def publish(**more: object) -> tuple[str, set[str]]:
        any_lab.define(matrix=MATRIX | {"python": ["3.11"]}, aliases={"latest": "cpu-py311"}, **more)
        done = any_lab.build("--push", registry.address)
        assert done.returncode == 0, done.stderr
        ref = f"{registry.address}/{any_lab.ref}"
        assert done.stdout == f"{ref}\n"
        assert registry.manifest(f"{registry.address}/{any_lab.name}:latest")[0] == registry.manifest(ref)[0]
        return registry.manifest(ref)[0], registry.tags(any_lab.name)

    first, tags = publish()
    (lasting,) = tags - {"latest", "cpu-py311"}
    assert publish() == (first, tags)
    second, more = publish(env={"GREETING": "hello"})
    assert second != first
    assert len(more - tags) == 1
    assert registry.manifest(f"{registry.address}/{any_lab.name}:{lasting}")[0] == first
