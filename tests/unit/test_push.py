"""What a push's reply means, on recorded ones; refs, logins, and who uploads a layer. Real pushes: tests/docker."""

from __future__ import annotations

import base64
import json
import socket
import threading
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import requests
from docker.errors import ImageNotFound

from builder.errors import Cancelled, EngineError, PushError
from builder.events import Pushed, Transfer
from builder.failures import explain_push, is_passing
from builder.push import Claims, Pusher, encode_login, read_push, split_ref
from builder.streams import Streams

if TYPE_CHECKING:
    from collections.abc import Iterator

DIGEST = "sha256:400bf40876823f9243eaead67a00837b9421b7f315817c2bd8d62cfd82485d63"
REF, HOST = "registry.example/team/app:1", "registry.example"


def reply(*records: dict[str, object]) -> list[bytes]:
    return [json.dumps(record).encode() for record in records]


def layer(name: str, status: str, current: int = 0, total: int = 0) -> dict[str, object]:
    detail = {"current": current, "total": total} if total else {}
    return {"status": status, "progressDetail": detail, "id": name}


LAST = {"status": f"1: digest: {DIGEST} size: 947"}
RECORDED = reply(
    {"status": "The push refers to repository [registry.example/team/app]"},
    layer("4e15b74965fc", "Preparing"),
    layer("63b50939d80d", "Waiting"),
    layer("ec937dad159d", "Layer already exists"),
    layer("a709e5762c77", "Mounted from team/base"),
    layer("4e15b74965fc", "Pushing", 512, 2),
    layer("63b50939d80d", "Pushing", 230400, 20000000),
    layer("4e15b74965fc", "Pushed"),
    layer("63b50939d80d", "Retrying in 5 seconds"),
    layer("63b50939d80d", "Pushing", 19000000, 20000000),
    layer("63b50939d80d", "Pushed"),
    LAST,
    {"progressDetail": {}, "aux": {"Tag": "1", "Digest": DIGEST, "Size": 947}},
)


def test_recorded_push_ends_with_the_digest_and_what_was_sent() -> None:
    *moved, last = read_push(RECORDED, ref=REF, host=HOST, uploaded={})
    assert last == Pushed(ref=REF, digest=DIGEST, layers=2, sent=20000512)
    states = {event.id: event for event in moved if isinstance(event, Transfer)}
    assert all(event.completed and event.step == REF for event in states.values())
    assert {name: event.total for name, event in states.items()} == {
        "ec937dad159d": 0,
        "a709e5762c77": 0,
        "4e15b74965fc": 512,
        "63b50939d80d": 20000000,
    }
    assert all(event.current <= event.total for event in moved if isinstance(event, Transfer))


def test_what_an_earlier_attempt_sent_counts() -> None:
    uploaded = {"63b50939d80d": 20000000}
    lines = reply(layer("63b50939d80d", "Layer already exists"), LAST)
    *_, last = read_push(lines, ref=REF, host=HOST, uploaded=uploaded)
    assert last == Pushed(ref=REF, digest=DIGEST, layers=1, sent=20000000)


@pytest.mark.parametrize("lines", range(11))
def test_reply_that_breaks_off_is_never_a_success(lines: int) -> None:
    with pytest.raises(EngineError, match="without a digest"):
        list(read_push(RECORDED[:lines], ref=REF, host=HOST, uploaded={}))


def test_error_in_the_reply_is_a_push_error() -> None:
    message = "denied: requested access to the resource is denied"
    with pytest.raises(PushError, match=message):
        list(
            read_push(reply({"errorDetail": {"message": message}, "error": message}), ref=REF, host=HOST, uploaded={})
        )


