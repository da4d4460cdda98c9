"""The static HTTP server of the channel and the wheel index, on this machine's loopback only.

Run as `python -m tests.kit.server FOLDER PORT`; the kit starts it so, detached.
"""

from __future__ import annotations

import hashlib
import http.client
import http.server
import io
import json
import os
import re
import sys
from pathlib import Path
from typing import BinaryIO

from tests.kit import processes
from tests.kit.errors import KitError
from tests.kit.steps import Progress

HOST = "127.0.0.1"
IDENTITY_PATH = "/.kit"
WORDS = "tests.kit.server"


def identify_server(folder: Path) -> str:
    """Return what the right server answers at IDENTITY_PATH: what it serves, and with which code."""
    digest = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    return json.dumps({"folder": str(folder), "server": digest})


def read_port() -> int:
    """Return the server's port: IMGBUILD_KIT_PORT, else 8765."""
    text = os.environ.get("IMGBUILD_KIT_PORT") or "8765"
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise KitError(f"IMGBUILD_KIT_PORT={text} is not a port", hint="give a number from 1 to 65535")
    return int(text)


class Handler(http.server.SimpleHTTPRequestHandler):
    """Static files with single byte ranges (RFC 9110, section 14), which package clients use to read metadata."""

    protocol_version = "HTTP/1.1"
    identity = ""

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        if self.path == IDENTITY_PATH:
            return self.send_part(io.BytesIO(self.identity.encode()), 0, len(self.identity), http.HTTPStatus.OK)
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        if not wanted or wanted.group() == "bytes=-" or not path.is_file():
            return super().send_head()
        size = path.stat().st_size
        first, last = wanted.groups()
        start = int(first) if first else max(size - int(last), 0)
        end = min(int(last) + 1, size) if first and last else size
        if start >= end:
            self.send_response(http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        with path.open("rb") as stream:
            stream.seek(start)
            part = io.BytesIO(stream.read(end - start))
        return self.send_part(part, start, size, http.HTTPStatus.PARTIAL_CONTENT)

    def send_part(self, part: io.BytesIO, start: int, size: int, status: http.HTTPStatus) -> io.BytesIO:
        length = len(part.getbuffer())
        self.send_response(status)
        if status == http.HTTPStatus.PARTIAL_CONTENT:
            self.send_header("Content-Range", f"bytes {start}-{start + length - 1}/{size}")
        self.send_header("Content-Length", str(length))
        self.end_headers()
        return part

    def end_headers(self) -> None:
        self.send_header("Accept-Ranges", "bytes")
        super().end_headers()


def ask_identity(port: int) -> str | None:
    """Return what answers at the port says it is; None when nothing answers."""
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    try:
        connection.request("GET", IDENTITY_PATH)
        return connection.getresponse().read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def ensure_server(root: Path) -> str:
    """Return the URL of a server that serves this kit's channel, started unless it runs."""
    port, folder = read_port(), root / "channel"
    identity = identify_server(folder)
    if ask_identity(port) != identity:
        stop_server(root)
        if ask_identity(port) is not None:
            raise KitError(f"something else answers on port {port}", hint="choose another with IMGBUILD_KIT_PORT")
        with Progress("server", f"starting on port {port}"):
            checkout = Path(__file__).parents[2]
            argv = (sys.executable, "-m", WORDS, folder, str(port))
            log = root / "logs" / "server.log"
            pid = processes.start_detached(argv, log, {**os.environ, "PYTHONPATH": str(checkout)})
            (root / "server.pid").write_text(f"{pid}\n", encoding="utf-8")
            processes.wait_until(lambda: ask_identity(port) == identity, pid, log, "the server")
    return f"http://{HOST}:{port}"


def stop_server(root: Path) -> bool:
    """Return whether the kit's server ran and was stopped."""
    return processes.stop_process(root / "server.pid", WORDS)


def serve(folder: Path, port: int) -> None:
    Handler.identity = identify_server(folder)

    def handle(*arguments: object) -> Handler:
        return Handler(*arguments, directory=str(folder))  # type: ignore[arg-type]

    with http.server.ThreadingHTTPServer((HOST, port), handle) as server:
        server.serve_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
