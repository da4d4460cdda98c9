"""What the engine's replies mean, on recorded ones; the engine itself is tested in tests/docker."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
from docker.errors import APIError, DockerException

from builder.context import Context, ContextFile
from builder.engine import Engine, pack_context, read_stream
from builder.errors import BuildError, EngineError
from builder.events import Built, Log, Notice, Step, Transfer
from builder.failures import explained

DATA = Path(__file__).parent / "data"


def recorded(name: str) -> list[bytes]:
    return (DATA / f"build-{name}.jsonl").read_bytes().splitlines()


def test_recorded_success_ends_with_the_image() -> None:
    events = list(read_stream(iter(recorded("success"))))
    assert isinstance(events[-1], Built)
    assert events[-1].image_id.startswith("sha256:")
    assert {type(event) for event in events} == {Step, Log, Notice, Transfer, Built}
    assert "to stdout\n" in [event.text for event in events if isinstance(event, Log)]
    (notice,) = (event for event in events if isinstance(event, Notice))
    assert "JSONArgsRecommended" in notice.text
    (run,) = {event.digest for event in events if isinstance(event, Step) and "RUN" in event.name}
    last = [event for event in events if isinstance(event, Step) and event.digest == run][-1]
    assert last.started is not None
    assert last.completed is not None
    assert 0 < last.completed - last.started < 60


def test_recorded_failure_is_a_build_error_after_its_last_words() -> None:
    events = []
    with pytest.raises(BuildError, match="exit code 3"):
        events.extend(read_stream(iter(recorded("failure"))))
    assert [event.text for event in events if isinstance(event, Log)] == ["words before the end\n"]
    assert [event for event in events if isinstance(event, Step) and event.error]


@pytest.mark.parametrize("lines", range(16))
def test_stream_that_breaks_off_is_never_a_success(lines: int) -> None:
    """A reply without the image's digest is no image, wherever it was cut."""
    whole = recorded("success")
    kept = [line for line in whole[:lines] if b"moby.image.id" not in line]
    with pytest.raises(EngineError, match="without an image"):
        list(read_stream(iter(kept)))


@pytest.mark.parametrize(
    ("message", "kind", "hint"),
    [
        ("failed to solve: write /x: no space left on device", EngineError, "docker system df"),
        ("failed to solve: Canceled: context canceled", EngineError, "rerun"),
        ("graceful stop of the daemon", EngineError, "rerun"),
        ("rpc error: code = Unavailable desc = error reading from server: EOF", EngineError, "rerun"),
        ("failed to solve: docker.io/library/absent:1: not found", BuildError, None),
    ],
)
def test_error_in_the_stream_says_what_to_do(message: str, kind: type[EngineError], hint: str | None) -> None:
    line = json.dumps({"errorDetail": {"message": message}, "error": message}).encode()
    with pytest.raises(kind) as caught:
        list(read_stream(iter([line])))
    assert not str(caught.value).startswith("failed to solve")
    assert (caught.value.hint is None) if hint is None else (hint in str(caught.value.hint))


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            DockerException("Error while fetching server API version: PermissionError(13, 'Permission denied')"),
            "permission",
        ),
        (
            DockerException("('Connection aborted.', FileNotFoundError(2, 'No such file or directory'))"),
            "no container engine",
        ),
        (requests.ConnectionError("('Connection aborted.', ConnectionResetError(104))"), "connection .* broke"),
        (requests.ReadTimeout("Read timed out. (read timeout=60)"), "connection .* broke"),
        (APIError("500 Server Error", explanation="write: no space left on device"), "disk is full"),
        (APIError("409 Conflict", explanation="conflict: in use"), "refused: conflict: in use"),
    ],
)
def test_failures_of_the_client_say_what_to_do(error: Exception, says: str) -> None:
    with pytest.raises(EngineError, match=says), explained():
        raise error


def test_no_engine_is_an_engine_error_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    with pytest.raises(EngineError, match="no container engine answers") as caught:
        Engine()
    assert "DOCKER_HOST" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("url", "local"), [("http+docker://localhost", True), ("http+docker://ssh", False), ("http://127.0.0.1:1", False)]
)
def test_engine_by_ssh_is_another_machine(url: str, *, local: bool) -> None:
    engine = object.__new__(Engine)
    engine._api = SimpleNamespace(base_url=url)
    assert engine.is_local is local


def make_context(*paths: str) -> Context:
    return Context(files=tuple(ContextFile(path=path, data=path.encode()) for path in paths))


def test_equal_contexts_are_equal_bytes_whatever_their_order() -> None:
    assert pack_context(make_context("a", "host/b")) == pack_context(make_context("host/b", "a"))


def test_packed_context_has_no_owner_and_no_time() -> None:
    long = "native/" + "x" * 150
    with tarfile.open(fileobj=io.BytesIO(pack_context(make_context("Dockerfile", long)))) as tar:
        members = tar.getmembers()
        files = [member for member in members if member.isfile()]
        assert {member.name: tar.extractfile(member).read() for member in files} == {  # type: ignore[union-attr]
            "Dockerfile": b"Dockerfile",
            long: long.encode(),
        }
        assert [member.name for member in members if member.isdir()] == ["native"]
    assert not any(member.pax_headers for member in members), "GNU format has none"
    assert {(member.mtime, member.uid, member.gid, member.uname, member.mode) for member in members} == {
        (0, 0, 0, "", 0o644),
        (0, 0, 0, "", 0o755),
    }


def test_archive_begins_with_an_ordinary_file() -> None:
    """The engine recognises the archive by its first kilobyte: an extended header there would not do."""
    body = pack_context(make_context("Dockerfile"))
    assert body[257:262] == b"ustar"
    assert body[156:157] == tarfile.REGTYPE
