"""Which documents a published image gets, when they are made, and in which order it all becomes visible."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from builder.attach import DOCUMENT, PREDICATE_TYPE, RETEST, TYPES, UNPACKED, Facts, attach_documents, digest_sources
from builder.checks import Verdict
from builder.checks.suites import digest_checks
from builder.contents import parse_bill
from builder.context import Context, ContextFile
from builder.errors import Cancelled, CheckError, RegistryError
from builder.moving import REPLACED
from builder.project import load_project
from builder.publish import Publisher
from builder.registry.content import Descriptor, parse_descriptors
from builder.sbom.files import FileList, list_files
from builder.sbom.inventory import Inventory, Owned
from builder.sbom.results import parse_results
from builder.sbom.subject import Subject
from builder.staged import Staging
from builder.tags import tag_image, tag_lasting
from tests.registry import INDEX, FakeRegistry
from tests.samples import BASE, PROJECT, make_conda, make_environment, make_job, make_locked, make_python, make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from builder.locked import LockedCell
    from builder.registry.writing import Writer

NAME = "team/pytorch"
CELL = make_environment(conda=[*make_python("3.10.16"), make_conda("zlib")], pip=[make_wheel("torch", "2.7.1+cu118")])
CONTEXT = Context(files=(ContextFile(path="Dockerfile", data=b"FROM x"),))
MADE_FROM = f"sha256:{'e' * 64}"
FOUND = (Verdict(check="python", verdict="pass", detail=""), Verdict(check="device", verdict="skip", detail=""))


def make_inventory() -> Inventory:
    files = [(it.name, f"conda-meta/{it.name}.json") for it in (*CELL.conda, *CELL.pip)]
    wheels = {it.name for it in CELL.pip}
    packages = tuple(
        Owned(
            kind="pypi" if name in wheels else "conda",
            name=name,
            version="1",
            build=None,
            files=(path,),
        )
        for name, path in files
    )
    return Inventory(prefix="/opt/env", packages=packages, unclaimed=())


class Asked(Counter[str]):
    """How often an inventory and verdicts were asked for."""

    def take(self, *_: object, **__: object) -> Inventory:
        self["inventory"] += 1
        return make_inventory()

    def list(self) -> tuple[FileList, ...]:
        (locked,) = make_locked((make_job(), CELL))
        return list_files(CELL, locked.layers, self.take())

    def find(self) -> dict[str, str]:
        self["verdicts"] += 1
        return {it.check: it.verdict for it in FOUND}


def make_facts(asked: Asked, digest: str) -> Facts:
    subject = Subject(
        cell="pytorch-py3.10-cu118",
        ref="registry.example/team/pytorch:2.7.1-cu118-py310",
        digest=digest,
        base_ref=BASE.ref,
        base_digest=BASE.digest,
        environment=CELL,
        created=datetime(2026, 1, 2, tzinfo=UTC),
    )
    return Facts(
        subject=subject,
        sources={"images/pytorch/image.yaml": "1" * 64},
        builder_id="https://ci.example/builder",
        revision=None,
        checks="sha256:" + "c" * 64,
        list_files=asked.list,
        find_verdicts=asked.find,
        measure=lambda: 1234,
    )


def add_image(fake: FakeRegistry, *tags: str, **layers: int) -> Descriptor:
    told = fake.add_image(NAME, *tags, layers=layers or None)
    return Descriptor(media_type=told["mediaType"], digest=told["digest"], size=told["size"])


def read_documents(writer: Writer, image: Descriptor) -> dict[str, bytes]:
    documents = {}
    for referrer in writer.list_referrers(NAME, image.digest):
        manifest = writer.read(NAME, referrer.digest)
        assert manifest is not None
        blobs = parse_descriptors(manifest.parse()["layers"], "here")
        if kind := dict(referrer.annotations).get(DOCUMENT):
            documents[kind] = b"".join(writer.read_blob(NAME, blob) for blob in blobs)
    return documents


@pytest.mark.parametrize("has_api", [True, False])
def test_each_document_is_attached_once_with_its_type(fake: FakeRegistry, writer: Writer, has_api: bool) -> None:
    fake.has_referrers = has_api
    image, asked = add_image(fake, "1"), Asked()
    attach_documents(writer, NAME, image, make_facts(asked, image.digest))
    listed = writer.list_referrers(NAME, image.digest)
    assert {dict(it.annotations)[DOCUMENT]: it.artifact_type for it in listed} == TYPES
    told = {dict(it.annotations).get(PREDICATE_TYPE) for it in listed}
    assert told == {None, "https://slsa.dev/provenance/v1", "https://in-toto.io/attestation/test-result/v0.1"}
    assert [size for it in listed if (size := dict(it.annotations).get(UNPACKED))] == ["1234"]
    fake.asked.clear()
    attach_documents(writer, NAME, image, make_facts(asked, image.digest))
    assert len(fake.asked) == (1 if has_api else 2), "the list, and nothing else"
    assert asked == {"inventory": 1, "verdicts": 1}


def test_documents_are_about_the_image_and_the_bill_can_be_read(fake: FakeRegistry, writer: Writer) -> None:
    image = add_image(fake, "1")
    attach_documents(writer, NAME, image, make_facts(Asked(), image.digest))
    documents = read_documents(writer, image)
    for kind, data in documents.items():
        assert (image.digest.removeprefix("sha256:").encode() in data) == (kind != "files"), kind
    assert len(parse_bill(documents["cyclonedx"], "here")) == len(CELL.conda) + len(CELL.pip)


@pytest.mark.parametrize("kind", TYPES)
def test_only_what_is_missing_is_made(fake: FakeRegistry, writer: Writer, kind: str) -> None:
    image = add_image(fake, "1")
    attach_documents(writer, NAME, image, make_facts(Asked(), image.digest))
    listed = fake.referrers[image.digest]
    (gone,) = (it for it in listed if it["annotations"].get(DOCUMENT) == kind)
    listed.remove(gone)
    asked = Asked()
    attach_documents(writer, NAME, image, make_facts(asked, image.digest))
    assert listed[-1] == gone, "the same document has the same digest"
    files = {"inventory": 1}
    assert dict(asked) == {"cyclonedx": files, "files": files, "checks": {"verdicts": 1}}.get(kind, {})


def test_document_that_another_dropped_from_the_list_meanwhile_is_listed_again(
    fake: FakeRegistry, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = add_image(fake, "1")
    attach = writer.attach
    dropped: list[object] = []

    def attach_and_lose(*arguments: Any) -> Descriptor:
        done = attach(*arguments)
        listed = fake.referrers[image.digest]
        if len(listed) == len(TYPES) and not dropped:
            dropped.append(listed.pop(0))
        return done

    monkeypatch.setattr(writer, "attach", attach_and_lose)
    attach_documents(writer, NAME, image, make_facts(Asked(), image.digest))
    assert len(dropped) == 1
    assert dropped[0] in fake.referrers[image.digest]


def test_what_others_attached_counts_for_none_of_ours(fake: FakeRegistry, writer: Writer) -> None:
    image = add_image(fake, "1")
    told = {"mediaType": image.media_type, "digest": image.digest, "size": image.size}
    fake.attach(NAME, told, TYPES["cyclonedx"], b"a scanner's")
    attach_documents(writer, NAME, image, make_facts(Asked(), image.digest))
    assert len(fake.referrers[image.digest]) == 1 + len(TYPES)


def test_fault_says_what_was_going_on(fake: FakeRegistry, writer: Writer) -> None:
    image = add_image(fake, "1")
    fake.faults, fake.failing = [503] * 100, "PUT"
    with pytest.raises(RegistryError, match=r"-cu118-py310: its documents cannot be attached") as caught:
        attach_documents(writer, NAME, image, make_facts(Asked(), image.digest))
    assert caught.value.exit_code == 10
    assert caught.value.hint


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_refusal_of_whatever_cause_says_where_more_is_told_and_gives_no_document_up(
    fake: FakeRegistry, writer: Writer, method: str
) -> None:
    """As of a proxy on the way, which takes no body of that size."""
    image = add_image(fake, "1")
    fake.faults, fake.failing = [413] * 100, method
    with pytest.raises(RegistryError, match=r"its documents cannot be attached: .* it answers 413") as caught:
        attach_documents(writer, NAME, image, make_facts(Asked(), image.digest))
    assert "The registry's own log says more." in str(caught.value)
    assert "--no-documents" not in str(caught.value)


def test_sources_are_the_definition_what_it_extends_and_the_lock(tmp_path: Path) -> None:
    shutil.copytree(PROJECT / "images", tmp_path / "images")
    (tmp_path / "images" / "jupyter-ssh" / "imgbuild.lock").write_text("the lock")
    found = digest_sources(load_project(tmp_path), "jupyter-ssh")
    assert list(found) == [
        "images/jupyter-ssh/image.yaml",
        "images/jupyter/image.yaml",
        "images/pytorch/image.yaml",
        "images/base/image.yaml",
        "images/jupyter-ssh/imgbuild.lock",
    ]
    assert found["images/jupyter-ssh/imgbuild.lock"] == hashlib.sha256(b"the lock").hexdigest()


class Engine:
    """It has one image, which a push puts into the registry as it is."""

    def __init__(self, fake: FakeRegistry, **layers: int) -> None:
        self.fake, self.layers = fake, layers
        image = FakeRegistry().add_image(NAME, layers=layers)
        self.image_id: str = image["digest"]
        self.pushed: list[str] = []

    def measure(self, image_id: str) -> int:
        assert image_id == self.image_id
        return sum(self.layers.values())

    def push(self, image_id: str, ref: str) -> Iterator[Any]:
        assert image_id == self.image_id
        self.pushed.append(ref.rpartition(":")[2])
        self.fake.add_image(NAME, self.pushed[-1], layers=self.layers)
        yield from ()


@pytest.fixture
def locked() -> LockedCell:
    (made,) = make_locked((make_job(aliases=(("latest", "cu118-py310"),)), CELL))
    return made


def make_publisher(engine: Engine, writer: Writer, **more: Any) -> Publisher:
    values: dict[str, Any] = {"engine": engine, "writer": writer, "path": "team", **more}
    return Publisher(**values, sources={"pytorch": {}}, builder_id="https://ci.example/builder")


def run(publisher: Publisher, engine: Engine, locked: LockedCell, recipe: str = MADE_FROM) -> tuple[str, list[str]]:
    said: list[str] = []
    ref = publisher.publish(
        engine.image_id,
        locked,
        CONTEXT,
        recipe,
        find_verdicts=lambda: FOUND,
        take_inventory=make_inventory,
        report=said.append,
    )
    return ref, said


def promote(staging: Staging, locked: LockedCell) -> tuple[str, ...]:
    return staging.promote(locked.job, locked.environment, staging.find(locked.job), FOUND)


def test_tags_move_after_everything_else(fake: FakeRegistry, writer: Writer, locked: LockedCell) -> None:
    engine = Engine(fake, one=1)
    publisher = make_publisher(engine, writer)
    ref, said = run(publisher, engine, locked)
    assert ref == f"{fake.address}/{NAME}:2.7.1-cu118-py310"
    lasting = tag_lasting(locked.job, CONTEXT)
    assert fake.tags[NAME] == dict.fromkeys((lasting, "2.7.1-cu118-py310", "latest"), engine.image_id)
    assert engine.pushed == [lasting]
    last = [path.rpartition("/")[2] for path in fake.sent("PUT")][-2:]
    assert last == ["2.7.1-cu118-py310", "latest"]
    assert said == ["pushing the image", "attaching its documents", "moving its tags"]
    results = json.loads(read_documents(writer, Descriptor(media_type="", digest=engine.image_id, size=0))["checks"])
    checks = results["predicate"]["configuration"][0]["digest"]["sha256"]
    assert f"sha256:{checks}" == digest_checks(locked.job.definition)
    fake.asked.clear()
    assert run(publisher, engine, locked)[0] == ref
    assert not fake.sent()
    assert engine.pushed == [lasting]


def test_no_tag_moves_while_documents_are_missing(fake: FakeRegistry, writer: Writer, locked: LockedCell) -> None:
    engine = Engine(fake, one=1)
    old = add_image(fake, "2.7.1-cu118-py310", "latest", old=1)
    publisher = make_publisher(engine, writer)
    fake.faults, fake.failing = [403] * 2, "POST"
    with pytest.raises(RegistryError, match="cannot be attached"):
        run(publisher, engine, locked)
    assert [fake.tags[NAME][tag] for tag in ("2.7.1-cu118-py310", "latest")] == [old.digest] * 2
    fake.faults = []
    run(publisher, engine, locked)
    assert {fake.tags[NAME][tag] for tag in ("2.7.1-cu118-py310", "latest")} == {engine.image_id}


def test_image_that_fails_its_checks_when_it_is_to_be_published_is_not_pushed(
    fake: FakeRegistry, writer: Writer, locked: LockedCell
) -> None:
    """As one that the engine has under the cell's ref from elsewhere, where nobody knows what its checks found."""
    engine = Engine(fake, one=1)

    def fail() -> tuple[Verdict, ...]:
        raise CheckError("no-secrets")

    with pytest.raises(CheckError):
        make_publisher(engine, writer).publish(
            engine.image_id,
            locked,
            CONTEXT,
            MADE_FROM,
            find_verdicts=fail,
            take_inventory=make_inventory,
            report=lambda _: None,
        )
    assert engine.pushed == []
    assert fake.tags == {}


