"""Whom a registry with a certificate of its own is believed, and whom else on the way to what it has."""

from __future__ import annotations

import contextlib
import shutil
import ssl
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from builder.errors import Cancelled, RegistryError
from builder.registry import transport
from builder.registry.client import Registry
from builder.registry.content import Descriptor
from builder.registry.place import Place
from tests.registry import digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOB = b"a configuration"
DESCRIPTOR = Descriptor(media_type="", digest=digest_of(BLOB), size=len(BLOB))

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


@contextlib.contextmanager
def serve(folder: Path, leads_to: str = "", *, silent: bool = False) -> Iterator[tuple[str, Path]]:
    """Yield the address and the CA of who has the blob, or sends to another for it, or is silent till one leaves."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if silent:
                self.rfile.read(1)
                return
            self.send_response(307 if leads_to else 200)
            if leads_to:
                self.send_header("Location", f"https://{leads_to}/storage")
            self.end_headers()
            self.wfile.write(b"" if leads_to else BLOB)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    folder.mkdir()
    key, ca = folder / "key.pem", folder / "ca.crt"
    kind = ("-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    names = ("-subj", f"/CN={folder.name}", "-addext", "subjectAltName=IP:127.0.0.1")
    subprocess.run(["openssl", "req", *kind, *names, "-keyout", key, "-out", ca], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(ca, key)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}", ca
        finally:
            server.shutdown()
            thread.join()


def read(host: str, ca: Path, own_ca: Path | None) -> bytes:
    with Registry(Place(host=host, url=f"https://{host}", ca=ca, own_ca=own_ca), lambda _: None) as registry:
        return registry.read_blob("team/app", DESCRIPTOR)


def test_registry_with_a_ca_of_its_own_may_lead_to_storage_that_others_certify(tmp_path: Path) -> None:
    with serve(tmp_path / "storage") as (there, public), serve(tmp_path / "registry", there) as (host, own):
        assert read(host, public, own) == BLOB
        with pytest.raises(RegistryError, match="is not trusted"):
            read(host, public, None)
        with pytest.raises(RegistryError, match="is not trusted"):
            read(host, own, None)


def test_wait_for_who_is_silent_can_be_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_TIMEOUT", (60.0, 60.0))
    with serve(tmp_path / "registry", silent=True) as (host, ca):
        registry = Registry(Place(host=host, url=f"https://{host}", ca=ca), lambda _: None)
        threading.Timer(0.3, registry.cancel).start()
        began = time.monotonic()
        with registry, pytest.raises(Cancelled):
            registry.read_blob("team/app", DESCRIPTOR)
        assert time.monotonic() - began < 30


def test_ca_that_is_none_is_told(tmp_path: Path) -> None:
    own = tmp_path / "ca.crt"
    own.write_text("no certificate")
    with pytest.raises(RegistryError, match="own CA cannot be read") as caught:
        read("r.example", own, own)
    assert str(own) in str(caught.value)
