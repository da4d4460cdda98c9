"""Writing to a registry: blobs, manifests, tags, and what is attached to an image, whatever happens on the way."""

from __future__ import annotations

import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from builder.errors import RegistryError
from builder.registry import transport
from builder.registry.content import ContentError, Descriptor, digest_of
from builder.registry.place import Place
from builder.registry.writing import Artifact, RefusedError, Writer, make_manifest
from tests.registry import INDEX, FakeRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from builder.registry.token import Login

NAME = "team/app"
KIND = "application/vnd.cyclonedx+json"
BILL = Artifact(artifact_type=KIND, media_type=KIND, blobs=(b'{"bill": 1}',), annotations=(("dev.example", "1"),))
STATEMENT = Artifact(artifact_type="application/vnd.in-toto+json", media_type="application/json", blobs=(b"{}",))


@pytest.fixture
def connect(fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Writer]]:
    monkeypatch.setattr(transport, "_PAUSES", (0.01,) * 7)
    made: list[Writer] = []

    def call(login: Login = None, **more: Any) -> Writer:
        made.append(Writer(Place(host=fake.address, url=f"http://{fake.address}"), lambda _: login, **more))
        return made[-1]

    yield call
    for writer in made:
        writer.__exit__()


@pytest.fixture
def image(fake: FakeRegistry) -> Descriptor:
    told = fake.add_image(NAME, "1")
    return Descriptor(media_type=told["mediaType"], digest=told["digest"], size=told["size"])


@pytest.mark.parametrize("relative", [True, False])
def test_blob_is_sent_once(fake: FakeRegistry, connect: Callable[..., Writer], relative: bool) -> None:
    fake.relative = relative
    writer = connect()
    assert writer.put_blob(NAME, b"some bytes") == digest_of(b"some bytes")
    assert fake.blobs == {digest_of(b"some bytes"): b"some bytes"}
    fake.asked.clear()
    writer.put_blob(NAME, b"some bytes")
    assert [method for method, *_ in fake.asked] == ["HEAD"]


def test_registry_gets_no_cookie_back(fake: FakeRegistry, connect: Callable[..., Writer]) -> None:
    fake.headers = {"Set-Cookie": "sid=1; Path=/"}
    connect().put_blob(NAME, b"some bytes")
    assert digest_of(b"some bytes") in fake.blobs
    assert fake.cookies == []


def test_upload_goes_where_the_registry_says_however_it_writes_its_host(fake: FakeRegistry) -> None:
    fake.relative, fake.address = False, fake.address.replace("127.0.0.1", "localhost")
    with Writer(Place(host=fake.address, url=f"http://{fake.address.upper()}"), lambda _: None) as writer:
        writer.put_blob(NAME, b"some bytes")
    assert digest_of(b"some bytes") in fake.blobs


@pytest.mark.parametrize(
    "place", ["http://elsewhere.example/upload", "//elsewhere.example/upload", "file:///upload", "http://[::1/x"]
)
def test_upload_to_another_host_is_refused(fake: FakeRegistry, connect: Callable[..., Writer], place: str) -> None:
    fake.faults, fake.failing, fake.headers = [202], "POST", {"Location": place}
    with pytest.raises(ContentError, match="another host") as caught:
        connect().put_blob(NAME, b"some bytes")
    assert "the host that it calls itself" in str(caught.value)
    assert not fake.sent("PUT")


@pytest.mark.parametrize(
    ("method", "fault"),
    [("GET", "cut"), *itertools.product(["HEAD", "POST", "PUT"], ["reset", "lost", 429, 500, 502, 503, 504])],
)
def test_what_fails_five_times_in_a_row_is_written(
    fake: FakeRegistry, connect: Callable[..., Writer], image: Descriptor, method: str, fault: int | str
) -> None:
    fake.faults, fake.failing = [fault] * 5, method
    writer = connect()
    made = writer.attach(NAME, image, BILL)
    assert fake.faults == []
    assert [it.digest for it in writer.list_referrers(NAME, image.digest)] == [made.digest]


def test_upload_that_cannot_be_ended_is_begun_anew(fake: FakeRegistry, connect: Callable[..., Writer]) -> None:
    fake.faults, fake.failing = [404, 416, 400], "PUT"
    connect().put_blob(NAME, b"some bytes")
    assert len(fake.sent("POST")) == 4
    assert digest_of(b"some bytes") in fake.blobs


