"""What belongs to the building machine reaches the build and stays out of everything that is kept."""

from __future__ import annotations

import base64
import http.client
import io
import secrets
import ssl
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from builder.context import Context, ContextFile
from builder.engine import Engine
from builder.events import Built

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.docker.conftest import Lab

CANARY = f"canary-{secrets.token_hex(8)}"
USER = f"user-{secrets.token_hex(8)}"


class Guarded(SimpleHTTPRequestHandler):
    """The kit's channel behind basic authentication; it remembers whom it served."""

    served = 0

    def send_head(self) -> Any:
        wanted = base64.b64encode(f"{USER}:{CANARY}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {wanted}":
            self.send_response(http.client.UNAUTHORIZED)
            self.send_header("WWW-Authenticate", "Basic")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        Guarded.served += 1
        return super().send_head()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def guarded(kit: Path) -> Iterator[str]:
    """The address of the kit's channel behind a login."""
    Guarded.served = 0
    handler = partial(Guarded, directory=str(kit / "channel"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_credentials_are_used_and_kept_nowhere(any_lab: Lab, guarded: str, tmp_path: Path) -> None:
    lab = any_lab
    bundle = tmp_path / "ca.pem"
    bundle.write_text(f"# {CANARY}-bundle\n" + _system_bundle())
    lab.sources = tmp_path / "canary.yaml"
    settings = {
        "conda": {"https://conda.example.org/kit": f"http://{USER}:{CANARY}@{guarded}/kit"},
        "ca-bundle": "ca.pem",
        "proxy": {"http": f"http://{USER}:{CANARY}@proxy.example:3128", "no": "127.0.0.1,localhost"},
        "network": "host",
    }
    lab.sources.write_text(yaml.safe_dump(settings))
    lab.define(conda=["six", "click"])
    lab.add_step(f"echo no cached layer stands in for those of {tmp_path}", first=True)
    done = lab.build()
    assert done.returncode == 0, done.stderr
    assert Guarded.served > 0

    lock = (lab.folder / "imgbuild.lock").read_text()
    kept = {"lock": lock, "stdout": done.stdout, "stderr": done.stderr}
    image = lab.client.images.get(lab.ref)
    kept |= {"config": str(image.attrs), "history": str(image.history())}
    for name, text in kept.items():
        assert CANARY not in text, name
        assert guarded not in text, f"the mirror's address is in the {name}"
    for name, data in _layer_files(image):
        assert CANARY.encode() not in data, name
        assert guarded.encode() not in data, f"the mirror's address is in {name}"
    _grep_cache_mounts(lab)


def _system_bundle() -> str:
    path = ssl.get_default_verify_paths().cafile
    return Path(path).read_text() if path else ""


def _layer_files(image: Any) -> Iterator[tuple[str, bytes]]:
    """Yield each file of each layer of an image, and the metadata of the archive itself."""
    archive = io.BytesIO(b"".join(image.save()))
    with tarfile.open(fileobj=archive) as tar:
        for member in tar:
            stream = tar.extractfile(member)
            if stream is None:
                continue
            data = stream.read()
            yield member.name, data if not _is_tar(data) else b""
            if _is_tar(data):
                with tarfile.open(fileobj=io.BytesIO(data)) as layer:
                    for entry in layer:
                        content = layer.extractfile(entry) if entry.isreg() else None
                        yield f"{entry.name} {entry.pax_headers}", content.read() if content else b""


def _is_tar(data: bytes) -> bool:
    return data[:2] == b"\x1f\x8b" or data[257:262] == b"ustar"


def _grep_cache_mounts(lab: Lab) -> None:
    """Fail if a build step finds the canary in the cache mounts that the steps share."""
    dockerfile = f"""\
FROM imgbuild-kit/base:bookworm
RUN --mount=type=cache,id=imgbuild-conda-kit,target=/a --mount=type=cache,id=imgbuild-pip,target=/b \\
    --mount=type=secret,id=words,required=true \\
    echo {lab.root} && test -n "$(ls /a)" && ! grep -rl -f /run/secrets/words /a /b
"""
    context = Context(files=(ContextFile(path="Dockerfile", data=dockerfile.encode()),))
    words = f"{CANARY}\n{USER}".encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", lab.url)
        with Engine() as engine:
            build = engine.build(
                context, secrets={"words": words}, credentials=lambda _: None, build_args={}, network="host"
            )
            assert any(isinstance(event, Built) for event in build)
