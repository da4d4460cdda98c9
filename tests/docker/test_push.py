"""Images in a real registry: moved as they are, each layer once, nothing twice, and over what passes by itself."""

from __future__ import annotations

import base64
import json
import secrets
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from builder.attempts import PAUSES
from builder.context import Context, ContextFile
from builder.engine import Engine
from builder.errors import Cancelled, EngineError, PushError
from builder.events import Built, Pushed, Transfer
from tests.kit.base import IMAGE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.docker.conftest import Lab
    from tests.docker.served import Fault, Registry


AT_ONCE = 5
"""dockerd's own setting of max-concurrent-uploads."""


class Bench:
    """An engine whose images go away with the test."""

    def __init__(self, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DOCKER_HOST", lab.url)
        self.lab = lab
        self.engine = Engine()
        self.made: list[str] = []

    def build(self, dockerfile: str) -> str:
        """Return the id of an image, which has a local name, as after `imgbuild build`."""
        context = Context(files=(ContextFile(path="Dockerfile", data=dockerfile.encode()),))
        epoch = {"SOURCE_DATE_EPOCH": "1000000000"}
        events = self.engine.build(context, secrets={}, credentials=self.engine.credentials, build_args=epoch)
        (image,) = (event.image_id for event in events if isinstance(event, Built))
        self.engine.tag(image, f"{self.lab.name}:{len(self.made)}")
        self.made.append(image)
        return image

    def build_files(self, *layers: str) -> str:
        """Return the id of an image of a few bytes: each command leaves files in /made, which become a layer."""
        stages = [f"FROM {IMAGE} AS s{n}\nRUN mkdir /made && cd /made && {text}\n" for n, text in enumerate(layers)]
        copies = [f"COPY --from=s{n} /made /\n" for n in range(len(layers))]
        return self.build("".join([*stages, "FROM scratch\n", *copies]))

    def push(self, image: str, ref: str) -> Pushed:
        *moved, last = self.engine.push(image, ref)
        assert all(isinstance(event, Transfer) and event.step == ref for event in moved)
        assert isinstance(last, Pushed)
        assert last.ref == ref
        return last


@pytest.fixture
def bench(any_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    made = Bench(any_lab, monkeypatch)
    yield made
    made.engine.close()


def noise(size: int) -> str:
    """Return a command that leaves a file of random bytes: a layer that no registry has."""
    return f"head -c {size} /dev/urandom > noise && : {secrets.token_hex(8)}"


def local_names(bench: Bench, image: str) -> set[str]:
    return set(bench.lab.client.images.get(image).tags)


def test_image_is_published_as_it_is_and_leaves_no_name_behind(bench: Bench, registry: Registry) -> None:
    image = bench.build_files(noise(30_000_000))
    ref = f"{registry.address}/team/app:1"
    before = local_names(bench, image)
    *moved, last = bench.engine.push(image, ref)
    digest, manifest = registry.manifest(ref)
    assert last == Pushed(ref=ref, digest=digest, layers=1, sent=last.sent)
    assert image in (digest, manifest["config"]["digest"])
    assert last.sent >= 30_000_000
    assert [event for event in moved if event.completed and event.total == last.sent]
    assert local_names(bench, image) == before
    if image == digest:  # the containerd store
        assert {layer["mediaType"].rpartition("+")[2] for layer in manifest["layers"]} == {"zstd"}
        assert manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"


def test_pushing_again_sends_nothing(bench: Bench, registry: Registry) -> None:
    image = bench.build_files(noise(2_000_000))
    ref = f"{registry.address}/team/app:1"
    first = bench.push(image, ref)
    registry.asked.clear()
    assert bench.push(image, ref) == Pushed(ref=ref, digest=first.digest, layers=0, sent=0)
    assert registry.uploads() == []


def test_layer_that_images_share_is_uploaded_once_whatever_is_below(bench: Bench, registry: Registry) -> None:
    """The step's cache key differs with what is below, so the engine runs it twice; its bytes are the same.

    The graphdriver store's engine touches /etc, for its resolv.conf.
    """
    shared = "RUN mkdir /s && seq 300000 > /s/shared && touch -d @1000000000 /s/shared /s /etc"
    own = "RUN echo {} > /own"
    images = [bench.build(f"FROM {IMAGE}\n{own.format(name)}\n{shared}\n") for name in ("a", "b")]
    refs = [f"{registry.address}/team/app:{name}" for name in ("a", "b")]
    bench.push(images[0], refs[0])
    _, first = registry.manifest(refs[0])
    registry.asked.clear()
    bench.push(images[1], refs[1])
    _, second = registry.manifest(refs[1])
    assert first["layers"][-1] == second["layers"][-1]
    assert first["layers"][-2] != second["layers"][-2]
    assert first["layers"][-1]["size"] > 10_000
    assert max(registry.uploads()) < 10_000


def test_many_at_once_upload_what_they_share_once(bench: Bench, registry: Registry) -> None:
    shared = noise(4_000_000)
    images = [bench.build_files(shared, f"echo {n} > own") for n in range(12)]
    refs = [f"{registry.address}/team/app{n % 3}:{n}" for n in range(12)]
    with ThreadPoolExecutor(12) as pool:
        done = list(pool.map(bench.push, images, refs))
    assert [registry.manifest(ref)[0] for ref in refs] == [last.digest for last in done]
    assert len([size for size in registry.uploads() if size > 1_000_000]) == 1
    assert sorted(last.layers for last in done) == [1] * 11 + [2]


@pytest.mark.parametrize("verb", ["HEAD", "POST", "PUT"])
@pytest.mark.parametrize("fault", ["reset", 503, 429])
def test_what_passes_by_itself_is_tried_again(bench: Bench, registry: Registry, verb: str, fault: Fault) -> None:
    image = bench.build_files(noise(10_000))
    ref = f"{registry.address}/team/app:1"
    registry.faults = [(verb, fault)]
    assert bench.push(image, ref).digest == registry.manifest(ref)[0]
    assert registry.faults == []


@pytest.mark.parametrize("verb", ["POST", "PUT"])
@pytest.mark.parametrize("layers", [1, 12])
def test_five_faults_in_a_row_cost_what_was_under_way_at_most(
    bench: Bench, registry: Registry, monkeypatch: pytest.MonkeyPatch, verb: str, layers: int
) -> None:
    """The engine uploads AT_ONCE layers at a time, and lets go of all of them when it gives one up."""
    monkeypatch.setattr("builder.attempts.PAUSES", (0.1,) * len(PAUSES))
    image = bench.build_files(*(noise(1_000_000) for _ in range(layers)))
    registry.faults = [(verb, fault) for fault in ("reset", 500, 503, "truncate", 429)]
    ref = f"{registry.address}/team/app:1"
    assert bench.push(image, ref).digest == registry.manifest(ref)[0]
    assert registry.faults == []
    assert sum(registry.uploads()) < (layers + 5 * min(layers, AT_ONCE)) * 1_050_000


def test_refusal_leaves_the_ref_and_is_told(bench: Bench, registry: Registry) -> None:
    ref = f"{registry.address}/team/app:1"
    old = bench.push(bench.build_files(noise(1000)), ref)
    image = bench.build_files(noise(1000))
    registry.faults = [("POST", 403)]
    with pytest.raises(PushError, match=registry.address) as caught:
        bench.push(image, ref)
    assert f"docker login {registry.address}" in str(caught.value)
    assert caught.value.exit_code == 10
    assert registry.manifest(ref)[0] == old.digest
    assert ref not in local_names(bench, image)


def test_dockers_own_login_is_used(
    bench: Bench, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.login = "canary:s3cret"
    image = bench.build_files(noise(1000))
    ref = f"{registry.address}/team/app:1"
    with pytest.raises(PushError, match=registry.address) as caught:
        bench.push(image, ref)
    assert f"docker login {registry.address}" in str(caught.value)
    config = {"auths": {registry.address: {"auth": base64.b64encode(registry.login.encode()).decode()}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with Engine() as engine:
        *_, last = engine.push(image, ref)
    registry.login = ""
    assert isinstance(last, Pushed)
    assert registry.manifest(ref)[0] == last.digest


def test_registry_that_does_not_answer_is_told(bench: Bench) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(PushError, match=f"{host}: .*refused") as caught:
            bench.push(bench.build_files("touch x"), f"{host}/team/app:1")
    assert f"does {host} answer where the engine runs?" in str(caught.value)


@pytest.mark.parametrize("name", ["Team/App:1", "team/app", "team/app:1:2", "team//app:1"])
def test_ref_that_is_none_is_told(bench: Bench, registry: Registry, name: str) -> None:
    image = bench.build_files("touch x")
    with pytest.raises(PushError, match="invalid") as caught:
        bench.push(image, f"{registry.address}/{name}")
    assert "REGISTRY/PATH/NAME:TAG" in str(caught.value)
    assert registry.asked == []


def test_image_that_is_gone_is_told(bench: Bench, registry: Registry) -> None:
    with pytest.raises(EngineError, match="No such image"):
        bench.push(f"sha256:{'0' * 64}", f"{registry.address}/team/app:1")


def test_cancel_ends_a_push_and_the_ref_does_not_move(bench: Bench, registry: Registry) -> None:
    image = bench.build_files(noise(1000))
    ref = f"{registry.address}/team/app:1"
    registry.faults = [("POST", "hold")]
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(bench.push, image, ref)
        assert registry.held.wait(600)
        bench.engine.cancel()
        with pytest.raises(Cancelled):
            running.result()
    registry.open_gate.set()
    assert not registry.has(ref)
    assert ref not in local_names(bench, image)
    with pytest.raises(Cancelled):
        bench.push(image, ref)


def test_name_that_was_there_stays(bench: Bench, registry: Registry) -> None:
    image = bench.build_files(noise(1000))
    ref = f"{registry.address}/team/app:1"
    bench.engine.tag(bench.build_files(noise(1000)), ref)
    try:
        bench.push(image, ref)
        assert ref in local_names(bench, image)
    finally:
        bench.lab.client.images.remove(ref)