@pytest.mark.parametrize(
    ("message", "hint", "passing"),
    [
        ("denied: requested access to the resource is denied", "docker login", False),
        ("unauthorized: authentication required", "docker login", False),
        ("no basic auth credentials", "docker login", False),
        ("unexpected status from POST request to https://r.example/v2/a/: 403 Forbidden", "docker login", False),
        ("tls: failed to verify certificate: x509: certificate signed by unknown authority", "certs.d", False),
        ("http: server gave HTTP response to HTTPS client", "certs.d", False),
        ("dial tcp: lookup registry.example: no such host", "does registry.example answer", False),
        ("dial tcp 192.0.2.1:443: connect: connection refused", "does registry.example answer", False),
        ('Put "https://r.example/v2/a/": read tcp: read: connection reset by peer', "does registry.example", True),
        ("failed to copy: unexpected EOF", "does registry.example answer", True),
        ("unexpected status from PUT request to https://r.example/v2/a/: 503 Service Unavailable", "rerun", True),
        ("toomanyrequests: slow down", "rerun", True),
        ("invalid reference format: repository name (X/Y) must be lowercase", "lower case", False),
    ],
)
def test_refusals_say_what_to_do_and_only_what_passes_is_tried_again(message: str, hint: str, passing: bool) -> None:
    error = explain_push(message, HOST)
    assert hint in str(error.hint)
    assert message in str(error)
    assert is_passing(error.message) is passing


@pytest.mark.parametrize(
    ("ref", "parts"),
    [
        ("registry.example/team/app:1", ("registry.example", "registry.example/team/app", "1")),
        ("127.0.0.1:5000/app:cu12.6", ("127.0.0.1:5000", "127.0.0.1:5000/app", "cu12.6")),
        ("localhost/app:1", ("localhost", "localhost/app", "1")),
        ("team/app:1", ("docker.io", "team/app", "1")),
        ("docker.io/team/app:1", ("docker.io", "team/app", "1")),
    ],
)
def test_ref_is_split_as_the_engine_does(ref: str, parts: tuple[str, str, str]) -> None:
    assert split_ref(ref) == parts


@pytest.mark.parametrize(
    "ref",
    [
        "",
        "app",
        "127.0.0.1:5000/app",
        "r.example/app:1:2",
        f"r.example/app@{DIGEST}",
        "http://r.example/app:1",
        "-x.example/a:1",
    ],
)
def test_ref_without_one_tag_is_refused(ref: str) -> None:
    with pytest.raises(PushError, match="invalid reference"):
        split_ref(ref)


def test_login_is_what_the_engine_reads() -> None:
    def decoded(login: tuple[str, str] | None) -> object:
        return json.loads(base64.urlsafe_b64decode(encode_login(login)))

    assert decoded(("me", "s3cret")) == {"username": "me", "password": "s3cret"}
    assert decoded(("", "a-token")) == {"identitytoken": "a-token"}
    assert decoded(None) == {}


def run_beside(claims: Claims, layers: set[tuple[str, str]], entered: threading.Event) -> threading.Thread:
    def hold() -> None:
        with claims.hold(layers):
            entered.set()

    thread = threading.Thread(target=hold)
    thread.start()
    return thread


A, B, C = ((HOST, name) for name in "abc")


def test_push_waits_for_the_layer_that_another_uploads() -> None:
    claims, entered = Claims(lambda: None), threading.Event()
    with claims.hold({A, B}):
        thread = run_beside(claims, {B, C}, entered)
        assert not entered.wait(0.3)
    thread.join()
    assert entered.is_set()


def test_push_of_other_layers_goes_on_beside_it_and_so_does_another_registry() -> None:
    claims = Claims(lambda: None)
    with claims.hold({A}):
        for layers in ({B}, {("other.example", "a")}):
            run_beside(claims, layers, entered := threading.Event()).join()
            assert entered.is_set()


def test_layer_that_arrived_keeps_nobody_waiting_and_one_that_did_not_is_claimed_anew() -> None:
    claims = Claims(lambda: None)
    with claims.hold({A}):
        pass
    with claims.hold({A, B}):
        run_beside(claims, {A, C}, entered := threading.Event()).join()
        assert entered.is_set()
    with pytest.raises(ZeroDivisionError), claims.hold({("other.example", "d")}):
        raise ZeroDivisionError
    with claims.hold({("other.example", "d")}):
        thread = run_beside(claims, {("other.example", "d")}, entered := threading.Event())
        assert not entered.wait(0.3)
    thread.join()


