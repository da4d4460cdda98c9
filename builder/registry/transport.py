"""Requests to one registry: with a login where it asks for one, and once more where one failed that may yet work.

A reply counts only as a whole. One that breaks off, is too short, or is not what its digest says is asked for again,
like those of status 429 and 5xx, until `patience` is over. What is on its way may take longer, as long as it moves:
the time in which it moved does not count.
"""

from __future__ import annotations

import io
import threading
import time
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from requests.exceptions import ConnectionError as BrokenError
from urllib3.exceptions import HTTPError, NameResolutionError, NewConnectionError, SSLError
from urllib3.util import Retry

from builder.errors import Cancelled, RegistryError
from builder.registry.connections import Connections
from builder.registry.content import ContentError
from builder.registry.token import TokenRequest, answer_challenge, deny, read_token

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from builder.registry.place import Place
    from builder.registry.token import Login

PATIENCE = 60.0
"""Seconds after which a request is not tried again, whatever the registry asks for with Retry-After."""

CONNECTIONS = 8
"""How many requests run at once at most: more are kept waiting by the callers."""

_PAUSES = (0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 6.4)
"""Seconds before each new attempt."""

_TIMEOUT = (10.0, 20.0)  # seconds to connect and to send a piece, and between two pieces of a reply
_PACE = 16 * 1024  # bytes in a second: what moves at least so fast is waited for
_HELD = 512 * 1024  # bytes that the system may hold of what it took to be sent, on a link as slow as that
_PIECE = 64 * 1024
_TALK = 1024 * 1024  # bytes that may say why there is no answer
_READING = frozenset({"GET", "HEAD"})
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_SURE = 2  # new attempts where more would hardly help


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole reply; `headers` are found by any case, `url` is where it came from, `following` its next page."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str
    following: str | None


