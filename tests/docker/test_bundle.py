"""Bundles of real images: from either image store into either, each blob once, and nothing of a damaged one."""

from __future__ import annotations

import json
import shlex
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

from tests.docker.conftest import require_programs
from tests.kit.base import IMAGE
from tests.kit.engine import find_engine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.docker.conftest import Lab

TWO = {"python": ["3.11", "3.13"], "cuda": ["cpu"], "torch": "none"}


@pytest.fixture
def built(any_lab: Lab) -> Lab:
    """A lab on each store with the images of two cells, which share layers."""
    return build_two(any_lab)


def build_two(lab: Lab) -> Lab:
    lab.define(matrix=TWO)
    done = lab.build()
    assert done.returncode == 0, done.stderr
    return lab


@pytest.fixture
def other(built: Lab, kit: Path, second_engine: str, make_lab: Callable[..., Lab]) -> Lab:
    """A lab with nothing on the engine that has the other image store."""
    url = find_engine(kit, "default").url
    lab = make_lab(url if built.url == second_engine else second_engine)
    lab.name = built.name  # so that what it loads is removed
    return lab


def bundle(lab: Lab, path: Path) -> Path:
    done = lab.run("bundle", "--all", "--output", str(path), "--progress", "plain")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{path}\n"
    return path


def list_blobs(path: Path) -> list[str]:
    with tarfile.open(path) as tar:
        return [member.name for member in tar if member.name.startswith("blobs/")]


def forget(lab: Lab) -> None:
    for image in lab.client.images.list(name=lab.name):
        lab.client.images.remove(image.id, force=True)


def test_two_cells_have_shared_blobs_once_and_make_the_same_file_again(built: Lab, tmp_path: Path) -> None:
    path = bundle(built, tmp_path / "images.tar")
    blobs = list_blobs(path)
    assert len(blobs) == len(set(blobs))
    alone = 0
    for python in ("3.11", "3.13"):
        one = tmp_path / f"{python}.tar"
        assert built.run("bundle", "--py", python, "--output", str(one)).returncode == 0
        alone += one.stat().st_size
    assert path.stat().st_size < 0.7 * alone  # the base, at least, is shared
    assert bundle(built, tmp_path / "again.tar").read_bytes() == path.read_bytes()


def test_what_one_store_packs_the_other_loads_and_runs(built: Lab, other: Lab, tmp_path: Path) -> None:
    path = bundle(built, tmp_path / "images.tar")
    refs = [f"{built.name}:cpu-py311", f"{built.name}:cpu-py313"]
    done = other.run("load", str(path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == refs
    for ref, python in zip(refs, ("3.11", "3.13"), strict=True):
        assert python in other.shell(ref, "python -c 'import six, sys; print(sys.version)'")
        assert other.client.images.get(ref).labels == built.client.images.get(ref).labels
    # An image that was loaded is as good as one that was built: it is packed again.
    other.define(matrix=TWO)
    (other.folder / "imgbuild.lock").write_bytes((built.folder / "imgbuild.lock").read_bytes())
    bundle(other, tmp_path / "again.tar")


def test_load_brings_back_the_very_image(built: Lab, tmp_path: Path) -> None:
    path = bundle(built, tmp_path / "images.tar")
    before = built.client.images.get(built.ref).id
    forget(built)
    done = built.run("load", str(path))
    assert done.returncode == 0, done.stderr
    assert built.client.images.get(built.ref).id == before


def test_tampered_byte_is_refused_before_the_engine_sees_anything(lab: Lab, tmp_path: Path) -> None:
    built = build_two(lab)
    path = bundle(built, tmp_path / "images.tar")
    with tarfile.open(path) as tar:
        largest = max(tar.getmembers(), key=lambda member: member.size)
    forget(built)
    with path.open("r+b") as file:
        file.seek(largest.offset_data + largest.size // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))
    done = built.run("load", str(path))
    assert done.returncode == 13
    assert largest.name.replace("blobs/sha256/", "sha256:") in done.stderr
    assert not built.client.images.list(name=built.name)


def test_cell_that_is_not_built_or_of_another_lock_makes_no_file(lab: Lab, tmp_path: Path) -> None:
    built = build_two(lab)
    path = tmp_path / "images.tar"
    built.client.images.remove(built.ref, force=True)
    done = built.run("bundle", "--all", "--output", str(path))
    assert done.returncode == 9
    assert f"{built.ref} is not on this engine" in done.stderr
    built.client.images.get(f"{built.name}:cpu-py313").tag(built.name, "cpu-py311")
    done = built.run("bundle", "--all", "--output", str(path))
    assert done.returncode == 9
    assert f"{built.ref} was built from another lock" in done.stderr
    assert not path.exists()


def test_skopeo_and_docker_read_it_too(built: Lab, other: Lab, tmp_path: Path) -> None:
    path = bundle(built, tmp_path / "images.tar")
    require_programs(tmp_path, "skopeo")
    copied = tmp_path / "copied"
    subprocess.run(["skopeo", "copy", "--quiet", f"oci-archive:{path}:{built.ref}", f"dir:{copied}"], check=True)
    manifest = json.loads((copied / "manifest.json").read_text())
    with tarfile.open(path) as tar:
        assert f"blobs/sha256/{manifest['config']['digest'].removeprefix('sha256:')}" in tar.getnames()
    with path.open("rb") as file:
        loaded = other.client.images.load(file)
    assert {tag for image in loaded for tag in image.tags} >= {built.ref}


def test_environment_runs_where_there_is_no_container(lab: Lab, tmp_path: Path) -> None:
    lab.define(conda=["six", "numpy"], pip=["tqdm"])
    assert lab.build().returncode == 0
    archive = tmp_path / "env.tar.gz"
    done = lab.run("bundle", "--all", "--format", "conda-pack", "--output", str(archive))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{archive}\n"
    script = (
        "mkdir -p /home/somebody/environments/of/a/cluster && cd /home/somebody/environments/of/a/cluster"
        " && tar xzf /archive/env.tar.gz && source bin/activate && conda-unpack"
        " && python -c 'import numpy, six, sys, tqdm; print(sys.prefix, numpy.ones(3).sum())'"
        " && tqdm --version && ! grep -rIl /opt/env lib etc"
    )
    mounts = {str(tmp_path): {"bind": "/archive", "mode": "ro"}}
    said = lab.shell(IMAGE, f"exec bash -ec {shlex.quote(script)}", volumes=mounts, user="0")
    assert said.startswith("/home/somebody/environments/of/a/cluster 3.0\n")


def test_environment_is_that_of_one_cell(lab: Lab, tmp_path: Path) -> None:
    lab.define(matrix=TWO)
    done = lab.run("bundle", "--all", "--format", "conda-pack", "--output", str(tmp_path / "env.tar.gz"))
    assert done.returncode == 2
    assert "packs one cell, and 2 were chosen" in done.stderr
