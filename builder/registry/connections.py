"""Connections to a registry: what they believe, and how those that wait are cut from another thread."""

from __future__ import annotations

import contextlib
import socket
import threading
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from requests.adapters import HTTPAdapter
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.ssl_ import create_urllib3_context

from builder.errors import RegistryError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from ssl import SSLContext


class Connections(HTTPAdapter):
    """At most `most` connections to a host, which are kept; they believe one more CA than a request says, if any.

    Raises RegistryError for a CA that cannot be read.
    """

    def __init__(self, own_ca: Path | None, *, most: int) -> None:
        self._more: dict[str, Any] = {"ssl_context": _believe(own_ca)} if own_ca else {}
        self._open: WeakSet[socket.socket] = WeakSet()
        self._lock = threading.Lock()
        self._is_cut = False
        super().__init__(pool_maxsize=most)

    def init_poolmanager(self, *args: Any, **more: Any) -> None:
        """Make the pools of hosts that are asked directly."""
        super().init_poolmanager(*args, **self._more | more)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **more: Any) -> Any:
        """Return the pools of hosts that are asked through a proxy."""
        manager = super().proxy_manager_for(proxy, **self._more | more)
        manager.pool_classes_by_scheme = self._pools
        return manager

    def cut(self) -> None:
        """Let what waits on a connection fail at once, and each later connection as well; from any thread."""
        with self._lock:
            self._is_cut, known = True, tuple(self._open)
        for it in known:
            _shut(it)

    @property
    def _pools(self) -> dict[str, Any]:
        pools = {"http": HTTPConnectionPool, "https": HTTPSConnectionPool}
        return {scheme: partial(_open_pool, pool, self._keep) for scheme, pool in pools.items()}

    def _keep(self, opened: socket.socket) -> None:
        with self._lock:
            self._open.add(opened)
            is_cut = self._is_cut
        if is_cut:
            _shut(opened)


def _open_pool(pool: type[HTTPConnectionPool], keep: Callable[[socket.socket], None], *args: Any, **more: Any) -> Any:
    """Return a pool whose connections tell their sockets as they open them."""
    made = pool(*args, **more)
    kind: Any = made.ConnectionCls

    def connect(connection: Any) -> None:
        kind.connect(connection)
        keep(connection.sock)

    made.ConnectionCls = type(kind.__name__, (kind,), {"connect": connect})
    return made


def _shut(opened: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it is closed already
        # What TLS would have to say first is left out: another thread is in the middle of it.
        socket.socket.shutdown(opened, socket.SHUT_RDWR)


def _believe(own_ca: Path) -> SSLContext:
    context = create_urllib3_context()
    try:
        context.load_verify_locations(own_ca)
    except OSError as error:
        hint = "is it a CA's certificate in PEM? The engine reads it, too."
        raise RegistryError("the registry's own CA cannot be read", path=own_ca, hint=hint) from error
    return context
