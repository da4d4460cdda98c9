"""`imgbuild diff`: layers, bytes, labels and packages of two published images, for people and for pull requests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.attach import CYCLONEDX
from builder.contents import parse_bill
from builder.difference import Side, compare_sides
from builder.difference_text import draw_difference
from builder.registry.content import ContentError, Descriptor, digest_of
from builder.registry.image import PublishedImage
from builder.render import digest_packages
from builder.sbom.cyclonedx import dump_cyclonedx
from builder.sbom.subject import Subject, find_created
from builder.site.published import list_packages
from tests.published import Workshop, make_workshop
from tests.samples import make_environment, make_wheel

if TYPE_CHECKING:
    from pathlib import Path

    from builder.lock import Environment
    from tests.registry import FakeRegistry
    from tests.unit.conftest import Run

REPOSITORY = "team/demo"


@pytest.fixture
def workshop(tmp_path: Path, bare_host: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    monkeypatch.setenv("XDG_CACHE_HOME", str(bare_host / "cache"))
    return make_workshop(tmp_path / "project")


def publish_update(workshop: Workshop, fake: FakeRegistry) -> tuple[str, str, Path]:
    """Publish one cell twice, as `old` and `new`; return both refs, and the old lock. The project has the new one."""
    cell = workshop.cells[0]
    lock = workshop.root / "images" / "demo" / "imgbuild.lock"
    refs = [f"{fake.address}/{REPOSITORY}:{tag}" for tag in ("old", "new")]
    for tag, version in (("old", "1.0"), ("new", "2.0")):
        workshop.lock(pip=[make_wheel("wheely", version)])
        environment = workshop.environment(cell, pip=[make_wheel("wheely", version)])
        labels = workshop.labels(cell) | {"dev.imgbuild.packages": digest_packages(environment)}
        layers = {"base": 5_000_000, f"wheely {version}": 2_000_000 if tag == "old" else 3_500_000}
        fake.add_image(REPOSITORY, tag, labels=labels, layers=layers)
        if tag == "old":
            old = workshop.root / "old.lock"
            old.write_bytes(lock.read_bytes())
    return refs[0], refs[1], old


def dump_bill(environment: Environment) -> str:
    return dump_cyclonedx(
        Subject(
            cell="demo", ref="demo:1", base_ref="r.example/base:1", environment=environment, created=find_created(0)
        )
    )


def test_update_is_told_with_its_packages_from_both_locks(run: Run, workshop: Workshop, fake: FakeRegistry) -> None:
    old, new, lock = publish_update(workshop, fake)
    code, out, err = run("--project", workshop.root, "diff", old, new, "--lock-a", lock)
    assert (code, err) == (0, "")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "size 7.0 MB 8.5 MB +1.5 MB" in lines
    assert "layers 2 2 1 shared" in lines
    assert "packages 8 8 1 changed" in lines
    assert "Whoever has the first pulls 3.5 MB in 1 layer for the second." in lines
    assert lines[lines.index("Packages: 1 changed") + 2] == "wheely pip 1.0 2.0"
    assert any(line.startswith("dev.imgbuild.packages sha256:") for line in lines)


def test_markdown_has_the_same_in_tables(run: Run, workshop: Workshop, fake: FakeRegistry) -> None:
    old, new, lock = publish_update(workshop, fake)
    _, out, _ = run("--project", workshop.root, "diff", old, new, "--lock-a", lock, "--markdown")
    assert f"| image | `{old}` | `{new}` |  |" in out
    assert "#### Packages: 1 changed\n\n| package | from | before | now |\n| --- | --- | --- | --- |\n" in out
    assert "| `wheely` | `pip` | `1.0` | `2.0` |\n" in out


@pytest.mark.parametrize("has_api", [True, False])
def test_packages_come_from_an_attached_bill_of_materials(
    run: Run, workshop: Workshop, fake: FakeRegistry, tmp_path: Path, has_api: bool
) -> None:
    fake.has_referrers = has_api
    old, new, _ = publish_update(workshop, fake)
    for tag, version in (("old", "1.0"), ("new", "2.0")):
        digest = fake.tags[REPOSITORY][tag]
        kind, data = fake.manifests[REPOSITORY, digest]
        environment = workshop.environment(workshop.cells[0], pip=[make_wheel("wheely", version)])
        subject = {"mediaType": kind, "digest": digest, "size": len(data)}
        fake.attach(REPOSITORY, subject, "application/vnd.dev.cosign.simplesigning.v1+json", b"{}")
        fake.attach(REPOSITORY, subject, CYCLONEDX, dump_bill(environment).encode())
    code, out, _ = run("--project", tmp_path, "diff", old, new)
    assert code == 0
    assert "Packages: 1 changed" in out


def test_packages_that_nothing_tells_are_unknown(
    run: Run, workshop: Workshop, fake: FakeRegistry, tmp_path: Path
) -> None:
    old, new, _ = publish_update(workshop, fake)
    code, out, _ = run("--project", tmp_path, "diff", old, new)
    assert code == 0
    assert "The packages of the first and the second are unknown" in out


def test_lock_of_another_image_is_5_and_an_image_that_is_not_there_10(
    run: Run, workshop: Workshop, fake: FakeRegistry
) -> None:
    old, new, lock = publish_update(workshop, fake)
    code, _, err = run("--project", workshop.root, "diff", old, new, "--lock-b", lock)
    assert code == 5
    assert f"{lock}: no environment in it" in err
    assert run("diff", old, f"{fake.address}/{REPOSITORY}:none")[0] == 10
    assert run("diff", "demo:1", new)[0] == 10


def test_label_cannot_lead_to_a_lock_elsewhere(run: Run, workshop: Workshop, fake: FakeRegistry) -> None:
    _, _, lock = publish_update(workshop, fake)
    environment = workshop.environment(workshop.cells[0], pip=[make_wheel("wheely", "1.0")])
    (workshop.root / "secret").mkdir()
    lock.rename(workshop.root / "secret" / "imgbuild.lock")
    labels = {"dev.imgbuild.image": "../secret", "dev.imgbuild.packages": digest_packages(environment)}
    fake.add_image(REPOSITORY, "forged", labels=labels)
    ref = f"{fake.address}/{REPOSITORY}:forged"
    assert "are unknown" in run("--project", workshop.root, "diff", ref, ref.replace("forged", "new"))[1]


def test_same_image_has_no_difference(run: Run, workshop: Workshop, fake: FakeRegistry) -> None:
    old, _, _ = publish_update(workshop, fake)
    _, out, _ = run("--project", workshop.root, "diff", old, old)
    assert "Both are the same image." in out
    assert "Labels" not in out


def make_side(*layers: int, **labels: str) -> Side:
    found = tuple(Descriptor(media_type="", digest=digest_of(f"{size}".encode()), size=size) for size in layers)
    image = PublishedImage(
        digest=digest_of(repr((layers, labels)).encode()),
        manifest=digest_of(repr((layers, labels)).encode()),
        layers=found,
        diff_ids=(),
        labels=labels,
        environment={},
        created="",
    )
    return Side(ref="r.example/a:1", image=image, contents=None)


_SIDES = st.lists(st.integers(0, 20), max_size=6)


@given(before=_SIDES, now=_SIDES)
def test_layers_are_shared_or_fresh(before: list[int], now: list[int]) -> None:
    found = compare_sides(make_side(*before), make_side(*now))
    sizes = sorted(layer.size for layer in (*found.shared, *found.fresh))
    assert sizes == sorted(set(now))
    assert {layer.size for layer in found.shared} == set(before) & set(now)


@given(value=st.text(max_size=30).filter(str.isprintable))
def test_no_label_breaks_the_table_of_a_pull_request(value: str) -> None:
    out = draw_difference(compare_sides(make_side(1), make_side(1, evil=value)), markdown=True)
    rows = [line for line in out.splitlines() if line.startswith("| `evil`")]
    assert len(rows) == 1
    assert rows[0].replace("\\|", "").count("|") == 4
    assert rows[0].count("`") % 2 == 0


def test_bill_of_an_environment_has_its_packages() -> None:
    environment = make_environment(pip=[make_wheel("wheely", "2.0")])
    assert parse_bill(dump_bill(environment).encode(), "here") == list_packages(environment)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"components": 3}', '{"components": [3]}', '{"components": [{"purl": "pkg:conda/x"}]}']
)
def test_bill_that_is_none_is_told(text: str) -> None:
    with pytest.raises(ContentError, match="here: "):
        parse_bill(text.encode(), "here")


def test_json_of_a_bill_may_have_other_components() -> None:
    others = {"components": [{"purl": "pkg:deb/debian/git", "name": "git"}, {"name": "x"}]}
    assert parse_bill(json.dumps(others).encode(), "here") == ()
