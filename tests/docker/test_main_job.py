"""`imgbuild build`, end to end: locked, built, checked, tagged, and nothing done twice."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from pathlib import Path

    from tests.docker.conftest import Lab


def test_build_ends_in_a_verified_image(any_lab: Lab) -> None:
    any_lab.define(pip=["tqdm"])
    done = any_lab.build()
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{any_lab.ref}\n"
    assert "16 checks passed, skipped: torch, arches, cudnn, device, memory, " in done.stderr
    assert "(this image has no torch)" in done.stderr
    assert any_lab.shell(any_lab.ref, "python -c 'import six, tqdm, ssl, sqlite3; print(1)'; id -u") == "1\n1000\n"


def test_second_build_changes_nothing(any_lab: Lab) -> None:
    any_lab.define()
    assert any_lab.build().returncode == 0
    before = any_lab.client.images.get(any_lab.ref).id
    lock = (any_lab.folder / "imgbuild.lock").read_bytes()
    again = any_lab.build("--locked")
    assert f"{any_lab.ref} is up to date" in again.stderr
    assert any_lab.client.images.get(any_lab.ref).id == before
    assert (any_lab.folder / "imgbuild.lock").read_bytes() == lock


def test_labels_say_what_is_inside(lab: Lab) -> None:
    lab.define()
    assert lab.build().returncode == 0
    labels = lab.client.images.get(lab.ref).labels
    assert labels["dev.imgbuild.python"] == "3.11"
    assert labels["dev.imgbuild.cuda"] == "cpu"
    assert labels["dev.imgbuild.packages"].startswith("sha256:")


def test_changed_definition_is_said_and_refused_when_locked(lab: Lab) -> None:
    lab.define()
    assert lab.build().returncode == 0
    lab.define(conda=["six", "click"])
    refused = lab.build("--locked")
    assert refused.returncode == 5
    assert "was locked from another definition" in refused.stderr
    solved = lab.build()
    assert solved.returncode == 0
    assert f"{lab.name}-py3.11-cpu was locked from another definition or base: solving it" in solved.stderr
    assert "click" in lab.shell(lab.ref, "python -m pip list")


def test_rendered_folder_builds_with_plain_docker(lab: Lab, tmp_path: Path) -> None:
    lab.define(channels=[f"{find_server(lab)}/kit"])
    assert lab.run("lock").returncode == 0
    out = tmp_path / "out"
    rendered = lab.run("render", "--out", str(out))
    assert rendered.stdout == f"{out}/{lab.name}-py3.11-cpu\n"
    folder = out / f"{lab.name}-py3.11-cpu"
    done = subprocess.run(
        ["docker", "buildx", "build", "--network=host", "--load", "--tag", f"{lab.name}:plain", str(folder)],
        capture_output=True,
        text=True,
        env=lab.environment,
    )
    assert done.returncode == 0, done.stderr
    assert "six" in lab.shell(f"{lab.name}:plain", "python -m pip list")


def test_python_cells_share_the_native_layer(lab: Lab) -> None:
    lab.define(matrix={"python": ["3.11", "3.13"], "cuda": ["cpu"], "torch": "none"})
    done = lab.build()
    assert done.returncode == 0, done.stderr
    layers = [
        lab.client.images.get(f"{lab.name}:cpu-py{python}").attrs["RootFS"]["Layers"] for python in ("311", "313")
    ]
    base = len(lab.client.images.get("imgbuild-kit/base:bookworm").attrs["RootFS"]["Layers"])
    shared = base + 3  # places for mounts, the empty environment, and the libraries that know no Python
    assert layers[0][:shared] == layers[1][:shared]
    assert layers[0][shared] != layers[1][shared]


def find_server(lab: Lab) -> str:
    return str(yaml.safe_load(lab.sources.read_text())["torch-wheels"]).removesuffix("/whl")


def test_engine_is_asked_to_build_only_what_it_lacks(any_lab: Lab) -> None:
    lab = any_lab
    lab.define()

    def build() -> list[str]:
        done = lab.build("--progress", "plain")
        assert done.returncode == 0, done.stderr
        return [line for line in done.stderr.splitlines() if " #" in line]

    assert build()
    assert not build()
    lab.client.images.remove(lab.ref)
    assert build(), "nobody has the image any more"
    assert not build()
    lab.add_step("true")
    assert build(), "the definition has changed"
