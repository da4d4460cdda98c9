"""`imgbuild status`: what a registry has of the matrix, told cell by cell and tag by tag."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from builder.site.entries import read_entries
from tests.published import PATH, Workshop, make_workshop
from tests.registry import INDEX, FakeRegistry
from tests.samples import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.conftest import Run

    Ask = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def workshop(tmp_path: Path, bare_host: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    monkeypatch.setenv("XDG_CACHE_HOME", str(bare_host / "cache"))
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    return make_workshop(tmp_path / "project")


@pytest.fixture
def ask(run: Run, workshop: Workshop, fake: FakeRegistry) -> Ask:
    def call(*more: str | Path) -> tuple[int, dict[str, Any], str]:
        code, out, err = run(
            "--project", workshop.root, "status", "--registry", f"{fake.address}/{PATH}", "--json", *more
        )
        return code, json.loads(out) if out else {}, err

    return call


def states(found: dict[str, Any]) -> dict[str, str]:
    return {it["ref"].rpartition(":")[2]: it["state"] for it in (*found["cells"], *found["tags"])}


def test_registry_that_has_everything_is_0(ask: Ask, workshop: Workshop, fake: FakeRegistry) -> None:
    workshop.publish(fake)
    code, found, err = ask()
    assert (code, err) == (0, "")
    assert set(states(found).values()) == {"up to date"}
    assert [it["cell"] for it in found["cells"]] == [cell.id for cell in workshop.cells]
    assert found["cells"][0]["digest"] == fake.tags["team/demo"]["cu126-py310"]
    assert found["registry"] == f"{fake.address}/team"


def test_each_state_is_told_with_its_reason_and_the_exit_code_is_12(
    ask: Ask, workshop: Workshop, fake: FakeRegistry
) -> None:
    fine, moved, forged, _ = workshop.cells
    workshop.publish(fake, fine)
    workshop.publish(fake, moved, **{"org.opencontainers.image.base.name": "older.example/base:1"})
    workshop.publish(fake, forged, **{"dev.imgbuild.python": "3.12"})
    code, found, err = ask()
    assert code == 12
    assert states(found) == {
        "cu126-py310": "up to date",
        "cpu-py310": "stale",
        "cu126-py311": "wrong",
        "cpu-py311": "missing",
    }
    assert [it["reasons"] for it in found["cells"]] == [
        [],
        ["the base is another"],
        ["its tag says python 3.11, its label 3.12"],
        [],
    ]
    assert "1 stale, 1 wrong, 1 missing" in err
    assert f"imgbuild build --all --locked --push {fake.address}/team" in err


def test_lock_that_moved_makes_an_image_stale(ask: Ask, workshop: Workshop, fake: FakeRegistry) -> None:
    workshop.publish(fake)
    workshop.lock(pip=[make_wheel("wheely", "2.0")])
    code, found, _ = ask()
    assert code == 12
    assert set(states(found).values()) == {"stale"}
    assert found["cells"][0]["reasons"] == ["the lock has other packages"]


def test_checks_that_an_image_has_not_passed_make_it_stale(ask: Ask, workshop: Workshop, fake: FakeRegistry) -> None:
    workshop.publish(fake)
    own = workshop.root / "images" / "demo" / "checks" / "more.py"
    own.parent.mkdir()
    own.write_text("")
    _, found, _ = ask()
    assert found["cells"][0]["reasons"] == ["it has passed other checks"]


@pytest.fixture
def mirrored(fake: FakeRegistry, tmp_path: Path) -> Path:
    """Sources that have the base in this registry, as `mirror/base:1`."""
    path = tmp_path / "sources.yaml"
    path.write_text(f"bases: {{miniforge: '{fake.address}/mirror/base:1'}}\n")
    return path


def test_base_that_moved_and_that_nothing_pins_makes_images_stale_when_it_is_asked_for(
    ask: Ask, workshop: Workshop, fake: FakeRegistry, mirrored: Path
) -> None:
    workshop.publish(fake)
    fake.add_image("mirror/base", "1", layers={"base": 1000})
    code, found, err = ask("--bases", "--sources", mirrored)
    assert (code, err, set(states(found).values())) == (0, "", {"up to date"})
    moved = fake.add_image("mirror/base", "1", layers={"newer base": 1000})
    code, found, _ = ask("--bases", "--sources", mirrored)
    assert (code, set(states(found).values())) == (12, {"stale"})
    assert f"digest: {moved['digest']}" in found["cells"][0]["reasons"][0]
    fake.asked.clear()
    assert ask("--sources", mirrored)[0] == 0
    assert not [path for path in fake.paths if "/mirror/" in path], "nobody else is asked unless that is wanted"


def test_image_on_a_base_that_cannot_be_asked_about_is_unknown(
    ask: Ask, run: Run, workshop: Workshop, fake: FakeRegistry, mirrored: Path
) -> None:
    workshop.publish(fake)
    code, found, err = ask("--bases", "--sources", mirrored)
    assert (code, set(states(found).values())) == (12, {"unknown"})
    (reason,) = found["cells"][0]["reasons"]
    assert reason.startswith("whether its base has moved cannot be told: ")
    assert "4 unknown" in err
    assert "--bases" in err
    table = ("status", "--registry", f"{fake.address}/{PATH}", "--bases", "--sources", mirrored)
    code, out, _ = run("--project", workshop.root, *table)
    assert code == 12
    assert reason in out.splitlines()[0]


def test_what_is_known_of_an_image_comes_before_a_base_that_cannot_be_asked_about(
    ask: Ask, workshop: Workshop, fake: FakeRegistry, mirrored: Path
) -> None:
    moved, forged, _, _ = workshop.cells
    workshop.publish(fake, moved, **{"org.opencontainers.image.base.name": "older.example/base:1"})
    workshop.publish(fake, forged, **{"dev.imgbuild.python": "3.12"})
    _, found, _ = ask("--bases", "--sources", mirrored)
    assert [it["state"] for it in found["cells"]] == ["stale", "wrong", "missing", "missing"]


def test_cell_without_a_lock_is_unlocked_and_the_others_are_judged(
    ask: Ask, workshop: Workshop, fake: FakeRegistry
) -> None:
    workshop.publish(fake)
    workshop.define(matrix="{python: ['3.10', '3.11', '3.12'], cuda: ['12.6', cpu], torch: none}")
    code, found, err = ask()
    assert code == 12
    assert states(found)["cpu-py312"] == "unlocked"
    assert states(found)["cpu-py311"] == "up to date"
    assert "run `imgbuild lock`" in err


@pytest.mark.parametrize("kind", ["foreign", "broken", "environment"])
def test_tag_whose_image_is_another_is_wrong(ask: Ask, workshop: Workshop, fake: FakeRegistry, kind: str) -> None:
    workshop.publish(fake)
    if kind == "foreign":
        fake.add_image("team/demo", "cpu-py310", labels={"maintainer": "x"})
    elif kind == "broken":
        fake.add_manifest("team/demo", {"mediaType": INDEX, "manifests": []}, "cpu-py310")
    else:
        cell = next(cell for cell in workshop.cells if cell.tag == "cpu-py310")
        fake.add_image("team/demo", cell.tag, labels=workshop.labels(cell), env=("IMGBUILD_CUDA=12.6",))
    code, found, _ = ask()
    assert code == 12
    assert states(found)["cpu-py310"] == "wrong"
    assert set(states(found).values()) == {"wrong", "up to date"}


def test_tag_that_no_cell_has_is_orphaned_and_others_are_only_listed(
    ask: Ask, workshop: Workshop, fake: FakeRegistry
) -> None:
    workshop.publish(fake)
    digest = fake.tags["team/demo"]["cpu-py311"]
    lasting = "cpu-py311-0123456789ab"
    extra = {"latest": digest, lasting: digest, f"{lasting}-staged": digest, f"sha256-{'0' * 64}": digest}
    fake.tags["team/demo"] |= extra
    fake.add_image("team/demo", "mine")
    code, found, _ = ask()
    assert code == 0
    listed = {it["ref"].rpartition(":")[2]: it["state"] for it in found["tags"]}
    assert listed == {"latest": "alias", lasting: "immutable", f"{lasting}-staged": "staged", "mine": "foreign"}
    assert not [path for path in fake.paths if path.endswith("-staged")], "each costs nothing, and there may be many"
    fake.tags["team/demo"]["2.7.1-cu118-py39"] = digest
    code, found, err = ask()
    assert code == 12
    assert states(found)["2.7.1-cu118-py39"] == "orphaned"
    assert "1 orphaned" in err


def test_missing_image_that_is_staged_is_said_to_wait_for_its_test(
    ask: Ask, workshop: Workshop, fake: FakeRegistry
) -> None:
    workshop.publish(fake)
    for tag in ("cpu-py310", "cpu-py311"):
        fake.tags["team/demo"] = {name: it for name, it in fake.tags["team/demo"].items() if not name.startswith(tag)}
    fake.tags["team/demo"]["cpu-py310-0123456789ab-staged"] = next(iter(fake.tags["team/demo"].values()))
    _, found, _ = ask()
    missing = {it["ref"].rpartition(":")[2]: it["reasons"] for it in found["cells"] if it["state"] == "missing"}
    waits = "cpu-py310-0123456789ab-staged waits for `imgbuild test --promote`"
    assert missing == {"cpu-py310": [waits], "cpu-py311": []}


@pytest.mark.parametrize("has_referrers", [True, False])
def test_image_that_lacks_documents_is_incomplete_unless_none_are_asked_for(
    ask: Ask, workshop: Workshop, fake: FakeRegistry, has_referrers: bool
) -> None:
    fake.has_referrers = has_referrers
    workshop.publish(fake)
    assert ask()[0] == 0
    bare, torn, *_ = workshop.cells
    labels = workshop.labels(bare)
    fake.add_image("team/demo", bare.tag, labels=labels, env=("IMGBUILD_CUDA=12.6",), layers={"nobody's": 1})
    digest = fake.tags["team/demo"][torn.tag]
    fake.referrers[digest] = [it for it in fake.referrers[digest] if "spdx" not in it["artifactType"]]
    listed = {"schemaVersion": 2, "mediaType": INDEX, "manifests": fake.referrers[digest]}
    fake.add_manifest("team/demo", listed, digest.replace(":", "-"))
    code, found, err = ask()
    assert code == 12
    assert [it["state"] for it in found["cells"]] == ["incomplete", "incomplete", "up to date", "up to date"]
    assert [it["reasons"] for it in found["cells"]][:2] == [
        ["it lacks documents: cyclonedx, files, spdx, provenance, checks"],
        ["it lacks documents: spdx"],
    ]
    assert "2 incomplete" in err
    assert f"imgbuild build --all --locked --push {fake.address}/team" in err
    fake.asked.clear()
    code, found, _ = ask("--no-documents")
    assert (code, {it["state"] for it in found["cells"]}) == (0, {"up to date"})
    assert not [path for path in fake.paths if "/referrers/" in path]


def test_list_of_what_is_attached_that_cannot_be_read_stops_no_other_cell(
    ask: Ask, workshop: Workshop, fake: FakeRegistry
) -> None:
    workshop.publish(fake)
    damaged = fake.tags["team/demo"][workshop.cells[0].tag]
    fake.referrers[damaged] = ["no descriptor"]  # type: ignore[list-item]
    code, found, _ = ask()
    assert code == 12
    assert [it["state"] for it in found["cells"]] == ["incomplete", *["up to date"] * 3]
    assert "what is attached" in found["cells"][0]["reasons"][0]


def test_images_of_a_definition_that_is_gone_are_orphaned_where_that_is_asked_for(
    ask: Ask, workshop: Workshop, fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.auth, fake.denies = "bearer", "repository:team/denied:pull"
    monkeypatch.setattr("builder.logins.read_logins", lambda: lambda _: ("reader", "s3cret"))
    workshop.publish(fake)
    own = {"dev.imgbuild.image": "gone"}
    lasting = "2.7.1-cu118-py310-0123456789ab"
    for repository in ("team/gone", "other/gone", "team/of/gone", "gone"):
        fake.add_image(repository, "2.7.1-cu118-py310", "newest", lasting, f"{lasting}-staged", labels=own)
    for repository in ("team/renamed", "team/denied"):
        fake.add_image(repository, "2.7.1-cu118-py310", labels=own)
    fake.add_image("team/foreign", "2.7.1-cu118-py310", labels={"maintainer": "x"})
    fake.add_manifest("team/broken", {"mediaType": INDEX, "manifests": []}, "cpu-py310")
    fake.tags["team/odd"] = {"-": "no tag"}
    fake.tags["team/Impossible"] = {"cpu-py310": "no name"}
    fake.page = 2
    code, found, err = ask("--orphans")
    assert code == 12
    assert found["tags"] == [
        {"ref": f"{fake.address}/team/gone:{tag}", "state": "orphaned"} for tag in ("2.7.1-cu118-py310", "newest")
    ]
    assert "2 orphaned" in err
    assert ask()[:2] == (0, found | {"tags": []})


def test_image_whose_definition_cannot_be_read_is_no_orphan(ask: Ask, workshop: Workshop, fake: FakeRegistry) -> None:
    workshop.publish(fake)
    broken = workshop.root / "images" / "broken" / "image.yaml"
    broken.parent.mkdir()
    broken.write_text("name: [")
    fake.add_image("team/broken", "cpu-py310", labels={"dev.imgbuild.image": "broken"})
    code, found, _ = ask("demo", "--orphans")
    assert (code, found["tags"]) == (0, [])


@pytest.mark.parametrize("kind", ["none", "denied"])
def test_registry_that_cannot_list_its_repositories_is_10(
    ask: Ask, workshop: Workshop, fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    workshop.publish(fake)
    fake.has_catalogue = kind != "none"
    if kind == "denied":
        fake.auth, fake.denies = "bearer", "registry:catalog:*"
        monkeypatch.setattr("builder.logins.read_logins", lambda: lambda _: ("reader", "s3cret"))
    code, _, err = ask("--orphans")
    assert code == 10
    assert {"none": "--orphans is for", "denied": "docker login"}[kind] in err
    assert ask()[0] == 0


def test_alias_that_a_definition_declares_is_none_of_a_cell_that_is_gone(
    ask: Ask, workshop: Workshop, fake: FakeRegistry
) -> None:
    matrix = "{python: ['3.11'], cuda: [cpu], torch: '2.7.1'}"
    workshop.define(matrix=matrix)
    workshop.lock()
    workshop.publish(fake)
    fake.tags["team/demo"]["cpu-py311"] = fake.tags["team/demo"]["2.7.1-cpu-py311"]
    assert states(ask()[1])["cpu-py311"] == "orphaned"
    workshop.define(matrix=matrix, aliases="{cpu-py311: cpu-py311}")
    code, found, _ = ask()
    assert (code, states(found)["cpu-py311"]) == (0, "alias")


def test_table_says_the_same(run: Run, workshop: Workshop, fake: FakeRegistry) -> None:
    workshop.publish(fake, *workshop.cells[:3])
    fake.tags["team/demo"]["latest"] = fake.tags["team/demo"]["cpu-py310"]
    fake.tags["team/demo"]["cpu-py310-0123456789ab"] = fake.tags["team/demo"]["cpu-py310"]
    code, out, _ = run("--project", workshop.root, "status", "demo", "--registry", f"{fake.address}/team")
    assert code == 12
    assert out.splitlines() == [
        f"up to date  {fake.address}/team/demo:cu126-py310",
        f"up to date  {fake.address}/team/demo:cpu-py310",
        f"up to date  {fake.address}/team/demo:cu126-py311",
        f"missing     {fake.address}/team/demo:cpu-py311",
        f"alias       {fake.address}/team/demo:latest       means cpu-py310",
        "3 up to date, 1 missing, 1 alias",
        "1 immutable tag",
    ]


def test_registry_that_lets_nobody_in_is_10_and_an_unknown_image_4(
    ask: Ask, workshop: Workshop, fake: FakeRegistry
) -> None:
    workshop.publish(fake)
    fake.auth = "bearer"
    code, _, err = ask()
    assert code == 10
    assert f"docker login {fake.address}" in err
    assert ask("nothing")[0] == 4


def test_who_reads_asks_for_no_right_to_push(
    ask: Ask, workshop: Workshop, fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.publish(fake)
    fake.auth = "bearer"
    monkeypatch.setattr("builder.logins.read_logins", lambda: lambda _: ("reader", "s3cret"))
    assert ask()[0] == 0
    scopes = {parse_qs(urlsplit(path).query).get("scope", [""])[0] for path in fake.paths if path.startswith("/token")}
    assert scopes == {"", "repository:team/demo:pull"}


def test_status_asks_for_what_each_cell_has_once(ask: Ask, workshop: Workshop, fake: FakeRegistry) -> None:
    pythons = ", ".join(f"'3.{minor}'" for minor in range(9, 13))
    workshop.define(matrix=f"{{python: [{pythons}], cuda: ['11.8', '12.6', cpu], torch: none}}")
    workshop.lock()
    workshop.publish(fake)
    fake.asked.clear()
    code, found, _ = ask()
    assert (code, len(found["cells"])) == (0, 12)
    asked = [path for path in map(str, fake.asked) if "/manifests/" in path or "/blobs/" in path]
    assert len(asked) == len(set(asked)) == 2 * 12


def test_catalogue_is_filled_from_the_registry(
    ask: Ask, run: Run, workshop: Workshop, fake: FakeRegistry, tmp_path: Path
) -> None:
    workshop.publish(fake)
    fake.add_image("team/demo", "cpu-py311", labels={"maintainer": "somebody"})
    path = tmp_path / "entries.json"
    assert ask("--entries", path)[0] == 12
    gpu, cpu, other = read_entries(path)
    assert gpu.ref == f"{fake.address}/team/demo:cu126-py310"
    assert gpu.digest == fake.tags["team/demo"]["cu126-py310"]
    assert (str(gpu.python), str(gpu.cuda), gpu.torch, gpu.compressed) == ("3.10", "12.6", None, 1110)
    assert str(gpu.min_driver) == "525.60.13"
    assert gpu.created is not None
    assert {(it.name, it.kind) for it in gpu.packages} >= {("python", "conda"), ("wheely", "pip")}
    assert (cpu.cuda, cpu.min_driver) == (None, None)
    assert other.ref.endswith("cu126-py311")
    site = tmp_path / "site"
    place = f"{fake.address}/team"
    assert run("--project", workshop.root, "site", "--from-registry", place, "--output", site)[0] == 0
    assert gpu.digest in "".join(page.read_text() for page in site.glob("*.html"))
    code, out, err = run(
        "--project", workshop.root, "site", "--from-registry", f"{fake.address}/nobody", "--output", site
    )
    assert (code, out) == (0, f"{site / 'index.html'}\n")
    assert err == f"no image in {fake.address}/nobody: the catalogue is empty\n"
    both = ("--from", path, "--from-registry", place)
    assert run("--project", workshop.root, "site", *both, "--output", site)[0] == 2


def test_catalogue_has_no_packages_of_another_lock(
    ask: Ask, workshop: Workshop, fake: FakeRegistry, tmp_path: Path
) -> None:
    workshop.publish(fake)
    workshop.lock(pip=[])
    ask("--entries", tmp_path / "entries.json")
    assert {entry.packages for entry in read_entries(tmp_path / "entries.json")} == {()}
