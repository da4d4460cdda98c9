from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.bake import Target, render_bake
from builder.engine import EXPORT
from builder.errors import ImgbuildError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import Demo, Run

# What buildx documents for targets: docs.docker.com/build/bake/reference
DOCUMENTED = {
    *("annotations", "args", "attest", "cache-from", "cache-to", "call", "context", "contexts", "description"),
    *("dockerfile-inline", "dockerfile", "entitlements", "extra-hosts", "inherits", "labels", "matrix", "name"),
    *("network", "no-cache-filter", "no-cache", "output", "platforms", "policy", "pull", "secret", "shm-size", "ssh"),
    *("tags", "target", "ulimits"),
}

names = st.from_regex(r"[a-z0-9]{1,3}([._-][a-z0-9]{1,3})?", fullmatch=True)


def make_target(image: str = "pytorch", python: str = "3.10") -> Target:
    tag = f"cpu-py{python.replace('.', '')}"
    waiting = f"{tag}-{'0' * 12}-staged"
    return Target(
        cell=f"{image}-py{python}-cpu", image=image, ref=f"{image}:{tag}", waiting=waiting, created=1_700_000_000
    )


def read(*targets: Target, registry: str | None = None) -> dict[str, Any]:
    return dict(json.loads(render_bake(targets, registry=registry)))


def lock(demo: Demo, imgbuild: Run) -> None:
    code, _, err = imgbuild("lock", "--sources", demo.sources, "--progress", "plain")
    assert code == 0, err


def read_folder(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_cells_are_targets_and_images_are_groups() -> None:
    file = read(make_target(), make_target(python="3.11"), make_target("base"))
    assert {name: target["context"] for name, target in file["target"].items()} == {
        "pytorch-py3_10-cpu": "pytorch-py3.10-cpu",
        "pytorch-py3_11-cpu": "pytorch-py3.11-cpu",
        "base-py3_10-cpu": "base-py3.10-cpu",
    }
    assert {name: group["targets"] for name, group in file["group"].items()} == {
        "default": list(file["target"]),
        "pytorch": ["pytorch-py3_10-cpu", "pytorch-py3_11-cpu"],
        "base": ["base-py3_10-cpu"],
    }


def test_target_says_what_a_build_says_to_the_engine() -> None:
    (target,) = read(make_target())["target"].values()
    assert set(target) <= DOCUMENTED
    assert target["args"] == {"SOURCE_DATE_EPOCH": "1700000000"}
    assert target["tags"] == ["pytorch:cpu-py310"]
    assert target["platforms"] == ["linux/amd64"]
    assert target["attest"] == ["type=provenance,disabled=true"]
    (output,) = target["output"]
    assert dict(item.split("=") for item in output.split(",")) == {"type": "image", **EXPORT}


def test_registry_gets_what_nothing_has_checked_under_a_tag_that_nobody_uses() -> None:
    (target,) = read(make_target(), registry="registry.example:5000/team")["target"].values()
    assert target["tags"] == ["registry.example:5000/team/pytorch:cpu-py310-000000000000-staged"]
    assert target["output"][0].split(",")[-1] == "push=true"


@given(st.lists(st.tuples(names, st.sampled_from(["3.10", "3.11"])), min_size=1, unique=True))
def test_every_name_is_one_that_bake_takes_and_leads_to_one_thing(cells: list[tuple[str, str]]) -> None:
    targets = [make_target(image, python) for image, python in cells]
    try:
        file = read(*targets)
    except ImgbuildError:
        plain = [target.cell.replace(".", "_") for target in targets]
        images = {target.image for target in targets}
        assert len({"default", *plain, *(name.replace(".", "_") for name in images)}) < 1 + len(plain) + len(images)
        return
    assert {target["context"] for target in file["target"].values()} == {target.cell for target in targets}
    for name in (*file["target"], *file["group"]):
        assert name.replace("-", "").replace("_", "").isalnum()
    assert not set(file["target"]) & set(file["group"])
    members = [name for group in file["group"] if group != "default" for name in file["group"][group]["targets"]]
    assert sorted(members) == sorted(file["group"]["default"]["targets"]) == sorted(file["target"])


@pytest.mark.parametrize("images", [("a.b", "a_b"), ("default",)])
def test_names_that_would_be_one_are_refused(images: tuple[str, ...]) -> None:
    with pytest.raises(ImgbuildError, match="would both be called"):
        read(*map(make_target, images))


def test_folder_holds_the_contexts_that_the_file_names(demo: Demo, imgbuild: Run, tmp_path: Path) -> None:
    lock(demo, imgbuild)
    out = tmp_path / "out"
    assert imgbuild("bake", "--output", out) == (0, f"{out}/docker-bake.json\n", "")
    imgbuild("render", "--out", tmp_path / "rendered")
    baked = read_folder(out)
    file = json.loads(baked.pop("docker-bake.json"))
    assert baked == read_folder(tmp_path / "rendered")
    contexts = {target["context"] for target in file["target"].values()}
    assert contexts == {"demo-py3.10-cpu", "demo-py3.11-cpu"} == {path.partition("/")[0] for path in baked}


def test_chosen_cells_alone_are_baked(demo: Demo, imgbuild: Run, tmp_path: Path) -> None:
    lock(demo, imgbuild)
    assert imgbuild("bake", "demo", "--py", "3.11", "--output", tmp_path / "out")[0] == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"docker-bake.json", "demo-py3.11-cpu"}