def test_lasting_tag_stays_and_another_image_from_the_same_has_its_own(
    fake: FakeRegistry, writer: Writer, locked: LockedCell
) -> None:
    engines = [Engine(fake, one=1), Engine(fake, other=1)]
    for engine in (*engines, engines[1]):
        run(make_publisher(engine, writer), engine, locked)
    lasting = tag_lasting(locked.job, CONTEXT)
    own = tag_image(locked.job, engines[1].image_id)
    assert [engine.pushed for engine in engines] == [[lasting], [own]]
    first, second = (engine.image_id for engine in engines)
    assert fake.tags[NAME] == {lasting: first, own: second, "2.7.1-cu118-py310": second, "latest": second}
    assert [len(fake.referrers[it]) for it in (first, second)] == [len(TYPES) + 1, len(TYPES) + 2]
    (replaced,) = (it for it in fake.referrers[second] if it["artifactType"] == REPLACED)
    assert replaced["annotations"]["dev.imgbuild.replaced"] == first


def test_image_that_the_engine_knows_by_its_configuration_is_found(
    fake: FakeRegistry, writer: Writer, locked: LockedCell
) -> None:
    engine = Engine(fake, one=1)
    image = FakeRegistry()
    told = image.add_image(NAME, layers={"one": 1})
    engine.image_id = json.loads(image.manifests[NAME, told["digest"]][1])["config"]["digest"]
    run(make_publisher(engine, writer), engine, locked)
    run(make_publisher(engine, writer), engine, locked)
    assert engine.pushed == [tag_lasting(locked.job, CONTEXT)]
    assert fake.tags[NAME]["latest"] == told["digest"]


