"""Which engine is meant, by DOCKER_HOST, DOCKER_CONTEXT and what `docker context` wrote."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING

import pytest
from testcontainers.core.docker_client import get_docker_host

from builder.endpoint import settle_host
from builder.engine import Engine
from builder.errors import EngineError

if TYPE_CHECKING:
    from pathlib import Path

NOWHERE = "tcp://127.0.0.1:9"


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return docker's configuration of the test's own; no variable names an engine."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.setenv(name, "")  # it is set again at the end, whatever a test leaves there
        monkeypatch.delenv(name)
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def add_context(config: Path, name: str, host: str, kind: str = "meta") -> Path:
    """Write a context as `docker context create` does, and return the folder of its `kind` of files."""
    folder = config / "contexts" / kind / hashlib.sha256(name.encode()).hexdigest()
    folder.mkdir(parents=True)
    told = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": False}}}
    (folder / "meta.json").write_text(json.dumps(told))
    return folder


def choose(config: Path, name: str) -> None:
    (config / "config.json").write_text(json.dumps({"currentContext": name}))


def settle() -> str:
    """Return where the engine is, for docker-py and for testcontainers alike."""
    settle_host()
    assert get_docker_host() == os.environ["DOCKER_HOST"]
    return os.environ["DOCKER_HOST"]


def test_usual_socket_is_where_nothing_else_is_said(config: Path) -> None:
    assert settle() == "unix:///var/run/docker.sock"
    (config / "config.json").unlink()
    assert settle() == "unix:///var/run/docker.sock"


def test_context_is_chosen_as_docker_does(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_context(config, "one", "unix:///one.sock")
    add_context(config, "two", "unix:///two.sock")
    choose(config, "one")
    assert settle() == "unix:///one.sock"
    for name, host in (("two", "unix:///two.sock"), ("default", "unix:///var/run/docker.sock")):
        monkeypatch.delenv("DOCKER_HOST")
        monkeypatch.setenv("DOCKER_CONTEXT", name)
        assert settle() == host
    monkeypatch.setenv("DOCKER_HOST", NOWHERE)
    assert settle() == NOWHERE


def test_engine_is_that_of_the_context(config: Path) -> None:
    add_context(config, "one", NOWHERE)
    choose(config, "one")
    with pytest.raises(EngineError, match=f"no container engine answers at {NOWHERE}"):
        Engine()
    assert os.environ["DOCKER_HOST"] == NOWHERE


@pytest.mark.parametrize(
    ("host", "words"),
    [
        (None, "context one does not exist"),
        ("", "context one names no engine"),
        ("ssh://user@far", "context one is reached by ssh"),
        ("tcp://far:2376", "context one has TLS keys"),
    ],
)
def test_context_that_cannot_be_used_is_one_clear_error(host: str | None, words: str, config: Path) -> None:
    choose(config, "one")
    if host is not None:
        add_context(config, "one", host)
    if host and host.startswith("tcp"):
        (add_context(config, "one", host, "tls") / "docker").mkdir()
    with pytest.raises(EngineError, match=words) as caught:
        Engine()
    assert "DOCKER_HOST" in str(caught.value.hint)


def test_context_needs_no_configuration_and_no_checkout_chooses_it(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (config / "config.json").unlink()
    monkeypatch.setenv("DOCKER_CONTEXT", "one")
    checkout = tmp_path / "checkout"
    add_context(checkout, "one", "tcp://elsewhere:1")
    monkeypatch.chdir(checkout)
    with pytest.raises(EngineError, match="context one does not exist"):
        settle_host()
    add_context(config, "one", NOWHERE)
    assert settle() == NOWHERE


def test_name_that_no_context_can_have_is_told_of(config: Path) -> None:
    choose(config, "\ud800")
    with pytest.raises(EngineError, match="cannot be read"):
        settle_host()


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"Name": "one", "Endpoints": {"docker": 1}}'])
def test_context_that_cannot_be_read_is_told_of(text: str, config: Path) -> None:
    choose(config, "one")
    (add_context(config, "one", NOWHERE) / "meta.json").write_text(text)
    with pytest.raises(EngineError, match="context one cannot be read"):
        settle_host()