def test_nothing_of_the_machine_is_in_the_folder(
    demo: Demo, imgbuild: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = json.dumps(demo.sources.read_text()).partition("//")[2].partition("/")[0]
    lock(demo, imgbuild)
    monkeypatch.setenv("IMGBUILD_SOURCES", str(demo.sources))
    monkeypatch.setenv("HTTPS_PROXY", "http://user:s3cr3t@proxy.example:3128")
    settings = tmp_path / "settings"
    before = imgbuild("bake", "--output", tmp_path / "out", "--settings", settings)
    assert before[0] == 0, before
    content = read_folder(tmp_path / "out")
    for data in content.values():
        assert not any(text.encode() in data for text in ("s3cr3t", "proxy.example", mirror, str(tmp_path)))
    assert all(text in settings.read_text() for text in ("s3cr3t", mirror))
    monkeypatch.delenv("HTTPS_PROXY")
    monkeypatch.delenv("IMGBUILD_SOURCES")
    imgbuild("bake", "--output", tmp_path / "again")
    assert read_folder(tmp_path / "again") == content


def test_settings_are_for_their_owner_alone_and_not_in_the_folder(demo: Demo, imgbuild: Run, tmp_path: Path) -> None:
    lock(demo, imgbuild)
    settings = tmp_path / "settings"
    before = os.umask(0)
    try:
        assert imgbuild("bake", "--output", tmp_path / "out", "--settings", settings)[0] == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(settings.stat().st_mode) == 0o600
    inside = tmp_path / "out" / "settings"
    code, _, err = imgbuild("bake", "--output", tmp_path / "out", "--settings", inside)
    assert (code, inside.exists()) == (2, False)
    assert "may hold credentials" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--push-to", "https://registry.example"), "write it as host[:port]/path"),
        (("--push-to", "team"), "write it as host[:port]/path"),
        (("--push-to", "registry.example/${HOME}"), "write it as host[:port]/path"),
        (("--sources", "tuna"), "--settings"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    arguments: tuple[str, ...], said: str, imgbuild: Run, tmp_path: Path
) -> None:
    code, out, err = imgbuild("bake", "--output", tmp_path / "out", *arguments)
    assert (code, out) == (10 if "--push-to" in arguments else 2, "")
    assert said in err
    assert not (tmp_path / "out").exists()


def test_without_a_lock_nothing_is_written(imgbuild: Run, tmp_path: Path) -> None:
    code, out, _ = imgbuild("bake", "--output", tmp_path / "out")
    assert (code, out) == (5, "")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ['{"target": {}}', "[]", "not json", '"//"'])
def test_bake_file_of_somebody_else_is_left_alone(text: str, demo: Demo, imgbuild: Run, tmp_path: Path) -> None:
    lock(demo, imgbuild)
    (tmp_path / "docker-bake.json").write_text(text)
    before = {path.name for path in tmp_path.iterdir()}
    code, _, err = imgbuild("bake", "--output", tmp_path)
    assert code == 1
    assert "was not made by imgbuild" in err
    assert (tmp_path / "docker-bake.json").read_text() == text
    assert {path.name for path in tmp_path.iterdir()} == before


def test_folder_is_written_again(demo: Demo, imgbuild: Run, tmp_path: Path) -> None:
    lock(demo, imgbuild)
    imgbuild("bake", "--output", tmp_path / "out")
    before = read_folder(tmp_path / "out")
    assert imgbuild("bake", "--output", tmp_path / "out")[0] == 0
    assert read_folder(tmp_path / "out") == before


def has_buildx() -> bool:
    docker = shutil.which("docker")
    return bool(docker) and not subprocess.run([docker, "buildx", "version"], capture_output=True).returncode


@pytest.mark.skipif(not has_buildx(), reason="there is no docker buildx")
def test_buildx_reads_the_file_and_mounts_settings_only_when_they_are_given(tmp_path: Path) -> None:
    (tmp_path / "docker-bake.json").write_text(render_bake([make_target()], registry="registry.example/team"))
    (tmp_path / "settings").write_text("")

    def show(**more: str) -> dict[str, Any]:
        done = subprocess.run(
            ["docker", "buildx", "bake", "--print"],
            cwd=tmp_path,
            env=os.environ | {"BUILDX_CONFIG": str(tmp_path / "buildx")} | more,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout)["target"]["pytorch-py3_10-cpu"])

    plain, given = show(), show(IMGBUILD_SETTINGS="settings", IMGBUILD_NETWORK="host")
    assert "secret" not in plain
    assert plain["network"] == "default"
    assert plain["output"] == [{"type": "image", "push": "true", **EXPORT}]
    assert given["secret"] == [{"id": "host", "src": "settings"}]
    assert given["network"] == "host"