@pytest.mark.parametrize("kind", ["image", "index"])
def test_registry_that_has_another_image_under_both_tags_is_told(
    kind: str, fake: FakeRegistry, writer: Writer, locked: LockedCell
) -> None:
    engine = Engine(fake, one=1)
    tags = (tag_lasting(locked.job, CONTEXT), tag_image(locked.job, engine.image_id))
    if kind == "index":
        fake.add_manifest(NAME, {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}, *tags)
    else:
        add_image(fake, *tags, strange=1)
    with pytest.raises(RegistryError, match="is not the image that was pushed there"):
        run(make_publisher(engine, writer), engine, locked)
    assert "latest" not in fake.tags[NAME]


def test_publishing_can_be_cancelled(fake: FakeRegistry, writer: Writer, locked: LockedCell) -> None:
    engine = Engine(fake, one=1)
    publisher = make_publisher(engine, writer)

    def cancel(text: str) -> None:
        if text == "attaching its documents":
            publisher.cancel()

    with pytest.raises(Cancelled):
        publisher.publish(
            engine.image_id,
            locked,
            CONTEXT,
            MADE_FROM,
            find_verdicts=lambda: FOUND,
            take_inventory=make_inventory,
            report=cancel,
        )
    assert list(fake.tags[NAME]) == [tag_lasting(locked.job, CONTEXT)]


