"""Reading a registry: what it has, whatever it does on the way, and what a person is told when it cannot be had."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import Cancelled, RegistryError
from builder.registry import transport
from builder.registry.client import Registry
from builder.registry.content import ContentError, parse_descriptors
from builder.registry.image import read_image
from builder.registry.place import Place
from tests.registry import INDEX, LAYER, MANIFEST, FakeRegistry, run_fake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from builder.registry.token import Login

NAME = "team/app"
ARTIFACT = "application/vnd.cyclonedx+json"
Open = "Callable[..., Registry]"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_PAUSES", (0.01,) * 7)


@pytest.fixture
def connect(fake: FakeRegistry, quick: None) -> Iterator[Callable[..., Registry]]:  # noqa: ARG001
    made: list[Registry] = []

    def call(login: Login = None, **more: Any) -> Registry:
        made.append(Registry(Place(host=fake.address, url=f"http://{fake.address}"), lambda _: login, **more))
        return made[-1]

    yield call
    for registry in made:
        registry.__exit__()


def test_tag_leads_to_the_image(fake: FakeRegistry, connect: Callable[..., Registry]) -> None:
    told = fake.add_image(NAME, "1", labels={"a": "b"}, layers={"base": 100, "top": 11}, env=("X=1=2",))
    registry = connect()
    image = read_image(registry, NAME, "1")
    assert image is not None
    assert (image.digest, image.manifest) == (told["digest"], told["digest"])
    assert (image.compressed, image.labels, image.environment["X"]) == (111, {"a": "b"}, "1=2")
    found = registry.find(NAME, "1")
    assert found is not None
    assert (found.digest, found.size, found.media_type) == (told["digest"], told["size"], MANIFEST)
    assert read_image(registry, NAME, told["digest"]) == image


def test_what_is_not_there_is_none(fake: FakeRegistry, connect: Callable[..., Registry]) -> None:
    fake.add_image(NAME, "1")
    registry = connect()
    assert registry.find(NAME, "2") is None
    assert registry.read("team/other", "1") is None
    assert read_image(registry, NAME, "2") is None
    assert registry.list_tags("team/other") == ()


def test_index_leads_to_the_image_for_this_platform(fake: FakeRegistry, connect: Callable[..., Registry]) -> None:
    ours = fake.add_image(NAME, layers={"ours": 1})
    other = fake.add_image(NAME, layers={"other": 1})
    platforms = ((other, "arm64", "linux"), (ours, "amd64", "linux"), (other, "unknown", "unknown"))
    manifests = [{**it, "platform": {"architecture": arch, "os": system}} for it, arch, system in platforms]
    told = fake.add_manifest(NAME, {"mediaType": INDEX, "manifests": manifests}, "1")
    image = read_image(connect(), NAME, "1")
    assert image is not None
    assert (image.digest, image.manifest) == (told["digest"], ours["digest"])


def test_registry_that_tells_no_digest_is_read_all_the_same(
    fake: FakeRegistry, connect: Callable[..., Registry]
) -> None:
    told = fake.add_image(NAME, "1")
    fake.tells_digest = False
    found = connect().find(NAME, "1")
    assert found is not None
    assert (found.digest, found.size) == (told["digest"], told["size"])


def test_tags_of_all_pages_are_listed(fake: FakeRegistry, connect: Callable[..., Registry]) -> None:
    fake.page = 3
    tags = [f"1.{n}" for n in range(10)]
    fake.add_image(NAME, *tags)
    assert connect().list_tags(NAME) == tuple(sorted(tags))
    assert len(fake.asked) == 4


def test_repositories_of_all_pages_are_listed(fake: FakeRegistry, connect: Callable[..., Registry]) -> None:
    names = [f"team/image-{number}" for number in range(7)]
    for name in names:
        fake.add_image(name, "newest")
    fake.tags["Team/no-name"] = {}
    fake.page = 3
    with connect() as registry:
        assert registry.list_repositories() == tuple(names)


@pytest.mark.parametrize("place", ["http://elsewhere.example/v2/", "http://[::1/x"])
def test_next_page_on_another_host_is_refused(
    fake: FakeRegistry, connect: Callable[..., Registry], place: str
) -> None:
    fake.add_image(NAME, "1")
    fake.headers = {"Link": f'<{place}>; rel="next"'}
    with pytest.raises(ContentError, match="on another host") as caught:
        connect().list_tags(NAME)
    assert "the host that it calls itself" in str(caught.value)


def test_page_that_leads_to_itself_ends(fake: FakeRegistry, connect: Callable[..., Registry]) -> None:
    fake.add_image(NAME, "1")
    fake.headers = {"Link": f'</v2/{NAME}/tags/list?n=1000>; rel="next"'}
    assert connect().list_tags(NAME) == ("1",)
    assert len(fake.asked) == 1


@pytest.mark.parametrize("has_api", [True, False])
def test_what_is_attached_is_found_with_the_api_and_without(
    fake: FakeRegistry, connect: Callable[..., Registry], has_api: bool
) -> None:
    fake.has_referrers = has_api
    image = fake.add_image(NAME, "1")
    registry = connect()
    assert registry.list_referrers(NAME, image["digest"]) == ()
    made = fake.attach(NAME, image, ARTIFACT, b"{}")
    (found,) = registry.list_referrers(NAME, image["digest"])
    assert (found.digest, found.artifact_type) == (made["digest"], ARTIFACT)


@pytest.mark.parametrize(("auth", "login"), [("basic", ("reader", "s3cret")), ("bearer", ("reader", "s3cret"))])
def test_login_is_given_where_it_is_asked_for(
    fake: FakeRegistry, connect: Callable[..., Registry], auth: str, login: Login
) -> None:
    fake.auth = auth
    fake.add_image(NAME, "1")
    fake.add_image("team/other", "1")
    registry = connect(login)
    registry.require()
    for name in (NAME, "team/other", NAME):
        assert registry.find(name, "1") is not None
    assert fake.asked[0][2] == ""
    assert sum(path.startswith("/token") for path in fake.paths) == (3 if auth == "bearer" else 0)


def test_identity_token_is_exchanged(fake: FakeRegistry, connect: Callable[..., Registry]) -> None:
    fake.auth, fake.login = "bearer", "identity"
    fake.add_image(NAME, "1")
    assert connect(("", "identity")).find(NAME, "1") is not None
    assert [method for method, path, _ in fake.asked if path.startswith("/token")] == ["POST"]
    assert not any("identity" in path for path in fake.paths)


def test_identity_token_is_not_for_where_a_token_server_leads(
    fake: FakeRegistry, connect: Callable[..., Registry]
) -> None:
    fake.auth, fake.login = "bearer", "identity"
    with run_fake() as other:
        fake.faults, fake.failing = [307], "POST"
        fake.headers = {"Location": f"http://{other.address}/token"}
        with pytest.raises(RegistryError, match="access denied"):
            connect(("", "identity")).find(NAME, "1")
        assert other.asked == []


@pytest.mark.parametrize("auth", ["basic", "bearer"])
@pytest.mark.parametrize("login", [None, ("reader", "canary"), ("", "canary")])
def test_wrong_login_is_told_and_never_shown(
    fake: FakeRegistry, connect: Callable[..., Registry], auth: str, login: Login
) -> None:
    fake.auth = auth
    with pytest.raises(RegistryError, match="access denied") as caught:
        connect(login).require()
    assert f"docker login {fake.address}" in str(caught.value)
    assert caught.value.exit_code == 10
    assert "canary" not in str(caught.value)
    assert base64.b64encode(b"reader:canary").decode() not in repr(caught.value.__cause__)


def test_token_that_has_expired_is_asked_for_anew(fake: FakeRegistry, connect: Callable[..., Registry]) -> None:
    fake.auth = "bearer"
    fake.add_image(NAME, "1")
    registry = connect(("reader", "s3cret"))
    assert registry.find(NAME, "1") is not None
    fake.faults = []
    registry._transport._tokens[f"repository:{NAME}:pull"] = "Bearer old"
    assert registry.find(NAME, "1") is not None


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_login_is_not_for_where_a_registry_leads(
    fake: FakeRegistry, connect: Callable[..., Registry], auth: str
) -> None:
    """As containerd once gave it to whoever stores a layer (CVE-2020-15157)."""
    with run_fake() as other:
        other.auth = auth
        fake.faults, fake.headers = [307] * 2, {"Location": f"http://{other.address}/v2/{NAME}/manifests/1"}
        with pytest.raises(RegistryError, match=f"{other.address}.* asks for a login") as caught:
            connect(("reader", "s3cret")).find(NAME, "1")
        assert caught.value.hint
        assert {given for *_, given in other.asked} == {""}
        assert not [path for path in other.paths if path.startswith("/token")]


def test_login_is_not_sent_in_the_clear_from_tls(fake: FakeRegistry) -> None:
    from builder.registry.token import answer_challenge

    place = Place(host="r.example", url="https://r.example")
    with pytest.raises(RegistryError, match="in the clear"):
        answer_challenge('Bearer realm="http://evil.example/token"', ("u", "p"), place, "")
    assert fake.asked == []


@pytest.mark.parametrize("realm", ["http://evil.example\\@127.0.0.1/token", "http://evil.example @localhost/token"])
def test_token_server_whose_host_depends_on_the_reader_is_refused(realm: str) -> None:
    from builder.registry.token import answer_challenge

    place = Place(host="r.example", url="https://r.example")
    with pytest.raises(RegistryError, match="does not say from where"):
        answer_challenge(f'Bearer realm="{realm}"', ("u", "p"), place, "")


def test_redirect_to_no_address_is_told(fake: FakeRegistry, connect: Callable[..., Registry]) -> None:
    fake.faults, fake.headers = [307], {"Location": "http://[::1/x"}
    with pytest.raises(RegistryError, match="it leads nowhere"):
        connect().require()


@pytest.mark.parametrize("fault", ["reset", "cut", "lie", 429, 500, 502, 503, 504])
def test_what_fails_five_times_in_a_row_arrives(
    fake: FakeRegistry, connect: Callable[..., Registry], fault: int | str
) -> None:
    fake.add_image(NAME, "1")
    fake.faults = [fault] * (2 if fault == "lie" else 5)
    image = read_image(connect(), NAME, "1")
    assert image is not None
    assert fake.faults == []


def test_pause_that_a_registry_asks_for_is_kept(fake: FakeRegistry, connect: Callable[..., Registry]) -> None:
    fake.add_image(NAME, "1")
    fake.faults, fake.headers = [429], {"Retry-After": "1"}
    began = time.monotonic()
    assert connect().find(NAME, "1") is not None
    assert time.monotonic() - began >= 1


@pytest.mark.parametrize("asked", ["3600", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_pause_longer_than_patience_is_not_waited_for(
    fake: FakeRegistry, connect: Callable[..., Registry], asked: str
) -> None:
    fake.faults, fake.headers = [429], {"Retry-After": asked}
    began = time.monotonic()
    with pytest.raises(RegistryError, match="answers 429"):
        connect(patience=5).require()
    assert time.monotonic() - began < 60


@contextlib.contextmanager
def run_slow(seconds: float) -> Iterator[str]:
    """Yield the address of a server that takes 16 MB, or gives them, in so many seconds."""
    size, steps = 16 * 1024 * 1024, 64

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError), listener.accept()[0] as connection:
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(4096)
            head, _, body = head.partition(b"\r\n\r\n")
            taken = len(body)
            while head.startswith(b"PUT") and taken < size:
                time.sleep(seconds / steps)
                taken += len(connection.recv(min(size // steps, size - taken), socket.MSG_WAITALL))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            for _ in range(steps):
                time.sleep(seconds / steps)
                connection.sendall(bytes(size // steps))

    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("data", [None, bytes(16 * 1024 * 1024)])
def test_what_moves_may_take_longer_than_patience(monkeypatch: pytest.MonkeyPatch, data: bytes | None) -> None:
    """And longer than a piece of what is sent; but a machine that is busy may hold up a piece for seconds."""
    monkeypatch.setattr(transport, "_TIMEOUT", (4.0, 20.0))
    with run_slow(5 if data else 1) as host:
        asked = transport.Transport(Place(host=host, url=f"http://{host}"), lambda _: None, patience=0.4)
        began = time.monotonic()
        reply = asked.ask("PUT" if data else "GET", "/", scope="", limit=16 * 1024 * 1024, data=data)
    assert time.monotonic() - began > (4 if data else 0.4)
    assert reply.body == bytes(16 * 1024 * 1024)


@contextlib.contextmanager
def run_stalling(*, takes: bool) -> Iterator[tuple[str, list[socket.socket]]]:
    """Yield the address of a server whose first connection stalls, and its connections so far.

    It `takes` what is sent to the first and never answers, or takes nothing.
    """
    accepted: list[socket.socket] = []

    def serve(connection: socket.socket, *, first: bool) -> None:
        with contextlib.suppress(OSError):
            if first and not takes:
                return
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(65536)
            head, _, body = head.partition(b"\r\n\r\n")
            (size,) = (int(it[15:]) for it in head.split(b"\r\n") if it.lower().startswith(b"content-length:"))
            left = size - len(body)
            while left:
                left -= len(connection.recv(min(left, 65536)))
            if not first:
                connection.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")

    def accept(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted.append(listener.accept()[0])
                more = {"first": len(accepted) == 1}
                threading.Thread(target=serve, args=(accepted[-1],), kwargs=more, daemon=True).start()

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=accept, args=(listener,), daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}", accepted
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in accepted:
            connection.close()


@pytest.mark.parametrize("takes", [True, False])
def test_large_upload_that_stalls_is_tried_again(monkeypatch: pytest.MonkeyPatch, takes: bool) -> None:
    """With 10 seconds in one."""
    monkeypatch.setattr(transport, "_TIMEOUT", (4.0, 4.0))
    monkeypatch.setattr(transport, "_PACE", 10 * 16 * 1024)
    with run_stalling(takes=takes) as (host, accepted):
        asked = transport.Transport(Place(host=host, url=f"http://{host}"), lambda _: None, patience=60)
        reply = asked.ask("PUT", "/", scope="", limit=10, data=bytes(16 * 1024 * 1024))
        asked.close()
    assert reply.status == 201
    assert len(accepted) >= 2


@pytest.mark.parametrize("takes", [True, False])
@pytest.mark.parametrize("size", [100, 16 * 1024 * 1024])
def test_upload_that_stalls_can_be_cancelled(monkeypatch: pytest.MonkeyPatch, takes: bool, size: int) -> None:
    monkeypatch.setattr(transport, "_TIMEOUT", (60.0, 60.0))
    with run_stalling(takes=takes) as (host, accepted):
        asked = transport.Transport(Place(host=host, url=f"http://{host}"), lambda _: None)

        def cancel_upload() -> None:
            while not accepted:
                time.sleep(0.01)
            time.sleep(0.3)
            asked.cancel()

        canceller = threading.Thread(target=cancel_upload, daemon=True)
        canceller.start()
        began = time.monotonic()
        with pytest.raises(Cancelled):
            asked.ask("PUT", "/", scope="", limit=10, data=bytes(size))
        canceller.join()
        asked.close()
    assert time.monotonic() - began < 30
    assert len(accepted) == 1


@pytest.mark.parametrize("asked", ["soon", "-3", ""])
def test_pause_that_is_none_is_not_kept(fake: FakeRegistry, connect: Callable[..., Registry], asked: str) -> None:
    fake.faults, fake.headers = [429], {"Retry-After": asked}
    connect().require()


def test_registry_that_stays_broken_is_told(fake: FakeRegistry, connect: Callable[..., Registry]) -> None:
    fake.faults = [503] * 100
    with pytest.raises(RegistryError, match=f"{fake.address}: it answers 503"):
        connect().require()
    assert len(fake.asked) == 8


def test_wait_for_the_next_attempt_can_be_cancelled(
    fake: FakeRegistry, connect: Callable[..., Registry], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "_PAUSES", (30.0,))
    fake.faults = [503]
    registry = connect()
    threading.Timer(0.1, registry.cancel).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        registry.require()
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("what", ["manifest", "blob"])
def test_bytes_that_are_not_those_of_their_digest_are_refused(
    fake: FakeRegistry, connect: Callable[..., Registry], what: str
) -> None:
    told = fake.add_image(NAME, "1")
    if what == "manifest":
        kind, data = fake.manifests[NAME, told["digest"]]
        fake.manifests[NAME, told["digest"]] = (kind, data + b" ")
    else:
        fake.blobs = {digest: data[:-1] + b" " for digest, data in fake.blobs.items()}
    with pytest.raises(ContentError, match="is not what its digest says"):
        read_image(connect(), NAME, told["digest"])


def test_reply_without_end_is_left(fake: FakeRegistry, connect: Callable[..., Registry]) -> None:
    told = fake.add_image(NAME, "1")
    (blob,) = parse_descriptors([{**told, "size": 10}], "")
    fake.blobs[told["digest"]] = b"x" * 1000
    with pytest.raises(ContentError, match="more than 10 bytes") as caught:
        connect().read_blob(NAME, blob)
    assert caught.value.hint == f"is {fake.address} a registry, and nothing on the way that answers in its place?"


def test_index_without_its_image_is_told(fake: FakeRegistry, connect: Callable[..., Registry]) -> None:
    told = {**fake.add_image(NAME), "platform": {"os": "linux", "architecture": "amd64"}}
    fake.add_manifest(NAME, {"mediaType": INDEX, "manifests": [told]}, "1")
    del fake.manifests[NAME, told["digest"]]
    with pytest.raises(ContentError, match=f"its image {told['digest']} is not there") as caught:
        read_image(connect(), NAME, "1")
    assert "never copied there with its index" in str(caught.value)


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ({"mediaType": MANIFEST}, "a descriptor should stand here"),
        ({"mediaType": MANIFEST, "config": {"mediaType": "x", "digest": "sha256:1", "size": 1}}, "has no digest"),
        ({"mediaType": INDEX, "manifests": 3}, "a list of descriptors"),
        ({"mediaType": INDEX, "manifests": []}, "an index with 0 images for linux/amd64"),
        ({"mediaType": "application/vnd.docker.distribution.manifest.v1+prettyjws"}, "is no image"),
    ],
)
def test_what_is_no_image_is_told(
    fake: FakeRegistry, connect: Callable[..., Registry], document: dict[str, Any], fault: str
) -> None:
    fake.add_manifest(NAME, document, "1")
    with pytest.raises(ContentError, match=fault) as caught:
        read_image(connect(), NAME, "1")
    assert caught.value.hint
    assert "imgbuild build" not in caught.value.hint, "it may be anybody's image"


def test_artifact_is_no_image(fake: FakeRegistry, connect: Callable[..., Registry]) -> None:
    made = fake.attach(NAME, fake.add_image(NAME, "1"), ARTIFACT, b"{}")
    with pytest.raises(ContentError, match="attached to one") as caught:
        read_image(connect(), NAME, made["digest"])
    assert "by its tag or digest" in str(caught.value)


@pytest.mark.parametrize("config", ["[]", '{"config": 3}', '{"rootfs": []}', '{"config": {"Labels": [1]}}', "{"])
def test_configuration_that_is_none_is_told(fake: FakeRegistry, connect: Callable[..., Registry], config: str) -> None:
    blob = {"mediaType": "c", **fake.add_blob(config.encode())}
    layers = [{"mediaType": LAYER, **fake.add_blob(b"layer")}]
    fake.add_manifest(NAME, {"mediaType": MANIFEST, "config": blob, "layers": layers}, "1")
    if config == '{"rootfs": []}':  # an empty one tells nothing, and nothing wrong
        assert read_image(connect(), NAME, "1") is not None
        return
    with pytest.raises(ContentError):
        read_image(connect(), NAME, "1")


def test_nobody_there_is_told_soon(quick: None) -> None:  # noqa: ARG001
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(RegistryError, match=f"{host}: it refuses the connection") as caught:
            Registry(Place(host=host, url=f"http://{host}"), lambda _: None).require()
    assert caught.value.hint == f"does a registry run at {host}?"


def test_registry_without_tls_is_told(fake: FakeRegistry) -> None:
    with pytest.raises(RegistryError, match="does not speak TLS") as caught:
        Registry(Place(host=fake.address, url=f"https://{fake.address}"), lambda _: None).require()
    assert "--insecure" in str(caught.value)


@given(
    node=st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["mediaType", "digest", "size", "platform", "annotations"]), inner)
        ),
        max_leaves=10,
    )
)
def test_any_json_is_descriptors_or_told(node: Any) -> None:
    with contextlib.suppress(ContentError):
        assert all(it.digest and it.size >= 0 for it in parse_descriptors(node, "here"))
