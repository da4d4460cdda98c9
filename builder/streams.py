"""Requests whose replies are read while they arrive, and that another thread or a signal handler can end, all at once.

Closing the connection is how the engine is told to stop: it cancels the build or the push that it served.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import requests

from builder.errors import Cancelled
from builder.failures import explained

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BLINK = 0.1
_CHUNK = 1 << 16


class Streams:
    """The open streams of one docker-py client; `cancel` ends them and refuses new ones."""

    def __init__(self, api: Any) -> None:
        self._api = api
        self._sockets: set[Any] = set()
        self._cancelled = False

    def cancel(self) -> None:
        """End every stream. No locks: a signal handler may have interrupted any line of this module."""
        self._cancelled = True
        for connection in tuple(self._sockets):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def require_running(self) -> None:
        """Raise Cancelled when `cancel` was called."""
        if self._cancelled:
            raise Cancelled("cancelled")

    def sleep(self, seconds: float) -> None:
        """Wait. Raises Cancelled as soon as `cancel` is called."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.require_running()
            time.sleep(min(left, _BLINK))

    def ask(self, path: str, **request: Any) -> requests.Response | None:
        """Return the reply to a GET, None where there is none. Raises Cancelled as soon as `cancel` is called."""
        replies: list[requests.Response] = []

        def get() -> None:
            with contextlib.suppress(requests.RequestException):
                replies.append(self._api._get(self._api._url(path), **request))

        thread = threading.Thread(target=get, daemon=True, name="imgbuild-ask")
        thread.start()
        while thread.is_alive():
            self.require_running()
            thread.join(_BLINK)
        return replies[0] if replies else None

    @contextlib.contextmanager
    def call(self) -> Iterator[None]:
        """Explain what fails inside. Raises EngineError, or Cancelled for whatever went wrong after `cancel`."""
        self.require_running()
        try:
            with explained():
                yield
        except Exception as error:
            if self._cancelled:
                raise Cancelled("cancelled") from error
            raise

    @contextlib.contextmanager
    def post(self, path: str, **request: Any) -> Iterator[Iterator[bytes]]:
        """Yield the lines of the reply as they come; the connection is this request's own until the block ends."""
        with self._open(self._api._post, path, **request) as response:
            yield (line for line in response.iter_lines() if line)

    @contextlib.contextmanager
    def get(self, path: str, **request: Any) -> Iterator[Iterator[bytes]]:
        """Yield the chunks of the reply as they come; the connection is this request's own until the block ends."""
        with self._open(self._api._get, path, **request) as response:
            yield response.iter_content(_CHUNK)

    @contextlib.contextmanager
    def _open(self, ask: Callable[..., Any], path: str, **request: Any) -> Iterator[Any]:
        with self.call():
            response = ask(self._api._url(path), stream=True, timeout=None, **request)
            with contextlib.closing(response):
                self._api._raise_for_status(response)
                connection = self._api._get_raw_response_socket(response)
                connection = getattr(connection, "_sock", connection)  # under SocketIO; an SSH channel is bare
                self._sockets.add(connection)
                try:
                    self.require_running()  # `cancel` may have been called before it could see this connection
                    yield response
                finally:
                    self._sockets.discard(connection)