def test_who_waits_is_cancelled() -> None:
    def refuse() -> None:
        raise Cancelled("cancelled")

    claims = Claims(refuse)
    with claims.hold({A}), pytest.raises(Cancelled), claims.hold({A}):
        pytest.fail("it was held twice")


OTHER = DIGEST.replace("400b", "0000")


class Reply(SimpleNamespace):
    """What docker-py's client returns of a request."""

    def json(self) -> object:
        return {"Descriptor": {"digest": self.digest}}

    def iter_lines(self) -> Iterator[bytes]:
        yield from RECORDED

    def close(self) -> None:
        self.connection.close()


@dataclass
class Api:
    """Stands for docker-py's client of an engine with one image, whose registry has a digest, or none, or is silent.

    `pushed` has what was sent to /push, `names` what the engine calls the image.
    """

    digest: str | None
    silent: bool = False
    pushed: list[tuple[str, str, str]] = field(default_factory=list)
    names: list[str] = field(default_factory=lambda: ["app:1"])

    def _url(self, path: str) -> str:
        return path

    def _get(self, path: str, **_: object) -> Reply:
        assert path.startswith("/distribution/")
        if self.silent:
            raise requests.ConnectionError
        return Reply(ok=self.digest is not None, digest=self.digest)

    def _post(self, path: str, *, params: dict[str, str], headers: dict[str, str], **_: object) -> Reply:
        assert f"{path.removeprefix('/images/').removesuffix('/push')}:{params['tag']}" in self.names
        self.pushed.append((path, params["tag"], headers["X-Registry-Auth"]))
        return Reply(connection=socket.socket())

    def _raise_for_status(self, reply: Reply) -> None:
        assert reply.connection

    def _get_raw_response_socket(self, reply: Reply) -> socket.socket:
        return reply.connection  # type: ignore[no-any-return]

    def inspect_image(self, name: str) -> dict[str, Any]:
        if name != DIGEST and name not in self.names:
            raise ImageNotFound(name)
        return {"RepoTags": list(self.names), "RootFS": {"Layers": ["sha256:a", "sha256:b"]}}

    def tag(self, image: str, name: str, tag: str, *, force: bool) -> None:
        assert (image, force) == (DIGEST, True)
        self.names.append(f"{name}:{tag}")

    def remove_image(self, name: str, *, noprune: bool) -> None:
        assert noprune
        self.names.remove(name)


def push(api: Api, ref: str = REF) -> list[Transfer | Pushed]:
    return list(Pusher(api, Streams(api)).push(DIGEST, ref, lambda host: ("me", host)))


def test_what_the_registry_has_is_not_pushed() -> None:
    api = Api(DIGEST)
    assert push(api) == [Pushed(ref=REF, digest=DIGEST, layers=0, sent=0)]
    assert api.pushed == []


@pytest.mark.parametrize(
    "api", [Api(OTHER), Api(None), Api(DIGEST, silent=True)], ids=["another image", "no image", "no answer"]
)
def test_what_the_registry_may_not_have_is_pushed(api: Api) -> None:
    assert push(api)[-1] == Pushed(ref=REF, digest=DIGEST, layers=2, sent=20000512)
    assert api.pushed == [("/images/registry.example/team/app/push", "1", encode_login(("me", HOST)))]


def test_docker_hub_is_pushed_to_whatever_a_mirror_of_it_has() -> None:
    api = Api(DIGEST)
    push(api, "team/app:1")
    assert [(path, tag) for path, tag, _ in api.pushed] == [("/images/team/app/push", "1")]


@pytest.mark.parametrize("digest", [DIGEST, OTHER])
def test_name_for_a_registry_lasts_as_long_as_its_push(digest: str) -> None:
    api = Api(digest)
    push(api)
    assert api.names == ["app:1"]


def test_last_name_of_an_image_stays() -> None:
    api = Api(OTHER, names=[])
    push(api)
    assert api.names == [REF]
