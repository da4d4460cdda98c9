"""What belongs to the building machine reaches the build and stays out of everything that is kept."""

from __future__ import annotations

import base64
import io
import secrets
import ssl
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from builder.context import Context, ContextFile
from builder.engine import Engine
from builder.errors import BuildError
from builder.events import Built
from tests.docker.conftest import CHANNEL
from tests.unit.conftest import Index

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from tests.conftest import Server
    from tests.docker.conftest import Lab
    from tests.unit.conftest import Serve

CANARY = f"canary-{secrets.token_hex(8)}"
USER = f"user-{secrets.token_hex(8)}"
LOGIN = f"{USER}:{CANARY}"


@pytest.fixture
def guarded(kit: Path, serve: Serve) -> Server:
    """The kit's channel behind a login."""
    return serve(kit / "channel", LOGIN)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipIndex:
    """A mirror of PyPI behind a login, with one wheel that no cache has."""

    server: Server
    wheel: str
    kit: dict[str, Any]

    @property
    def host(self) -> str:
        return self.server.url.removeprefix("http://")

    def settings(self, login: str = LOGIN) -> dict[str, Any]:
        return self.kit | {"pip": {"index-url": f"http://{login}@{self.host}/simple"}}


@pytest.fixture
def pip_index(kit: Path, tmp_path: Path, serve: Serve) -> PipIndex:
    index = Index(tmp_path / "index")
    settings = yaml.safe_load((kit / "sources.yaml").read_text())
    wheel = f"imgbuild_{secrets.token_hex(4)}"
    # The paths of files on PyPI and on each of its mirrors: the lock then names PyPI.
    index.add(
        f"{wheel}-1.0-py3-none-any.whl", files=f"packages/{secrets.token_hex(1)}/{secrets.token_hex(1)}/{'0' * 60}"
    )
    return PipIndex(server=serve(index.folder, LOGIN), wheel=wheel.replace("_", "-"), kit=settings)


def test_credentials_are_used_and_kept_nowhere(any_lab: Lab, guarded: Server, tmp_path: Path) -> None:
    lab = any_lab
    host = guarded.url.removeprefix("http://")
    bundle = tmp_path / "ca.pem"
    bundle.write_text(f"# {CANARY}-bundle\n" + _system_bundle())
    settings = {
        "conda": {CHANNEL: f"http://{LOGIN}@{host}/kit"},
        "ca-bundle": "ca.pem",
        "proxy": {"http": f"http://{LOGIN}@proxy.example:3128", "no": "127.0.0.1,localhost"},
        "network": "host",
    }
    _configure(lab, settings)
    lab.define(conda=["six", "click"])
    lab.add_step(f"echo no cached layer stands in for those of {tmp_path}", first=True)
    done = lab.build()
    assert done.returncode == 0, done.stderr
    assert guarded.paths
    _find_nothing_kept(lab, done, host)
    _grep_cache_mount(lab)


def test_login_of_a_pip_index_is_used_and_kept_nowhere(lab: Lab, pip_index: PipIndex) -> None:
    _configure(lab, pip_index.settings())
    lab.define(pip=[pip_index.wheel])
    done = lab.build()
    assert done.returncode == 0, done.stderr
    assert any(path.endswith(".whl") for path in pip_index.server.paths)
    _find_nothing_kept(lab, done, pip_index.host)
    _grep_cache_mount(lab)


def test_failing_step_tells_neither_login_nor_mirror(lab: Lab, pip_index: PipIndex) -> None:
    _configure(lab, pip_index.settings())
    lab.define(pip=[pip_index.wheel])
    lab.add_step(f"echo {pip_index.wheel} ends here && exit 1")
    done = lab.build()
    assert done.returncode == BuildError.exit_code, done.stderr
    assert f"{pip_index.wheel} ends here" in done.stderr
    _find_nothing_said(done, pip_index.host, CANARY, USER)


def test_install_with_a_wrong_login_tells_neither_login_nor_mirror(lab: Lab, pip_index: PipIndex) -> None:
    _configure(lab, pip_index.settings())
    lab.define(pip=[pip_index.wheel])
    locked = lab.run("lock", "--progress", "plain")
    assert locked.returncode == 0, locked.stderr
    wrong = f"wrong-{secrets.token_hex(8)}"
    _configure(lab, pip_index.settings(login=f"{USER}:{wrong}"))
    before = len(pip_index.server.asked)
    done = lab.build("--locked")
    assert done.returncode == BuildError.exit_code, done.stderr
    assert f"{pip_index.wheel} was not found in the package registry" in done.stderr  # uv's words for a refused index
    assert "Traceback" not in done.stderr, "pip asked for a login"
    sent = base64.b64encode(f"{USER}:{wrong}".encode()).decode()
    assert f"Basic {sent}" in [login for *_, login in pip_index.server.asked[before:]]
    _find_nothing_said(done, pip_index.host, wrong, sent, CANARY)


def _configure(lab: Lab, settings: dict[str, Any]) -> None:
    lab.sources = lab.root.parent / "canary.yaml"
    lab.sources.write_text(yaml.safe_dump(settings))


def _find_nothing_said(done: subprocess.CompletedProcess[str], *words: str) -> None:
    for word in words:
        assert word not in done.stdout
        assert word not in done.stderr


def _find_nothing_kept(lab: Lab, done: subprocess.CompletedProcess[str], host: str) -> None:
    """Fail if the secret or the mirror's address is in what a build said, in its lock, or anywhere in its image."""
    _find_nothing_said(done, CANARY, host)
    image = lab.client.images.get(lab.ref)
    lock = (lab.folder / "imgbuild.lock").read_text()
    for name, text in {"lock": lock, "config": str(image.attrs), "history": str(image.history())}.items():
        assert CANARY not in text, name
        assert host not in text, f"the mirror's address is in the {name}"
    for name, data in _layer_files(image):
        assert CANARY.encode() not in data, name
        assert host.encode() not in data, f"the mirror's address is in {name}"


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


def _grep_cache_mount(lab: Lab) -> None:
    """Fail if a build step finds the canary in the cache mount that the steps share."""
    dockerfile = f"""\
FROM imgbuild-kit/base:bookworm
RUN --mount=type=cache,id=imgbuild-cache,target=/cache --mount=type=secret,id=words,required=true \\
    echo {lab.root} && test -n "$(ls /cache/rattler)" && ! grep -rl -f /run/secrets/words /cache
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
