"""A registry in a thread, for tests without an engine: it has what it is given, and fails as it is told to."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import socket
import struct
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+zstd"

Fault = int | str


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass(kw_only=True)
class FakeRegistry:
    """`auth` is none, basic or bearer. `faults` are what befalls the next requests: a status, reset, cut, lie or lost.

    What is lost is done, and the answer never comes. They befall those of the method `failing`, or any. `relative` is
    how it says where to upload. It `refuses` manifests, not indexes, that have one of these texts, and `denies` what a
    token of one scope is for.
    """

    address: str = ""
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    referrers: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    has_referrers: bool = True
    has_catalogue: bool = True
    tells_digest: bool = True
    page: int = 1000
    auth: str = "none"
    login: str = "reader:s3cret"
    denies: str | None = None
    faults: list[Fault] = field(default_factory=list)
    failing: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    uploads: dict[str, str] = field(default_factory=dict)
    relative: bool = True
    refuses: tuple[str, ...] = ()
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    cookies: list[str] = field(default_factory=list)

    def add_blob(self, data: bytes) -> dict[str, Any]:
        self.blobs[digest_of(data)] = data
        return {"digest": digest_of(data), "size": len(data)}

    def add_manifest(self, repository: str, document: Mapping[str, Any], *tags: str) -> dict[str, Any]:
        """Return the descriptor of a manifest or index, which the tags then mean."""
        data = json.dumps(document).encode()
        digest = digest_of(data)
        self.manifests[repository, digest] = (document["mediaType"], data)
        known = self.tags.setdefault(repository, {})
        known.update(dict.fromkeys(tags, digest))
        return {"mediaType": document["mediaType"], "digest": digest, "size": len(data)}

    def add_image(
        self,
        repository: str,
        *tags: str,
        labels: Mapping[str, str] | None = None,
        layers: Mapping[str, int] | None = None,
        env: tuple[str, ...] = (),
    ) -> dict[str, Any]:
        """Return the descriptor of an image whose layers are names and sizes; their bytes are nowhere."""
        named = layers or {"base": 1000}
        diff_ids = [digest_of(f"unpacked {name}".encode()) for name in named]
        config = {
            "architecture": "amd64",
            "os": "linux",
            "created": "2026-01-02T03:04:05Z",
            "config": {"Labels": dict(labels or {}), "Env": ["PATH=/bin", *env]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, **self.add_blob(json.dumps(config).encode())},
            "layers": [
                {"mediaType": LAYER, "digest": digest_of(name.encode()), "size": size} for name, size in named.items()
            ],
        }
        return self.add_manifest(repository, document, *tags)

    def attach(
        self, repository: str, subject: Mapping[str, Any], kind: str, data: bytes, **annotations: str
    ) -> dict[str, Any]:
        """Return the descriptor of an artifact of one blob that is attached to a manifest."""
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": kind,
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", **self.add_blob(b"{}")},
            "layers": [{"mediaType": kind, **self.add_blob(data)}],
            "subject": dict(subject),
            "annotations": annotations,
        }
        made = {**self.add_manifest(repository, document), "artifactType": kind, "annotations": annotations}
        self.referrers.setdefault(subject["digest"], []).append(made)
        if not self.has_referrers:
            index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": self.referrers[subject["digest"]]}
            self.add_manifest(repository, index, subject["digest"].replace(":", "-"))
        return made

    def sent(self, *methods: str) -> list[str]:
        """The paths of what was asked to be written, or of other methods."""
        return [path for method, path, _ in self.asked if method in (methods or ("POST", "PUT")) and "/v2/" in path]

    @property
    def paths(self) -> list[str]:
        return [path for _, path, _ in self.asked]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    registry: FakeRegistry

    def do_GET(self) -> None:
        it = self.registry
        it.asked.append((self.command, self.path, self.headers.get("Authorization", "")))
        it.cookies += self.headers.get_all("Cookie") or ()
        fault = it.faults.pop(0) if it.faults and it.failing in ("", self.command) else None
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
            return
        if isinstance(fault, int):
            self.answer(fault, b"", **it.headers)
            return
        url = urlsplit(self.path)
        if url.path == "/token":
            self.give_token()
        elif not self.is_allowed():
            scheme = {"basic": 'Basic realm="r"', "bearer": self.describe_realm(url.path)}[it.auth]
            self.answer(401, b"{}", **{"WWW-Authenticate": scheme})
        else:
            self.give(url.path, parse_qs(url.query), fault)

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    def give(self, path: str, query: dict[str, list[str]], fault: Fault | None) -> None:
        it = self.registry
        if path == "/v2/":
            self.answer(200, b"{}")
        elif self.command in ("POST", "PUT"):
            self.take(path, query, fault)
        elif path == "/v2/_catalog" and it.has_catalogue:
            self.give_page({}, "repositories", it.tags, query)
        elif found := re.fullmatch("/v2/(.+)/tags/list", path):
            self.give_tags(found[1], query)
        elif found := re.fullmatch("/v2/(.+)/blobs/(.+)", path):
            data = it.blobs.get(found[2])
            self.answer(404 if data is None else 200, data or b"{}", fault=fault)
        elif found := re.fullmatch("/v2/(.+)/manifests/(.+)", path):
            digest = it.tags.get(found[1], {}).get(found[2], found[2])
            kind, data = it.manifests.get((found[1], digest), ("", b"{}"))
            told = {"Docker-Content-Digest": digest} if it.tells_digest else {}
            self.answer(200 if kind else 404, data, fault=fault, **{"Content-Type": kind, **told})
        elif (found := re.fullmatch("/v2/(.+)/referrers/(.+)", path)) and it.has_referrers:
            index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": it.referrers.get(found[2], [])}
            self.answer(200, json.dumps(index).encode(), fault=fault, **{"Content-Type": INDEX})
        else:
            self.answer(404, b"404 page not found")

    def take(self, path: str, query: dict[str, list[str]], fault: Fault | None) -> None:
        it = self.registry
        if found := re.fullmatch("/v2/(.+)/blobs/uploads/", path):
            name = f"{len(it.uploads)}"
            it.uploads[name] = found[1]
            place = f"/v2/{found[1]}/blobs/uploads/{name}?_state=a%3D%3D"
            place = place if it.relative else f"http://{it.address}{place}"
            self.answer(202, b"", fault=fault, Location=place, **it.headers)
        elif found := re.fullmatch("/v2/(.+)/blobs/uploads/(.+)", path):
            is_whole = it.uploads.pop(found[2], None) == found[1] and query["digest"] == [digest_of(self.body)]
            if is_whole and query["_state"] == ["a=="]:
                it.add_blob(self.body)
                self.answer(201, b"", fault=fault)
            else:
                self.answer(404, b'{"errors": [{"code": "BLOB_UPLOAD_UNKNOWN"}]}')
        elif found := re.fullmatch("/v2/(.+)/manifests/(.+)", path):
            self.take_manifest(found[1], found[2], fault)
        else:
            self.answer(404, b"404 page not found")

    def take_manifest(self, repository: str, target: str, fault: Fault | None) -> None:
        it = self.registry
        if self.headers["Content-Type"] != INDEX and any(text.encode() in self.body for text in it.refuses):
            self.answer(400, b'{"errors": [{"code": "MANIFEST_INVALID"}]}')
            return
        document = json.loads(self.body)
        kind, digest = self.headers["Content-Type"], digest_of(self.body)
        parts = [it["digest"] for it in (document.get("config"), *document.get("layers", [])) if it]
        if missing := [part for part in parts if part not in it.blobs and document.get("subject")]:
            self.answer(400, json.dumps({"errors": [{"code": "MANIFEST_BLOB_UNKNOWN", "detail": missing}]}).encode())
            return
        it.manifests[repository, digest] = (kind, self.body)
        it.tags.setdefault(repository, {}).update({} if target == digest else {target: digest})
        told = {}
        if (subject := document.get("subject")) and it.has_referrers:
            told = {"OCI-Subject": subject["digest"]}
            keys = ("artifactType", "annotations")
            node = {"mediaType": kind, "digest": digest, "size": len(self.body)}
            node["artifactType"] = document["config"]["mediaType"]
            listed = it.referrers.setdefault(subject["digest"], [])
            if not any(it["digest"] == digest for it in listed):
                listed.append(node | {key: document[key] for key in keys if key in document})
        self.answer(201, b"", fault=fault, **told)

    def give_tags(self, repository: str, query: dict[str, list[str]]) -> None:
        if repository in self.registry.tags:
            self.give_page({"name": repository}, "tags", self.registry.tags[repository], query)
        else:
            self.answer(404, b'{"errors": [{"code": "NAME_UNKNOWN"}]}')

    def give_page(self, told: Mapping[str, str], key: str, names: Iterable[str], query: dict[str, list[str]]) -> None:
        it = self.registry
        left = sorted(name for name in names if name > query.get("last", [""])[0])
        shown = left[: min(it.page, int(query.get("n", ["1000"])[0]))]
        path = urlsplit(self.path).path
        link = {"Link": f'<{path}?n={it.page}&last={shown[-1]}>; rel="next"'} if shown != left else {}
        self.answer(200, json.dumps({**told, key: shown}).encode(), **link, **it.headers)

    def is_allowed(self) -> bool:
        it, given = self.registry, self.headers.get("Authorization", "")
        match it.auth:
            case "basic":
                return given == f"Basic {base64.b64encode(it.login.encode()).decode()}"
            case "bearer":
                scope = self.find_scope(urlsplit(self.path).path)
                return scope != it.denies and given in (f"Bearer token-for-{scope}", f"Bearer token-for-{scope},push")
        return True

    def find_scope(self, path: str) -> str:
        if path == "/v2/_catalog":
            return "registry:catalog:*"
        found = re.match("/v2/(.+)/(?:manifests|blobs|tags|referrers)/", path)
        actions = "pull,push" if self.command in ("POST", "PUT") else "pull"
        return f"repository:{found[1]}:{actions}" if found else ""

    def describe_realm(self, path: str) -> str:
        scope = self.find_scope(path)
        told = f',scope="{scope}"' if scope else ""
        return f'Bearer realm="http://{self.registry.address}/token",service="fake"{told}'

    def give_token(self) -> None:
        it, form = self.registry, parse_qs(self.body.decode())
        query = parse_qs(urlsplit(self.path).query) | form
        wanted = f"Basic {base64.b64encode(it.login.encode()).decode()}"
        known = form.get("refresh_token") == [it.login] or self.headers.get("Authorization") == wanted
        scope = query.get("scope", [""])[0]
        body = {"access_token" if form else "token": f"token-for-{scope}"}
        self.answer(200 if known else 401, json.dumps(body).encode())

    def answer(self, status: int, body: bytes, *, fault: Fault | None = None, **headers: str) -> None:
        if fault == "lost":
            self.close_connection = True
            return
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault == "cut":
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        elif fault == "lie":
            self.wfile.write(body[:-1] + b" ")
        else:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Listener(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that leave."""


@contextlib.contextmanager
def run_fake() -> Iterator[FakeRegistry]:
    made = FakeRegistry()
    handler = type("Handler", (_Handler,), {"registry": made})
    with _Listener(("127.0.0.1", 0), handler) as server:
        made.address = f"127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()
