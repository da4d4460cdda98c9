"""A real registry (Debian's docker-registry) on a free port, which tells of every blob that is pushed to it."""

from __future__ import annotations

import hashlib
import http.client
import http.server
import json
import shutil
import threading
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from builder.registry.content import INDEXES, MANIFESTS
from tests.kit.debian import install_packages
from tests.kit.errors import KitError
from tests.kit.registry import HOST, hold_port, serve_registry
from tests.kit.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Pushed:
    """Bytes that a registry took: all, and those of the images that it has, without what is attached to them."""

    total: int
    images: int


class Listener(http.server.ThreadingHTTPServer):
    """Takes the registry's notifications: distribution.github.io/distribution/about/notifications."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((HOST, 0), _Notified)
        self.events: list[dict[str, Any]] = []
        self.news = threading.Condition()


class _Notified(http.server.BaseHTTPRequestHandler):
    server: Listener

    def do_POST(self) -> None:
        """Take an envelope of events."""
        envelope = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.news:
            self.server.events += envelope["events"]
            self.server.news.notify_all()
        self.send_response(http.HTTPStatus.OK)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class named it)
        """Say nothing."""


@dataclass(kw_only=True, slots=True)
class Registry:
    """A registry that runs; `address` is what stands before the image's name in a ref."""

    address: str
    folder: Path
    listener: Listener
    counted: int = field(default=0)

    def measure_disk(self) -> int:
        """Return the bytes of its blobs, manifests included."""
        blobs = self.folder / "docker" / "registry" / "v2" / "blobs"
        return sum(path.stat().st_size for path in blobs.rglob("data"))

    def count_pushed(self, images: Sequence[str]) -> Pushed:
        """Return the bytes of all blobs and manifests that were pushed since the last count.

        `images` (name:tag) are all that the registry has. Notifications come late but in order; so their manifests
        are asked for, and the notification of that waited for. Raises KitError when it never comes.
        """
        agent = f"count-{uuid.uuid4().hex}"
        parts = set().union(*(self._list_parts(*image.split(":"), agent) for image in images))
        events = self.listener.events
        with self.listener.news:
            if not self.listener.news.wait_for(
                lambda: any(event["request"].get("useragent") == agent for event in events), timeout=60
            ):
                raise KitError("the registry does not tell of what it was sent")
            fresh, self.counted = events[self.counted :], len(events)
        pushed = [event["target"] for event in fresh if event["action"] == "push"]
        return Pushed(
            total=sum(it["size"] for it in pushed),
            images=sum(it["size"] for it in pushed if it["digest"] in parts),
        )

    def _list_parts(self, name: str, target: str, agent: str) -> set[str]:
        """Return the digests of an image: of its manifest, its configuration, its layers; of an index of all in it."""
        connection = http.client.HTTPConnection(self.address, timeout=60)
        headers = {"User-Agent": agent, "Accept": ", ".join(sorted(INDEXES | MANIFESTS))}
        connection.request("GET", f"/v2/{name}/manifests/{target}", headers=headers)
        reply = connection.getresponse()
        data = reply.read()
        connection.close()
        if reply.status != http.HTTPStatus.OK:
            raise KitError(f"the registry answers {reply.status} for {name}:{target}")
        manifest = json.loads(data)
        parts = {f"sha256:{hashlib.sha256(data).hexdigest()}"}
        parts |= {part["digest"] for part in (manifest.get("config"), *manifest.get("layers", ())) if part}
        return parts.union(*(self._list_parts(name, it["digest"], agent) for it in manifest.get("manifests", ())))


@contextmanager
def run_registry(home: Path) -> Iterator[Registry]:
    """Run an empty registry while the context lasts. Raises KitError when it cannot be had."""
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    if shutil.which("docker-registry") is None:
        install_packages(Workspace(root=home, scratch=home, log=home / "apt.log"), ("docker-registry",))
    listener = Listener()
    thread = threading.Thread(target=listener.serve_forever, daemon=True)
    thread.start()
    endpoint = {
        "name": "benchmark",
        "url": f"http://{HOST}:{listener.server_port}",
        "timeout": "10s",
        "threshold": 5,
        "backoff": "1s",
    }
    try:
        with hold_port() as port, serve_registry(home, port, notifications={"endpoints": [endpoint]}) as folder:
            yield Registry(address=f"{HOST}:{port}", folder=folder, listener=listener)
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()
        shutil.rmtree(home, ignore_errors=True)
