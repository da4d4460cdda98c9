"""The engine's promises on each image store: many builds at once, all of them cancelled, and what is exported."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from builder.context import Context, ContextFile
from builder.engine import Engine
from builder.errors import Cancelled
from builder.events import Built, Step
from tests.docker.test_interruption import find_sleepers, wait_for
from tests.kit.base import IMAGE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.docker.conftest import Lab


@pytest.fixture
def engine(any_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setenv("DOCKER_HOST", any_lab.url)
    with Engine() as engine:
        yield engine


def build(engine: Engine, dockerfile: str) -> str:
    """Return the id of the image."""
    context = Context(files=(ContextFile(path="Dockerfile", data=dockerfile.encode()),))
    *_, last = engine.build(context, secrets={}, credentials=engine.credentials, build_args={})
    assert isinstance(last, Built)
    return last.image_id


def read_manifest(lab: Lab, image: str) -> dict[str, Any]:
    """Return the manifest that the containerd store keeps of an image."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(lab.client.images.get(image).save()))) as tar:
        member = tar.extractfile(f"blobs/{image.replace(':', '/')}")
        assert member is not None
        found: dict[str, Any] = json.load(member)
        return found


def cancel(engine: Engine, _: int) -> None:
    threading.Thread(target=engine.cancel).start()


def cancel_by_signal(engine: Engine, pid: int) -> None:
    signal.signal(signal.SIGUSR1, lambda *_: engine.cancel())
    os.kill(pid, signal.SIGUSR1)


@pytest.mark.parametrize("how", [cancel, cancel_by_signal])
def test_cancel_ends_every_build_and_the_engine_stops_its_steps(engine: Engine, how: Any) -> None:
    markers = [str(random.randrange(10**6, 10**9)) for _ in range(12)]
    with ThreadPoolExecutor(len(markers)) as pool:
        running = [pool.submit(build, engine, f"FROM {IMAGE}\nRUN exec sleep {marker}\n") for marker in markers]
        wait_for(lambda: all(find_sleepers(marker) for marker in markers), "every step to run")
        how(engine, os.getpid())
        for build_ in running:
            with pytest.raises(Cancelled) as caught:
                build_.result()
            assert caught.value.exit_code == 130
    wait_for(lambda: not any(find_sleepers(marker) for marker in markers), "the engine to stop the steps")
    for later in (lambda: build(engine, f"FROM {IMAGE}\n"), lambda: engine.tag(IMAGE, "never:1")):
        with pytest.raises(Cancelled):
            later()
    with Engine() as other:
        assert other.find_image("never:1") is None


def test_builds_at_once_get_their_own_images_and_share_a_step(engine: Engine, any_lab: Lab) -> None:
    shared = f"RUN cat /proc/sys/kernel/random/uuid > /once && : {random.random()}"
    texts = [f"FROM {IMAGE}\n{shared}\nRUN echo {n} > /own\n" for n in range(5)]
    with ThreadPoolExecutor(len(texts)) as pool:
        images = list(pool.map(lambda text: build(engine, text), texts))
    said = [any_lab.shell(image, "cat /own /once").split() for image in images]
    assert [own for own, _ in said] == [str(n) for n in range(len(texts))]
    assert len({once for _, once in said}) == 1
    assert [build(engine, text) for text in texts] == images


def test_image_stays_without_a_name_and_runs(engine: Engine, any_lab: Lab) -> None:
    text = f"FROM {IMAGE}\nRUN echo {random.random()} > /own\n"
    image = build(engine, text)
    assert engine.find_image(image) == image
    assert any_lab.client.images.get(image).tags == []
    assert any_lab.shell(image, "test -s /own && echo runs") == "runs\n"
    assert build(engine, text) == image
    engine.remove(image)
    assert engine.find_image(image) is None


def test_containerd_store_exports_zstd_and_keeps_the_layers_of_the_base(engine: Engine, any_lab: Lab) -> None:
    base = any_lab.client.images.get(IMAGE)
    if str(base.id) != base.attrs.get("Descriptor", {}).get("digest"):
        pytest.skip("the graphdriver store keeps no compressed layers")
    image = build(engine, f"FROM {IMAGE}\nRUN echo {random.random()} > /own\n")
    manifest = read_manifest(any_lab, image)
    (below,) = read_manifest(any_lab, str(base.id))["layers"]
    first, own = manifest["layers"]
    assert first["digest"] == below["digest"]
    assert own["mediaType"] == "application/vnd.oci.image.layer.v1.tar+zstd"


def test_same_steps_without_cache_are_the_same_image(engine: Engine) -> None:
    """A file that the step is shown and does not read changes what is cached, and nothing else."""
    text = f"FROM {IMAGE}\nRUN --mount=type=bind,target=/build echo same > /own && touch -d @1000000000 /own /etc\n"

    def fresh() -> tuple[str, bool]:
        nonce = ContextFile(path="nonce", data=str(random.random()).encode())
        context = Context(files=(ContextFile(path="Dockerfile", data=text.encode()), nonce))
        epoch = {"SOURCE_DATE_EPOCH": "1000000000"}
        events = list(engine.build(context, secrets={}, credentials=engine.credentials, build_args=epoch))
        assert isinstance(events[-1], Built)
        steps = {event.digest: event for event in events if isinstance(event, Step) and "RUN" in event.name}
        return events[-1].image_id, any(step.cached for step in steps.values())

    (one, cached_one), (two, cached_two) = fresh(), fresh()
    assert not cached_one
    assert not cached_two
    assert one == two


def test_secret_is_there_for_a_step_that_comes_late(engine: Engine) -> None:
    """Engines give up a session that does not answer their health checks, after ten seconds or so."""
    mount = "--mount=type=secret,id=host,target=/secret,required=true"
    text = f"FROM {IMAGE}\nRUN echo {random.random()} && sleep 20\nRUN {mount} grep -qx late /secret\n"
    context = Context(files=(ContextFile(path="Dockerfile", data=text.encode()),))
    secrets = {"host": b"late\n"}
    *_, last = engine.build(context, secrets=secrets, credentials=engine.credentials, build_args={})
    assert isinstance(last, Built)
