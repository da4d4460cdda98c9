"""Publish images under refs of registries, through the engine: with retries, and each shared layer uploaded once."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from typing import TYPE_CHECKING, Any

from docker.auth import INDEX_NAME, encode_header, resolve_repository_name
from docker.errors import APIError, ImageNotFound, InvalidRepository
from docker.utils import parse_repository_tag

from builder.attempts import insist
from builder.errors import EngineError
from builder.events import Pushed, Transfer
from builder.failures import HINT_RERUN, explain_push

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from builder.session import Credentials
    from builder.streams import Streams

_BLINK = 0.1
_PATIENCE = 10
"""Seconds that a registry has to tell what a ref is there; a push has no such limit."""
_DONE = re.compile(r"^\S+: digest: (sha256:[0-9a-f]{64}) size: \d+$")


class Pusher:
    """The pushes of one engine, from any number of threads."""

    def __init__(self, api: Any, streams: Streams) -> None:
        self._api = api
        self._streams = streams
        self._claims = Claims(streams.require_running)

    def find(self, ref: str, credentials: Credentials) -> str | None:
        """Return what `Engine.find_published` promises."""
        host, name, tag = split_ref(ref)
        return self._find(name, tag, {"X-Registry-Auth": encode_login(credentials(host))})

    def push(self, image_id: str, ref: str, credentials: Credentials) -> Iterator[Transfer | Pushed]:
        """Yield what `Engine.push` promises."""
        host, name, tag = split_ref(ref)
        headers = {"X-Registry-Auth": encode_login(credentials(host))}
        with self._streams.call(), self._named(image_id, host, name, tag):
            # What is asked about Docker Hub may be answered by a mirror of it, which does not get what is pushed.
            if host != INDEX_NAME and self._find(name, tag, headers) == image_id:
                yield Pushed(ref=ref, digest=image_id, layers=0, sent=0)
                return
            with self._claimed(image_id, host):
                yield from self._send(ref, headers)

    def _send(self, ref: str, headers: dict[str, str]) -> Iterator[Transfer | Pushed]:
        host, name, tag = split_ref(ref)
        uploaded: dict[str, int] = {}

        def attempt() -> Iterator[Transfer | Pushed]:
            with self._streams.post(f"/images/{name}/push", params={"tag": tag}, headers=headers) as lines:
                yield from read_push(lines, ref=ref, host=host, uploaded=uploaded)

        yield from insist(attempt, self._streams.sleep)

    def _find(self, name: str, tag: str, headers: dict[str, str]) -> str | None:
        """Return the digest that a ref has in its registry, None where there is none, or where that cannot be told.

        It is that of the image in the engine under the containerd store, which keeps images as registries do.
        """
        reply = self._streams.ask(f"/distribution/{name}:{tag}/json", headers=headers, timeout=_PATIENCE)
        return str(reply.json()["Descriptor"]["digest"]) if reply is not None and reply.ok else None

    def _claimed(self, image_id: str, host: str) -> contextlib.AbstractContextManager[None]:
        layers = self._api.inspect_image(image_id)["RootFS"]["Layers"]
        return self._claims.hold((host, layer) for layer in layers)

    @contextlib.contextmanager
    def _named(self, image_id: str, host: str, name: str, tag: str) -> Iterator[None]:
        """Let the ref name the image in the engine, which pushes nothing else, and only as long as that takes.

        A name that was there before stays: it then names what the registry has.
        """
        local = f"{name}:{tag}"
        known = self._is_name(local)
        try:
            self._api.tag(image_id, name, tag, force=True)
        except APIError as error:
            if error.is_client_error() and error.status_code != 404:
                raise explain_push(str(error.explanation), host) from error
            raise
        try:
            yield
        finally:
            with contextlib.suppress(ImageNotFound):
                names = self._api.inspect_image(image_id)["RepoTags"]
                if not known and len(names) > 1:  # the last name of an image keeps it
                    self._api.remove_image(local, noprune=True)

    def _is_name(self, local: str) -> bool:
        try:
            self._api.inspect_image(local)
        except APIError:  # none, or no name at all: the engine says so when it is to give it
            return False
        return True


class Claims:
    """Layers that a push uploads just now: another that has one of them waits, and then finds it in the registry.

    Engines' pushes do not know of each other, and would each upload it: those of the containerd store always, those
    of the graphdriver store when they go to different names (both checked on Engine 28.5).
    """

    def __init__(self, require_running: Callable[[], None]) -> None:
        self._require_running = require_running
        self._changed = threading.Condition()
        self._busy: set[tuple[str, str]] = set()
        self._there: set[tuple[str, str]] = set()

    @contextlib.contextmanager
    def hold(self, layers: Iterable[tuple[str, str]]) -> Iterator[None]:
        """Wait until nobody else uploads one of the layers, (host, digest), and claim those that are not there yet."""
        wanted = frozenset(layers)
        with self._changed:
            while self._busy & wanted:
                self._require_running()
                self._changed.wait(_BLINK)
            claimed = wanted - self._there
            self._busy |= claimed
        arrived: frozenset[tuple[str, str]] = frozenset()
        try:
            yield
            arrived = claimed
        finally:
            with self._changed:
                self._busy -= claimed
                self._there |= arrived
                self._changed.notify_all()


def split_ref(ref: str) -> tuple[str, str, str]:
    """Return (registry host, name as the engine lists it, tag) of a ref. Raises PushError when it has no tag."""
    name, tag = parse_repository_tag(ref)
    try:
        host, path = resolve_repository_name(name)
    except InvalidRepository as error:
        raise explain_push(f"invalid reference {ref!r}", "?") from error
    if not tag or "@" in ref or ":" in path:
        raise explain_push(f"invalid reference {ref!r}: a push moves one tag", host)
    return host, path if host == INDEX_NAME else name, tag


def encode_login(login: tuple[str, str] | None) -> str:
    """Return the header that gives a login to the engine; an empty user means that the password is a token."""
    match login:
        case None:
            given = {}
        case ("", token):
            given = {"identitytoken": token}
        case (user, password):
            given = {"username": user, "password": password}
    return str(encode_header(given).decode())


def read_push(lines: Iterable[bytes], *, ref: str, host: str, uploaded: dict[str, int]) -> Iterator[Transfer | Pushed]:
    """Yield the events of a push's reply. `uploaded` takes the bytes of each layer that was sent.

    Raises PushError for what it says inside status 200, EngineError when it ends before the registry has the image.
    """
    sizes: dict[str, int] = {}
    for line in lines:
        record = json.loads(line)
        if "errorDetail" in record or "error" in record:
            raise explain_push(record.get("errorDetail", {}).get("message") or record.get("error", ""), host)
        status, layer = record.get("status", ""), record.get("id", "")
        if done := _DONE.match(status):
            yield Pushed(ref=ref, digest=done[1], layers=len(uploaded), sent=sum(uploaded.values()))
            return
        if status == "Pushing":
            detail = record["progressDetail"]
            sizes[layer] = max(detail.get("total", 0), detail.get("current", 0))
            yield Transfer(step=ref, id=layer, current=detail.get("current", 0), total=sizes[layer], completed=False)
        elif status == "Pushed":
            uploaded[layer] = size = sizes.get(layer, 0)
            yield Transfer(step=ref, id=layer, current=size, total=size, completed=True)
        elif status == "Layer already exists" or status.startswith("Mounted from"):
            yield Transfer(step=ref, id=layer, current=0, total=0, completed=True)
    raise EngineError(f"the engine ended the push of {ref} without a digest", hint=HINT_RERUN)
