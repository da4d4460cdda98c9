"""The session against a stand-in for the engine's half: HTTP upgrade, then gRPC as the client on the same socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import docker
import pytest
from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.health.v1.health_grpc import HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from builder.errors import EngineError
from builder.proto import buildkit_pb2 as pb
from builder.session import SECRET_LIMIT, Session

REFUSAL = b"HTTP/1.1 404 Not Found\r\nContent-Length: 14\r\n\r\nno such route\n"
UPGRADE = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
SECRET = "/moby.buildkit.secrets.v1.Secrets/GetSecret"
CREDENTIALS = "/moby.filesync.v1.Auth/Credentials"
TOKEN = "/moby.filesync.v1.Auth/FetchToken"

Ask = Callable[[Channel], Coroutine[Any, Any, Any]]


class Engine:
    """Listens as an engine does; `ask` is what BuildKit asks of its client once the session is open."""

    def __init__(self, reply: bytes, ask: Ask | None) -> None:
        self.reply, self.ask = reply, ask
        self.head = b""
        self.answer: Any = None
        self.ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self.api = docker.APIClient(f"tcp://127.0.0.1:{self._listener.getsockname()[1]}", version="1.47")

    def _run(self) -> None:
        connection, _ = self._listener.accept()
        try:
            with connection:
                while b"\r\n\r\n" not in self.head:
                    self.head += connection.recv(4096)
                connection.sendall(self.reply)
                if self.ask:
                    self.answer = asyncio.run(self._talk(connection, self.ask))
        finally:
            self.ended.set()  # a failed ask must not leave the test waiting

    async def _talk(self, connection: socket.socket, ask: Ask) -> Any:
        class OnSocket(Channel):
            async def _create_connection(self) -> Any:
                loop = asyncio.get_running_loop()
                return (await loop.create_connection(self._protocol_factory, sock=connection))[1]

        connection.setblocking(False)
        async with OnSocket() as channel:
            return await ask(channel)

    def close(self) -> None:
        self.api.close()
        self._thread.join()
        self._listener.close()


@pytest.fixture
def listen() -> Iterator[Callable[..., Engine]]:
    with contextlib.ExitStack() as stack:

        def start(reply: bytes = UPGRADE, ask: Ask | None = None) -> Engine:
            engine = Engine(reply, ask)
            stack.callback(engine.close)
            return engine

        yield start


def open_session(engine: Engine, **secrets: bytes) -> Session:
    logins = {"registry.example": ("me", "s3cret")}
    return Session(engine.api, secrets=secrets, credentials=logins.get)


def answered(engine: Engine, **secrets: bytes) -> Any:
    with open_session(engine, **secrets):
        engine.ended.wait()
    return engine.answer


def get_secret(name: str) -> Ask:
    async def ask(channel: Channel) -> Any:
        method = UnaryUnaryMethod(channel, SECRET, pb.GetSecretRequest, pb.GetSecretResponse)
        return (await method(pb.GetSecretRequest(ID=name))).data

    return ask


def get_credentials(host: str) -> Ask:
    async def ask(channel: Channel) -> Any:
        method = UnaryUnaryMethod(channel, CREDENTIALS, pb.CredentialsRequest, pb.CredentialsResponse)
        reply = await method(pb.CredentialsRequest(Host=host))
        return reply.Username, reply.Secret

    return ask


def status_of(ask: Ask) -> Ask:
    async def status(channel: Channel) -> Any:
        with pytest.raises(GRPCError) as caught:
            await ask(channel)
        return caught.value.status

    return status


def test_session_is_opened_by_an_upgrade_that_names_it(listen: Callable[..., Engine]) -> None:
    engine = listen()
    with open_session(engine) as session:
        head = engine.head.decode().lower()
    assert head.startswith("post /v1.47/session ")
    assert "upgrade: h2c" in head
    assert f"x-docker-expose-session-uuid: {session.id}" in head


@pytest.mark.parametrize("value", [b"settings", b"", bytes(range(256)) * 2000])
def test_secret_is_given_by_name(value: bytes, listen: Callable[..., Engine]) -> None:
    assert answered(listen(ask=get_secret("host")), host=value, other=b"other") == value


def test_secret_of_the_largest_size_goes_through(listen: Callable[..., Engine]) -> None:
    assert len(answered(listen(ask=get_secret("host")), host=b"x" * SECRET_LIMIT)) == SECRET_LIMIT


def test_larger_secret_is_refused_before_the_build() -> None:
    with pytest.raises(EngineError, match="takes at most"):
        Session(None, secrets={"host": b"x" * (SECRET_LIMIT + 1)}, credentials=lambda _: None)


async def check_health(channel: Channel) -> Any:
    return (await HealthStub(channel).Check(HealthCheckRequest())).status


def test_health_checks_are_answered_without_which_an_engine_gives_a_session_up(
    listen: Callable[..., Engine],
) -> None:
    assert answered(listen(ask=check_health)) == HealthCheckResponse.SERVING


def test_unknown_secret_is_not_found(listen: Callable[..., Engine]) -> None:
    assert answered(listen(ask=status_of(get_secret("other"))), host=b"x") is Status.NOT_FOUND


@pytest.mark.parametrize(("host", "login"), [("registry.example", ("me", "s3cret")), ("other.example", ("", ""))])
def test_credentials_are_those_of_the_registry(
    host: str, login: tuple[str, str], listen: Callable[..., Engine]
) -> None:
    assert answered(listen(ask=get_credentials(host))) == login


def test_engine_fetches_tokens_itself(listen: Callable[..., Engine]) -> None:
    async def fetch(channel: Channel) -> Any:
        method = UnaryUnaryMethod(channel, TOKEN, pb.CredentialsRequest, pb.CredentialsResponse)
        return await method(pb.CredentialsRequest(Host="registry.example"))

    assert answered(listen(ask=status_of(fetch))) is Status.UNIMPLEMENTED


def test_leaving_the_session_closes_its_connection(listen: Callable[..., Engine]) -> None:
    async def wait_for_the_end(channel: Channel) -> str:
        protocol = await channel.__connect__()
        while not protocol.handler.connection_lost:
            await asyncio.sleep(0.01)
        return "closed"

    engine = listen(ask=wait_for_the_end)
    with open_session(engine):
        assert not engine.ended.is_set()
    engine.ended.wait()
    assert engine.answer == "closed"


def test_refusal_of_the_engine_is_told(listen: Callable[..., Engine]) -> None:
    with (
        pytest.raises(EngineError, match="refused a build session: no such route") as caught,
        open_session(listen(REFUSAL)),
    ):
        pass
    assert "23.0" in str(caught.value.hint)
