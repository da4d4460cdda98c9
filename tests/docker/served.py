"""A real registry for the engine tests, behind a proxy that counts what is asked and fails as it is told to."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import socket
import struct
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from tests.kit.registry import HOST, hold_port, serve_registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Fault = int | str


@dataclass(kw_only=True)
class Registry:
    """A real registry behind a proxy that counts what is asked, and fails requests as it is told to.

    Every request whose method and path fit `refused` gets a 403.
    """

    address: str
    refused: str = "none"
    asked: list[tuple[str, str, int]] = field(default_factory=list)
    faults: list[tuple[str, Fault]] = field(default_factory=list)
    login: str = ""
    held: threading.Event = field(default_factory=threading.Event)
    open_gate: threading.Event = field(default_factory=threading.Event)

    def uploads(self) -> list[int]:
        """The sizes of the blobs that arrived."""
        return [size for method, path, size in self.asked if method in ("PUT", "PATCH") and "/blobs/" in path and size]

    def manifest(self, ref: str) -> tuple[str, dict[str, Any]]:
        """Return the digest and the content of what a ref names."""
        name, _, tag = ref.removeprefix(f"{self.address}/").rpartition(":")
        kinds = (
            "application/vnd.oci.image.manifest.v1+json",
            "application/vnd.docker.distribution.manifest.v2+json",
        )
        request = urllib.request.Request(
            f"http://{self.address}/v2/{name}/manifests/{tag}", headers={"Accept": ", ".join(kinds)}
        )
        with urllib.request.urlopen(request) as reply:
            return reply.headers["Docker-Content-Digest"], json.load(reply)

    def tags(self, name: str) -> set[str]:
        """Return the tags of images, without those that stand in for the referrers API."""
        with urllib.request.urlopen(f"http://{self.address}/v2/{name}/tags/list") as reply:
            return {tag for tag in json.load(reply)["tags"] if not tag.startswith("sha256-")}

    def has(self, ref: str) -> bool:
        try:
            self.manifest(ref)
        except urllib.error.HTTPError as error:
            error.close()
            return False
        return True


def make_proxy(registry: Registry, upstream: str) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_one_request(self) -> None:
            try:
                if self.connection.recv(1, socket.MSG_PEEK) == b"\x16":  # the engine tries TLS first
                    self.wfile.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")
                    self.close_connection = True
                    return
                super().handle_one_request()
            except OSError:
                self.close_connection = True

        def relay(self) -> None:
            body = self.read_body()
            registry.asked.append((self.command, self.path, len(body)))
            fault = None
            if registry.faults and registry.faults[0][0] == self.command and self.path != "/v2/":
                fault = registry.faults.pop(0)[1]
            if re.fullmatch(registry.refused, f"{self.command} {self.path}"):
                fault = 403
            if fault == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True
                return
            if fault == "truncate":
                self.wfile.write(b"HTTP/1.1 20")
                self.close_connection = True
                return
            if fault == "hold":
                registry.held.set()
                registry.open_gate.wait(600)
            given = self.headers.get("Authorization", "").removeprefix("Basic ")
            if registry.login and base64.b64decode(given).decode() != registry.login:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="lab"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if isinstance(fault, int):
                self.send_response(fault)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            with contextlib.closing(http.client.HTTPConnection(upstream)) as ahead:
                own = ("transfer-encoding", "content-length")
                # The engine has a line for each kind of manifest that it accepts, in any order.
                headers = {
                    key: ", ".join(self.headers.get_all(key, [])) for key in self.headers if key.lower() not in own
                }
                ahead.request(self.command, self.path, body or None, headers)
                reply = ahead.getresponse()
                content = reply.read()
            self.send_response(reply.status)
            for key, value in reply.getheaders():
                if key.lower() not in ("connection", "date", "content-length", "transfer-encoding"):
                    self.send_header(key, value)
            length = reply.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = relay  # noqa: N815

        def read_body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = []
            while size := int(self.rfile.readline().strip(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Listener(ThreadingHTTPServer):
        daemon_threads = True

    return Listener((HOST, 0), Handler)


@contextlib.contextmanager
def run_registry(folder: Path) -> Iterator[Registry]:
    """Run Debian's docker-registry, which has to be installed, behind a proxy; all that it has is below a folder."""
    made = Registry(address="")
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(hold_port())
        stack.enter_context(serve_registry(folder / "registry", port))
        proxy = stack.enter_context(make_proxy(made, f"{HOST}:{port}"))
        thread = threading.Thread(target=proxy.serve_forever, args=(0.05,))
        thread.start()
        stack.callback(thread.join)
        stack.callback(proxy.shutdown)
        made.address = f"{HOST}:{proxy.server_port}"
        yield made
        made.open_gate.set()
