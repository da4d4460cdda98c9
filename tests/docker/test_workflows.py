"""The commands of `.github/workflows/images.yml`, run one after the other as its jobs run them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.docker.conftest import IMGBUILD
from tests.unit.test_signing import write_keys
from tests.unit.test_workflows import SIGN_AS
from tests.workflow import Runner, read_jobs, with_programs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.docker.conftest import Lab
    from tests.docker.served import Registry

JOBS = read_jobs("images.yml")
MATRIX = {"python": ["3.11", "3.13"], "cuda": ["cpu"], "torch": "none"}
USER, PASSWORD = "canary-user", "canary$'\"password"
KEY_PASSWORD = "canary of the key"


@pytest.fixture
def make_runner(lab: Lab, registry: Registry, tmp_path: Path) -> Callable[..., Runner]:
    """Return a function that makes runners of a repository with two locked cells and a registry of its own."""
    lab.define(matrix=MATRIX)
    assert lab.run("lock").returncode == 0

    def make(
        variables: Mapping[str, str] | None = None,
        matrix: Mapping[str, str] | None = None,
        sign: Mapping[str, str] | None = None,
    ) -> Runner:
        values = {f"vars.IMGBUILD_{name}": "" for name in ("RUNNERS", "DISK")} | {
            "vars.IMGBUILD_REGISTRY": f"{registry.address}/team",
            "vars.IMGBUILD_GPU_RUNNER && '--stage'": "--stage"
            if variables and "IMGBUILD_GPU_RUNNER" in variables
            else "",
            SIGN_AS: "",
            "vars.IMGBUILD_REGISTRY_USER || github.actor": USER,
            "secrets.IMGBUILD_REGISTRY_PASSWORD || github.token": PASSWORD,
        }
        values |= {f"secrets.IMGBUILD_SIGN_{name}": (sign or {}).get(name, "") for name in ("KEY", "PASSWORD")}
        values |= {f"vars.{name}": value for name, value in (variables or {}).items()}
        values |= {f"matrix.{name}": str(value) for name, value in (matrix or {}).items()}
        settings = {"PATH": with_programs(IMGBUILD.parent), "DOCKER_CONFIG": str(tmp_path / "docker")}
        return Runner(folder=lab.root, scratch=tmp_path, environment=lab.environment | settings, values=values)

    return make


def share(make_runner: Callable[..., Runner], **variables: str) -> list[dict[str, str]]:
    """Return the matrix that the plan job gives to the others."""
    done, outputs = make_runner(variables).run(JOBS["plan"])
    assert [step.returncode for step in done] == [0, 0], done[-1].stderr
    assert JOBS["plan"]["outputs"] == {"runners": "${{ steps.share.outputs.runners }}"}
    (key,) = matrix = json.loads(outputs["runners"])
    assert key == "include"
    return list(matrix[key])


def test_what_is_planned_is_built_and_published(
    make_runner: Callable[..., Runner], lab: Lab, registry: Registry, tmp_path: Path
) -> None:
    registry.login = f"{USER}:{PASSWORD}"
    refs = [f"{lab.name}:cpu-py311", f"{lab.name}:cpu-py313"]
    (together,) = share(make_runner)
    apart = share(make_runner, IMGBUILD_RUNNERS="2", IMGBUILD_DISK="9 GB")
    ids = [f"{lab.name}-py3.11-cpu", f"{lab.name}-py3.13-cpu"]
    assert [entry["cells"] for entry in apart] == [f"--cell {cell}" for cell in ids]

    done, _ = make_runner(matrix=apart[0]).run(JOBS["build"])
    assert [step.returncode for step in done] == [0], done[-1].stderr
    assert done[0].stdout == f"{refs[0]}\n"
    assert not registry.uploads(), "a pull request publishes nothing"

    done, _ = make_runner(matrix=together).run(JOBS["publish"])
    assert [step.returncode for step in done] == [0, 0], done[-1].stderr
    assert done[-1].stdout.split() == [f"{registry.address}/team/{ref}" for ref in refs]
    assert not [step for step in done if PASSWORD in step.stdout + step.stderr]
    assert (tmp_path / "summary.md").read_text().count(f"`{lab.name}-py3.1") == 3


def test_images_wait_for_their_test_on_a_gpu(
    make_runner: Callable[..., Runner], lab: Lab, registry: Registry, tmp_path: Path
) -> None:
    registry.login = f"{USER}:{PASSWORD}"
    (together,) = share(make_runner)
    key = write_keys(tmp_path, ec.generate_private_key(ec.SECP256R1()), KEY_PASSWORD)
    publisher = make_runner(
        {"IMGBUILD_GPU_RUNNER": "gpu"}, together, {"KEY": key.read_text(), "PASSWORD": KEY_PASSWORD}
    )
    done, _ = publisher.run(JOBS["publish"])
    assert [step.returncode for step in done] == [0, 0], done[-1].stderr
    assert KEY_PASSWORD not in done[-1].stdout + done[-1].stderr
    registry.login = ""
    waiting = {tag for tag in registry.tags(f"team/{lab.name}") if not tag.endswith("-staged")}
    assert {tag.rpartition("-")[0] for tag in waiting} == {"cpu-py311", "cpu-py313"}
    assert sorted(done[-1].stdout.split()) == sorted(f"{registry.address}/team/{lab.name}:{tag}" for tag in waiting)
    registry.login = f"{USER}:{PASSWORD}"

    for ref in (f"{lab.name}:cpu-py311", f"{lab.name}:cpu-py313"):
        lab.client.images.remove(ref)
    registry.asked.clear()
    done, _ = make_runner(matrix=together).run(JOBS["gpu"])
    assert [step.returncode for step in done] == [0, 0], "".join(step.stderr for step in done)
    assert "0 failed" in done[-1].stdout
    assert max(registry.uploads()) < 10_000
    registry.login = ""
    for tag in waiting:
        name = f"{registry.address}/team/{lab.name}"
        public = f"{name}:{tag.rpartition('-')[0]}"
        assert registry.manifest(public) == registry.manifest(f"{name}:{tag}")
        verified = lab.run("verify", public, "--key", str(key.with_suffix(".pub")))
        assert verified.returncode == 0, verified.stderr


def test_stale_lock_ends_the_plan(make_runner: Callable[..., Runner], lab: Lab) -> None:
    lab.define(matrix=MATRIX, conda=["six", "pip"])
    done, outputs = make_runner().run(JOBS["plan"])
    assert [step.returncode for step in done] == [5]
    assert outputs == {}


def test_image_that_was_not_published_fails_its_test_on_a_gpu(make_runner: Callable[..., Runner]) -> None:
    (together,) = share(make_runner)
    done, _ = make_runner(matrix=together).run(JOBS["gpu"])
    assert [step.returncode for step in done] == [0, 9]
    assert "is not in the registry" in done[-1].stderr + done[-1].stdout
