"""Answer what BuildKit asks of its client during one build: secrets and registry credentials, over gRPC.

The engine takes a hijacked HTTP connection (`POST /session`) and speaks gRPC on it *as the client*, so the server
runs here. Nothing that is served is ever written to disk, and only what the build asks for by name leaves the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpclib.const
import grpclib.server
from grpclib.config import Configuration
from grpclib.encoding.proto import ProtoCodec
from grpclib.events import _DispatchServerEvents
from grpclib.exceptions import GRPCError
from grpclib.health.service import Health
from grpclib.protocol import H2Protocol
from h2.config import H2Configuration

from builder.errors import EngineError
from builder.proto import buildkit_pb2 as pb

Credentials = Callable[[str], tuple[str, str] | None]
"""Registry host → (user, password or token), or None to go on without."""

SECRET_LIMIT = 500 * 1024
"""Bytes that BuildKit accepts for one secret (moby/buildkit session/secrets/secrets.go, MaxSecretSize)."""

_SECRETS = "/moby.buildkit.secrets.v1.Secrets/"
_AUTH = "/moby.filesync.v1.Auth/"
_CHUNK = 64 * 1024


class Session:
    """A context manager that keeps a BuildKit session open; pass its `id` with the build.

    Raises EngineError when the engine does not open the session, or would not take a secret for its size.
    """

    def __init__(self, api: Any, *, secrets: Mapping[str, bytes], credentials: Credentials) -> None:
        for name, value in secrets.items():
            if len(value) > SECRET_LIMIT:
                message = f"build secret {name!r} is {len(value)} bytes; BuildKit takes at most {SECRET_LIMIT}"
                raise EngineError(message, hint="the CA bundle is most of it: give one with fewer certificates.")
        self.id = uuid.uuid4().hex
        self._api = api
        self._secrets = secrets
        self._credentials = credentials
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Session:
        handlers = self._handlers()
        response = self._api._post(
            self._api._url("/session"),
            headers={
                "Connection": "Upgrade",
                "Upgrade": "h2c",
                "X-Docker-Expose-Session-Uuid": self.id,
                "X-Docker-Expose-Session-Name": "imgbuild",
            },
            stream=True,
        )
        if response.status_code != 101:
            reason = response.text.strip() or f"HTTP status {response.status_code}"
            message = f"the engine refused a build session: {reason}"
            raise EngineError(message, hint="imgbuild needs Docker Engine 23.0 or newer, with BuildKit.")
        self._stack.callback(response.close)
        ours, served = socket.socketpair()
        remote: Any = self._api._get_raw_response_socket(response)
        remote = getattr(remote, "_sock", remote)  # under http.client's read-only SocketIO; an SSH channel is bare
        self._start(_pump_in, response.raw._fp.fp, ours)
        self._start(_pump_out, ours, remote)
        self._start(lambda: asyncio.run(_serve(handlers, served)))
        self._stack.callback(_close, ours)
        self._stack.callback(_close, remote)  # first: closing the response waits for its reader otherwise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self, target: Callable[..., None], *args: object) -> None:
        threading.Thread(target=target, args=args, daemon=True, name="imgbuild-session").start()

    def _handlers(self) -> dict[str, grpclib.const.Handler]:
        def unary(call: Callable[[Any], Awaitable[None]], request: type, reply: type) -> grpclib.const.Handler:
            return grpclib.const.Handler(call, grpclib.const.Cardinality.UNARY_UNARY, request, reply)

        refuse = unary(_refuse, pb.CredentialsRequest, pb.CredentialsResponse)
        return {
            # Asked every few seconds: a session that does not answer twice is given up, and its secrets with it.
            **Health().__mapping__(),
            _SECRETS + "GetSecret": unary(self._get_secret, pb.GetSecretRequest, pb.GetSecretResponse),
            _AUTH + "Credentials": unary(self._get_credentials, pb.CredentialsRequest, pb.CredentialsResponse),
            # Unimplemented here, the engine fetches tokens itself with the credentials above.
            _AUTH + "FetchToken": refuse,
            _AUTH + "GetTokenAuthority": refuse,
            _AUTH + "VerifyTokenAuthority": refuse,
        }

    async def _get_secret(self, stream: Any) -> None:
        request = await stream.recv_message()
        if request.ID not in self._secrets:
            raise GRPCError(grpclib.const.Status.NOT_FOUND, f"secret {request.ID} was not given to this build")
        await stream.send_message(pb.GetSecretResponse(data=self._secrets[request.ID]))

    async def _get_credentials(self, stream: Any) -> None:
        request = await stream.recv_message()
        user, secret = self._credentials(request.Host) or ("", "")
        await stream.send_message(pb.CredentialsResponse(Username=user, Secret=secret))


async def _refuse(stream: Any) -> None:
    await stream.recv_message()
    raise GRPCError(grpclib.const.Status.UNIMPLEMENTED, "")


async def _serve(handlers: dict[str, grpclib.const.Handler], connection: socket.socket) -> None:
    closed = asyncio.Event()

    class Protocol(H2Protocol):
        def connection_lost(self, exc: BaseException | None) -> None:
            super().connection_lost(exc)
            closed.set()

    connection.settimeout(0)
    server = grpclib.server.Handler(handlers, ProtoCodec(), None, _DispatchServerEvents())
    config = H2Configuration(client_side=False, header_encoding="ascii")
    await asyncio.get_running_loop().connect_accepted_socket(
        lambda: Protocol(server, Configuration().__for_server__(), config), connection
    )
    await closed.wait()


def _pump_in(source: Any, target: socket.socket) -> None:
    # The reader may already hold the first bytes after the 101 response, so it is read, not the bare socket.
    with contextlib.suppress(OSError, ValueError):
        while data := source.read1(_CHUNK):
            target.sendall(data)
    _close(target)


def _pump_out(source: socket.socket, target: Any) -> None:
    with contextlib.suppress(OSError, ValueError):
        while data := source.recv(_CHUNK):
            target.sendall(data)


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