class Transport:
    """The connections to one registry, for any number of threads; `find_login` is asked for its host at most once."""

    def __init__(self, place: Place, find_login: Callable[[str], Login], *, patience: float = PATIENCE) -> None:
        self.place = place
        self._find_login = find_login
        self._patience = patience
        self._tokens: dict[str, str] = {}
        self._login: tuple[Login] | None = None
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._session = requests.Session()
        self._session.trust_env = False  # the place has the proxies and the CA, docker's configuration the login
        self._session.headers.update({"User-Agent": "imgbuild", "Accept-Encoding": "identity"})
        # Who sends a cookie back is a browser to Harbor, and may not write (github.com/dotnet/sdk/pull/37221).
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        self._connections = Connections(place.own_ca, most=CONNECTIONS)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, self._connections)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    @property
    def is_cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Let every request raise Cancelled: one that waits for whatever at once, and each later one."""
        self._cancelled.set()
        self._connections.cut()

    def ask(
        self,
        method: str,
        path: str,
        *,
        scope: str,
        limit: int,
        accept: str = "*/*",
        is_whole: Callable[[Reply], bool] = lambda _: True,
        data: bytes | None = None,
        media_type: str = "application/octet-stream",
    ) -> Reply:
        """Return what the registry answers: any status but 401, 403, 429 and 5xx, which raise RegistryError.

        `path` begins with a slash, or is a whole address of the same registry. `scope` is what a token is to allow,
        `limit` the most bytes that a body may have. `data` of a `media_type` is what is sent. Raises ContentError for
        a larger body, and for one that stays other than `is_whole` wants it; Cancelled after `cancel`.
        """
        url = path if "://" in path else self.place.url + path
        used = self._tokens.get(scope)
        for _ in range(2):
            headers = {"Accept": accept} | ({"Authorization": used} if used else {})
            headers |= {"Content-Type": media_type} if data is not None else {}
            # What is sent is sent to this registry alone.
            more = {"headers": headers, "data": data, "allow_redirects": method in _READING}
            reply = self._insist(limit, is_whole, method, url, **more)
            if reply.status == 403:
                break
            if reply.status != 401:
                return reply
            # Who stores what a registry has is not who was logged in to (containerd once was of another mind:
            # CVE-2020-15157).
            if not self.place.has(reply.url):
                host = urlsplit(reply.url).netloc.rpartition("@")[2]
                message = f"{self.place.host}: it leads to {host}, which asks for a login"
                raise RegistryError(message, hint=f"is {host} a registry? Name it in place of {self.place.host} then.")
            used = self._authorize(reply.headers.get("WWW-Authenticate", ""), scope, used)
        raise deny(self.place.host, scope)

    def _authorize(self, challenge: str, scope: str, used: str | None) -> str:
        """Return the Authorization header for a scope, which another thread may have got meanwhile."""
        with self._lock:
            known = self._tokens.get(scope)
            if known and known != used:
                return known
            if self._login is None:
                self._login = (self._find_login(self.place.host),)
            answer = answer_challenge(challenge, self._login[0], self.place, scope)
            if isinstance(answer, TokenRequest):
                answer = self._fetch_token(answer, scope)
            self._tokens[scope] = answer
            return answer

    def _fetch_token(self, asked: TokenRequest, scope: str) -> str:
        headers = {"Authorization": asked.authorization} if asked.authorization else {}
        form = {"params": asked.params, "data": asked.data or None, "allow_redirects": asked.method in _READING}
        reply = self._insist(_TALK, lambda _: True, asked.method, asked.url, headers=headers, **form)
        if reply.status != 200:
            raise deny(self.place.host, scope)
        return read_token(reply.body, self.place)

    def _insist(
        self,
        limit: int,
        is_whole: Callable[[Reply], bool],
        method: str,
        url: str,
        *,
        data: Any = None,
        **more: Any,
    ) -> Reply:
        drain = min(len(data), _HELD) / _PACE if isinstance(data, bytes) else 0.0
        end = time.monotonic() + self._patience + drain
        for number, pause in enumerate((*_PAUSES, None)):
            wait = 0.0
            # Bytes would have to be taken in one go in the time that is to connect; each piece of a file has that
            # time (docs.python.org, socket.sendall; urllib3.util.request.body_to_chunks).
            body = _Body(data, self._cancelled) if isinstance(data, bytes) and data else data
            try:
                reply = self._send(limit, method, url, data=body, drain=drain, **more)
                if reply.status in _BUSY:
                    wait = _read_pause(reply)
                    fault, most = RegistryError(f"{self.place.host}: it answers {reply.status}"), len(_PAUSES)
                elif is_whole(reply):
                    return reply
                else:
                    message = f"{self.place.host}: {_tail(url)} is not what its digest says"
                    hint = "does a proxy on the way change it? Else it is damaged: remove it there, and push it again."
                    fault, most = ContentError(message, hint=hint), _SURE
            except (requests.RequestException, HTTPError, OSError, ValueError) as error:  # ValueError: of redirects
                if self._cancelled.is_set():
                    raise Cancelled("cancelled") from error
                fault, most = _explain(error, self.place)
            end += body.seconds if isinstance(body, _Body) else 0.0
            fault.hint = fault.hint or f"does {self.place.host} work? Rerun the same command later."
            if pause is None or number >= most:
                raise fault
            wait = max(wait, pause)
            if time.monotonic() + wait > end:
                raise fault
            if self._cancelled.wait(wait):
                raise Cancelled("cancelled")
        raise AssertionError("the last attempt returns or raises")

    def _send(self, limit: int, method: str, url: str, *, drain: float, **more: Any) -> Reply:
        """Return the reply to one attempt; `drain` are seconds that what was sent may need after the last piece."""
        if self._cancelled.is_set():
            raise Cancelled("cancelled")
        connecting, replying = _TIMEOUT
        verify = str(self.place.ca) if self.place.ca else True
        with self._session.request(
            method,
            url,
            stream=True,
            timeout=(connecting, replying + drain),
            verify=verify,
            proxies=dict(self.place.proxies),
            **more,
        ) as reply:
            end = time.monotonic() + self._patience
            most = limit if reply.status_code == 200 else max(limit, _TALK)
            body = bytearray()
            for piece in reply.iter_content(_PIECE):
                body += piece
                if len(body) > most:
                    hint = f"is {self.place.host} a registry, and nothing on the way that answers in its place?"
                    raise ContentError(f"{self.place.host}: {_tail(url)} has more than {most} bytes", hint=hint)
                if time.monotonic() > end + len(body) / _PACE or self._cancelled.is_set():
                    raise TimeoutError
            following = reply.links.get("next", {}).get("url")
            return Reply(
                status=reply.status_code, headers=reply.headers, body=bytes(body), url=reply.url, following=following
            )


class _Body(io.BytesIO):
    """What is sent, in pieces: none is taken after `cancelled`, and `seconds` are those from the first to the last."""

    def __init__(self, data: bytes, cancelled: threading.Event) -> None:
        super().__init__(data)
        self._cancelled = cancelled
        self._began: float | None = None
        self.seconds = 0.0

    def read(self, size: int | None = -1, /) -> bytes:
        if self._cancelled.is_set():
            raise Cancelled("cancelled")
        now = time.monotonic()
        self._began = now if self._began is None else self._began
        self.seconds = now - self._began
        return super().read(size)


def _read_pause(reply: Reply) -> float:
    """Return the seconds that a busy registry asks to wait (RFC 9110, Retry-After); 0 where it says nothing."""
    try:
        return Retry().parse_retry_after(reply.headers.get("Retry-After", "0"))
    except (HTTPError, ValueError, OverflowError):
        return 0.0


def _explain(error: Exception, place: Place) -> tuple[RegistryError, int]:
    """Return the error for a request that brought no reply, and how many new attempts are worth while."""
    host = place.host
    reason = getattr(error.args[0], "reason", None) if error.args else None
    if isinstance(error, requests.exceptions.SSLError) or isinstance(reason, SSLError):
        if "WRONG_VERSION_NUMBER" in str(error) or "record layer" in str(error):
            return RegistryError(f"{host}: it does not speak TLS", hint="say so with --insecure, if that is meant."), 0
        hint = f"put its CA in /etc/docker/certs.d/{host}/ca.crt, or name it as ca-bundle in the sources."
        return RegistryError(f"{host}: its certificate is not trusted", hint=hint), 0
    if isinstance(error, requests.exceptions.ProxyError):
        return RegistryError(f"{host}: the proxy on the way does not work", hint="see `proxy:` in the sources."), _SURE
    if isinstance(reason, NameResolutionError):
        return RegistryError(f"{host}: no such host is known here", hint="is the registry spelt right?"), 0
    if isinstance(reason, NewConnectionError):
        return RegistryError(f"{host}: it refuses the connection", hint=f"does a registry run at {host}?"), _SURE
    if isinstance(error, requests.Timeout | TimeoutError):
        return RegistryError(f"{host}: it does not answer in time"), _SURE
    if isinstance(error, requests.TooManyRedirects | ValueError):  # InvalidURL and InvalidSchema among them
        return RegistryError(f"{host}: it leads nowhere"), 0
    if isinstance(error, BrokenError | requests.exceptions.ChunkedEncodingError | HTTPError):
        return RegistryError(f"{host}: the connection broke off"), len(_PAUSES)
    return RegistryError(f"{host}: it cannot be asked ({type(error).__name__})"), 0


def _tail(url: str) -> str:
    return url.partition("/v2/")[2].partition("?")[0] or "its answer"
