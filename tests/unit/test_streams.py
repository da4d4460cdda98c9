"""Streams against a stand-in for the engine that answers half and then keeps silent."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import docker
import pytest

from builder.errors import Cancelled, EngineError
from builder.streams import Streams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LINE = b"6\r\nfirst\n\r\n"


class Silent:
    """Sends `said` to each client and keeps the connection open; `ended` is set when the client has left."""

    def __init__(self, said: bytes, gate: threading.Event) -> None:
        self.said, self.gate, self.asked, self.ended = said, gate, threading.Event(), threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        self.api = docker.APIClient(f"tcp://127.0.0.1:{self.listener.getsockname()[1]}", version="1.47")

    def _run(self) -> None:
        with contextlib.suppress(OSError), self.listener.accept()[0] as connection:  # nobody may ever connect
            connection.recv(4096)
            self.asked.set()
            self.gate.wait()
            connection.sendall(self.said)
            while connection.recv(4096):
                pass
        self.ended.set()

    def close(self) -> None:
        self.gate.set()
        self.api.close()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)  # closing alone would not wake the thread that waits
        self.listener.close()
        self.thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[..., Silent]]:
    with contextlib.ExitStack() as stack:

        def start(said: bytes, gate: threading.Event | None = None) -> Silent:
            if gate is None:
                (gate := threading.Event()).set()
            made = Silent(said, gate)
            stack.callback(made.close)
            return made

        yield start


def test_reader_that_waits_is_cancelled_and_the_engine_sees_it_leave(serve: Callable[..., Silent]) -> None:
    engine = serve(HEAD + LINE)
    streams = Streams(engine.api)
    came = []

    def read() -> None:
        with streams.post("/build") as lines:
            for line in lines:
                came.append(line)
                threading.Timer(0.1, streams.cancel).start()

    with pytest.raises(Cancelled):
        read()
    assert came == [b"first"]
    assert engine.ended.wait(60)


def test_cancel_before_the_engine_answers_ends_it_when_it_does(serve: Callable[..., Silent]) -> None:
    gate = threading.Event()
    engine = serve(HEAD + LINE, gate)
    streams = Streams(engine.api)

    def cancel() -> None:
        engine.asked.wait()
        streams.cancel()
        gate.set()

    threading.Thread(target=cancel).start()
    with pytest.raises(Cancelled), streams.post("/build"):
        pytest.fail("it went on")
    assert engine.ended.wait(60)


def test_after_cancel_nothing_is_asked(serve: Callable[..., Silent]) -> None:
    engine = serve(HEAD)
    streams = Streams(engine.api)
    streams.cancel()
    with pytest.raises(Cancelled), streams.post("/build"):
        pytest.fail("it began")
    with pytest.raises(Cancelled), streams.call():
        pytest.fail("it began")
    with pytest.raises(Cancelled):
        streams.sleep(3600)
    assert not engine.asked.is_set()
    socket.create_connection(engine.listener.getsockname()).close()  # the stand-in still waits for its client


def test_reader_that_leaves_early_closes_the_connection(serve: Callable[..., Silent]) -> None:
    engine = serve(HEAD + LINE)
    with Streams(engine.api).post("/build") as lines:
        next(lines)
    assert engine.ended.wait(60)


def test_reply_that_breaks_off_without_cancel_is_an_engine_error(serve: Callable[..., Silent]) -> None:
    engine = serve(HEAD + LINE + b"zz\r\n")
    with pytest.raises(EngineError, match="broke"), Streams(engine.api).post("/build") as lines:
        list(lines)


def test_question_that_nobody_answers_is_left_when_it_is_cancelled() -> None:
    asked, answered = threading.Event(), threading.Event()

    class Nobody:
        def _url(self, path: str) -> str:
            return path

        def _get(self, *_: object, **__: object) -> None:
            asked.set()
            answered.wait(30)

    streams = Streams(Nobody())
    threading.Thread(target=lambda: (asked.wait(), streams.cancel()), daemon=True).start()
    with pytest.raises(Cancelled):
        streams.ask("/distribution/x/json")
    assert not answered.is_set()
    answered.set()
