"""What tests of every folder share: a machine without settings of its own, loopback servers, golden files."""

from __future__ import annotations

import base64
import contextlib
import os
import threading
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_OF_THE_HOST = ("PIP_", "UV_", "IMGBUILD_", "XDG_", "GITHUB_")
_TLS = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC")

# No time limits in tests: the machine may be busy with other things.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/golden anew instead of comparing")


@pytest.fixture
def bare_host(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose clients are told nothing; returns its home."""
    for key in list(os.environ):
        if key.startswith(_OF_THE_HOST) or key in _TLS or key.lower().endswith("_proxy"):
            monkeypatch.delenv(key)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return home


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A static file server on the loopback interface; `asked` holds (method, path, authorization) of each request."""

    url: str
    folder: Path
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        return [path for _, path, _ in self.asked]


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Return a function that serves a folder, to those who give `login` ("user:password") if there is one."""
    with contextlib.ExitStack() as stack:
        yield lambda folder, login=None: stack.enter_context(_serving(folder, login))


@contextlib.contextmanager
def _serving(folder: Path, login: str | None) -> Iterator[Server]:
    wanted = f"Basic {base64.b64encode(login.encode()).decode()}" if login else None

    class Handler(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # 40 ms for every small reply otherwise

        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

        def send_head(self) -> object:  # type: ignore[override]
            given = self.headers.get("Authorization")
            server.asked.append((self.command, self.path, given))
            del self.headers["If-Modified-Since"]  # a test changes files within a second
            if wanted and given != wanted:
                self.send_error(HTTPStatus.UNAUTHORIZED)
                return None
            return super().send_head()

        def send_error(self, code: int, *_: object) -> None:  # type: ignore[override]
            self.send_response(code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def end_headers(self) -> None:
            self.send_header("Cache-Control", "no-store")
            super().end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Listener(ThreadingHTTPServer):
        daemon_threads = True  # clients keep connections open

    with Listener(("127.0.0.1", 0), Handler) as httpd:
        server = Server(url=f"http://127.0.0.1:{httpd.server_port}", folder=folder)
        thread = threading.Thread(target=httpd.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            httpd.shutdown()
            thread.join()