def test_registry_that_takes_no_blob_is_told(fake: FakeRegistry, connect: Callable[..., Writer]) -> None:
    fake.faults, fake.failing = [405] * 100, "POST"
    with pytest.raises(RegistryError, match="it answers 405") as caught:
        connect().put_blob(NAME, b"some bytes")
    assert caught.value.exit_code == 10
    assert caught.value.hint


def test_reason_of_a_refusal_is_told(fake: FakeRegistry, connect: Callable[..., Writer]) -> None:
    _, data = make_manifest(Descriptor(media_type="m", digest=digest_of(b""), size=0), BILL)
    with pytest.raises(RegistryError, match=r"it answers 400 \(MANIFEST_BLOB_UNKNOWN\)"):
        connect().put_manifest(NAME, digest_of(data), data, "application/vnd.oci.image.manifest.v1+json")
    assert not fake.manifests


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_login_is_one_that_may_push(
    fake: FakeRegistry, connect: Callable[..., Writer], image: Descriptor, auth: str
) -> None:
    fake.auth = auth
    connect(("reader", "s3cret")).attach(NAME, image, BILL)
    assert fake.referrers[image.digest]
    assert len([path for path in fake.paths if path.startswith("/token")]) == (1 if auth == "bearer" else 0)
    with pytest.raises(RegistryError, match="access denied") as caught:
        connect(("reader", "wrong")).put_blob(NAME, b"other")
    assert "as a user who may push there" in str(caught.value)


def test_tag_moves_to_a_digest_without_a_blob(
    fake: FakeRegistry, connect: Callable[..., Writer], image: Descriptor
) -> None:
    other = fake.add_image(NAME, "latest", layers={"other": 1})
    writer = connect()
    assert writer.copy_tag(NAME, image.digest, "latest")
    assert fake.tags[NAME] == {"1": image.digest, "latest": image.digest}
    assert fake.manifests[NAME, other["digest"]], "what the tag meant is still there"
    assert fake.sent() == [f"/v2/{NAME}/manifests/latest"]
    assert not [path for path in fake.paths if "/blobs/" in path]
    fake.asked.clear()
    assert not writer.copy_tag(NAME, image.digest, "latest")
    assert [method for method, *_ in fake.asked] == ["HEAD"]


def test_tag_of_a_manifest_that_is_not_there_stays(
    fake: FakeRegistry, connect: Callable[..., Writer], image: Descriptor
) -> None:
    with pytest.raises(ContentError, match=f"has no {digest_of(b'none')}"):
        connect().copy_tag(NAME, digest_of(b"none"), "1")
    assert fake.tags[NAME] == {"1": image.digest}


@pytest.mark.parametrize("has_api", [True, False])
def test_what_is_attached_can_be_read_and_is_attached_once(
    fake: FakeRegistry, connect: Callable[..., Writer], image: Descriptor, has_api: bool
) -> None:
    fake.has_referrers = has_api
    writer = connect()
    made = [writer.attach(NAME, image, artifact) for artifact in (BILL, STATEMENT)]
    assert list(writer.list_referrers(NAME, image.digest)) == made
    fake.asked.clear()
    assert [writer.attach(NAME, image, artifact) for artifact in (BILL, STATEMENT)] == made
    assert not fake.sent()
    assert (f"sha256-{image.digest[7:]}" in fake.tags[NAME]) is not has_api


def test_manifest_says_what_the_specification_asks_for(
    fake: FakeRegistry, connect: Callable[..., Writer], image: Descriptor
) -> None:
    made = connect().attach(NAME, image, BILL)
    told = json.loads(fake.manifests[NAME, made.digest][1])
    assert told["artifactType"] == KIND
    assert told["config"] == {
        "mediaType": "application/vnd.oci.empty.v1+json",
        "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        "size": 2,
    }
    assert told["layers"] == [{"mediaType": KIND, "digest": digest_of(BILL.blobs[0]), "size": len(BILL.blobs[0])}]
    assert told["subject"] == {"mediaType": image.media_type, "digest": image.digest, "size": image.size}
    assert told["annotations"] == {"dev.example": "1"}


@pytest.mark.parametrize("has_api", [True, False])
@pytest.mark.parametrize("refused", ['"artifactType":"', "application/vnd.oci.empty.v1+json"])
def test_registry_that_knows_no_artifacts_gets_a_manifest_that_it_takes(
    fake: FakeRegistry, connect: Callable[..., Writer], image: Descriptor, refused: str, has_api: bool
) -> None:
    fake.refuses, fake.has_referrers = (refused,), has_api
    writer = connect()
    made = writer.attach(NAME, image, BILL)
    assert writer.list_referrers(NAME, image.digest) == (made,)
    assert made.artifact_type == KIND
    told = json.loads(fake.manifests[NAME, made.digest][1])
    assert "artifactType" not in told
    assert told["config"]["mediaType"] == KIND
    assert told["subject"]["digest"] == image.digest
    fake.asked.clear()
    assert writer.attach(NAME, image, BILL) == made
    assert not fake.sent()