def test_image_can_be_staged_now_and_its_tags_moved_later(
    fake: FakeRegistry, writer: Writer, locked: LockedCell
) -> None:
    engine = Engine(fake, one=1)
    lasting = tag_lasting(locked.job, CONTEXT)
    place = f"{fake.address}/team"
    ref, said = run(make_publisher(engine, writer, staged=True), engine, locked)
    assert ref == f"{place}/pytorch:{lasting}"
    assert list(fake.tags[NAME]) == [lasting, f"{lasting}-staged"]
    assert said == ["pushing the image", "attaching its documents"]
    staging = Staging(registry=writer, place=place, contexts={locked.id: CONTEXT})
    assert staging.find(locked.job).digest == engine.image_id
    fake.asked.clear()
    tags = ("2.7.1-cu118-py310", "latest")
    assert promote(staging, locked) == tuple(f"{place}/pytorch:{tag}" for tag in tags)
    assert fake.sent("PUT")[-2:] == [f"/v2/{NAME}/manifests/{tag}" for tag in tags]
    results = read_documents(writer, Descriptor(media_type="", digest=engine.image_id, size=0))[RETEST]
    assert parse_results(json.loads(results)) == {it.check: it.verdict for it in FOUND}
    fake.asked.clear()
    assert promote(staging, locked)
    assert not fake.sent()