def test_registry_that_takes_no_artifact_at_all_is_told_with_the_first_reason(
    fake: FakeRegistry, connect: Callable[..., Writer], image: Descriptor
) -> None:
    fake.refuses = ('"subject"',)
    today, _ = make_manifest(image, BILL)
    with pytest.raises(RefusedError, match=rf"{today['digest']}: it answers 400 \(MANIFEST_INVALID\)"):
        connect().attach(NAME, image, BILL)


def test_list_keeps_what_others_wrote_there_to_the_letter(
    fake: FakeRegistry, connect: Callable[..., Writer], image: Descriptor
) -> None:
    fake.has_referrers = False
    tag = image.digest.replace(":", "-")
    other = {"mediaType": "m", "digest": digest_of(b"x"), "size": 1, "data": "eA==", "urls": ["https://x.example"]}
    listed = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [other], "annotations": {"a": "b"}}
    fake.add_manifest(NAME, listed, tag)
    made = connect().attach(NAME, image, BILL)
    told = json.loads(fake.manifests[NAME, fake.tags[NAME][tag]][1])
    assert told["annotations"] == {"a": "b"}
    assert told["manifests"][0] == other
    assert told["manifests"][1]["digest"] == made.digest
    assert told["manifests"][1]["artifactType"] == KIND


def test_list_that_another_overwrites_is_written_again(
    fake: FakeRegistry, connect: Callable[..., Writer], image: Descriptor
) -> None:
    """Another client has read the list before ours came, and writes it afterwards."""
    fake.has_referrers = False
    tag = image.digest.replace(":", "-")
    other = {"mediaType": "m", "digest": digest_of(b"x"), "size": 1}
    writer = connect()
    read, rounds = writer.read, []

    def read_and_overwrite(repository: str, target: str) -> Any:
        if target == tag:
            rounds.append(target)
            if len(rounds) == 3:  # listed before, then read, written, and now overwritten
                fake.add_manifest(NAME, {"schemaVersion": 2, "mediaType": INDEX, "manifests": [other]}, tag)
        return read(repository, target)

    writer.read = read_and_overwrite  # type: ignore[method-assign]
    made = writer.attach(NAME, image, BILL)
    assert {it.digest for it in writer.list_referrers(NAME, image.digest)} == {made.digest, other["digest"]}


def test_many_threads_that_attach_lose_nothing(
    fake: FakeRegistry, connect: Callable[..., Writer], image: Descriptor
) -> None:
    fake.has_referrers = False
    writer = connect()
    artifacts = [Artifact(artifact_type=KIND, media_type=KIND, blobs=(b"%d" % number,)) for number in range(12)]
    with ThreadPoolExecutor(6) as pool:
        made = {it.digest for it in pool.map(lambda it: writer.attach(NAME, image, it), artifacts)}
    assert {it.digest for it in writer.list_referrers(NAME, image.digest)} == made
    assert len(made) == 12


def test_blob_that_several_have_at_the_same_time_is_sent_once(
    fake: FakeRegistry, connect: Callable[..., Writer]
) -> None:
    writer = connect()
    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(lambda _: writer.put_blob(NAME, b"shared"), range(12))) == {digest_of(b"shared")}
    assert len(fake.sent("PUT")) == 1


def test_artifact_may_have_several_payloads(
    fake: FakeRegistry, connect: Callable[..., Writer], image: Descriptor
) -> None:
    made = connect().attach(NAME, image, Artifact(artifact_type="a/b", media_type=KIND, blobs=(b"one", b"two")))
    layers = json.loads(fake.manifests[NAME, made.digest][1])["layers"]
    assert [(it["mediaType"], fake.blobs[it["digest"]]) for it in layers] == [(KIND, b"one"), (KIND, b"two")]


def test_tag_that_is_no_list_is_left_alone(
    fake: FakeRegistry, connect: Callable[..., Writer], image: Descriptor
) -> None:
    fake.has_referrers = False
    tag = image.digest.replace(":", "-")
    fake.add_image(NAME, tag, layers={"other": 1})
    before = fake.tags[NAME][tag]
    with pytest.raises(ContentError, match="no list of what is attached"):
        connect().attach(NAME, image, BILL)
    assert fake.tags[NAME][tag] == before