@pytest.mark.parametrize("staged", [False, True])
def test_registry_that_takes_no_artifacts_gets_images_where_that_is_asked_for(
    fake: FakeRegistry, writer: Writer, locked: LockedCell, staged: bool
) -> None:
    fake.refuses = ('"subject"',)
    engine, moving = Engine(fake, one=1), ["2.7.1-cu118-py310", "latest"]
    with pytest.raises(RegistryError, match=r"cannot be attached: .* \(MANIFEST_INVALID\)") as caught:
        run(make_publisher(engine, writer), engine, locked)
    assert "The registry's own log says more. Does it take artifacts at all" in str(caught.value)
    assert "--no-documents" in str(caught.value)
    _, said = run(make_publisher(engine, writer, documents=False, staged=staged), engine, locked)
    assert "attaching its documents" not in said
    if staged:
        staging = Staging(
            registry=writer, place=f"{fake.address}/team", contexts={locked.id: CONTEXT}, documents=False
        )
        assert not set(moving) & set(fake.tags[NAME])
        promote(staging, locked)
    assert [fake.tags[NAME][tag] for tag in moving] == [engine.image_id] * 2
    assert fake.referrers == {}


@pytest.mark.parametrize("kind", TYPES)
def test_image_whose_publishing_was_stopped_gets_no_tag(
    fake: FakeRegistry, writer: Writer, locked: LockedCell, kind: str
) -> None:
    engine = Engine(fake, one=1)
    run(make_publisher(engine, writer, staged=True), engine, locked)
    lasting = tag_lasting(locked.job, CONTEXT)
    listed = fake.referrers[engine.image_id]
    listed.remove(next(it for it in listed if it["annotations"].get(DOCUMENT) == kind))
    staging = Staging(registry=writer, place=f"{fake.address}/team", contexts={locked.id: CONTEXT})
    with pytest.raises(RegistryError, match=f"lacks documents: {kind}\n") as caught:
        promote(staging, locked)
    assert caught.value.hint
    assert list(fake.tags[NAME]) == [lasting, f"{lasting}-staged"]
    run(make_publisher(engine, writer, staged=True), engine, locked)
    assert promote(staging, locked)


def test_image_that_was_built_once_more_is_the_one_that_waits(
    fake: FakeRegistry, writer: Writer, locked: LockedCell
) -> None:
    """As with a newer package of apt's: the tag that lasts stays the first image, which is not what was staged."""
    engines = [Engine(fake, one=1), Engine(fake, other=1)]
    staging = Staging(registry=writer, place=f"{fake.address}/team", contexts={locked.id: CONTEXT})
    for engine in (*engines, engines[0]):
        run(make_publisher(engine, writer, staged=True), engine, locked)
        assert staging.find(locked.job).digest == engine.image_id
    fake.asked.clear()
    run(make_publisher(engines[0], writer, staged=True), engines[0], locked)
    assert not fake.sent()


def test_image_that_never_waited_is_found_by_its_tag_that_lasts(
    fake: FakeRegistry, writer: Writer, locked: LockedCell
) -> None:
    engine = Engine(fake, one=1)
    staging = Staging(registry=writer, place=f"{fake.address}/team", contexts={locked.id: CONTEXT})
    with pytest.raises(CheckError, match="is not in the registry"):
        staging.find(locked.job)
    run(make_publisher(engine, writer), engine, locked)
    assert staging.find(locked.job).digest == engine.image_id
