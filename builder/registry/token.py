"""What a registry's challenge asks for: a token from the server that it names, or user and password.

Sources: distribution.github.io, "Token Authentication Specification" and "OAuth2 Token Authentication"; RFC 7617.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from builder.errors import RegistryError
from builder.registry.content import parse_object
from builder.registry.place import is_loopback

if TYPE_CHECKING:
    from builder.registry.place import Place

Login = tuple[str, str] | None
"""User and password; an empty user means that the password is an identity token."""

_BEARER = re.compile(r"(?:^|,\s*)bearer\s+(.*)", re.IGNORECASE | re.DOTALL)
_BASIC = re.compile(r"(?:^|,\s*)basic\b", re.IGNORECASE)
_PARAMETER = re.compile(r'([A-Za-z_]+)\s*=\s*(?:"([^"]*)"|([^\s,"]+))')
_TOKEN = re.compile(r"[\x21-\x7e]+")
_AMBIGUOUS = re.compile(r"[\\\s\x00-\x1f\x7f]")
_CLIENT = "imgbuild"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """How a token is asked for: the arguments of `requests.request`. They hold the login."""

    method: str
    url: str
    params: tuple[tuple[str, str], ...] = ()
    data: tuple[tuple[str, str], ...] = ()
    authorization: str | None = None

    def __repr__(self) -> str:
        return f"TokenRequest({self.method} {self.url})"


def answer_challenge(challenge: str, login: Login, place: Place, scope: str) -> str | TokenRequest:
    """Return the Authorization header that a 401's WWW-Authenticate asks for, or how to get the token for one.

    `scope` is what is asked for where the challenge does not say, or says less than to push. Raises RegistryError
    where no login is known that would do, or the login would travel in the clear.
    """
    if found := _BEARER.search(challenge):
        return _request_token(found[1], login, place, scope)
    if _BASIC.search(challenge) and login and login[0]:
        return _encode_basic(login)
    raise deny(place.host, scope)


def read_token(body: bytes, place: Place) -> str:
    """Return the Authorization header for what a token server answered. Raises RegistryError."""
    found = parse_object(body, f"{place.host}: the answer of its token server")
    token: Any = found.get("token") or found.get("access_token")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise RegistryError(f"{place.host}: its token server gives no token", hint=_login_hint(place.host, ""))
    return f"Bearer {token}"


class DeniedError(RegistryError):
    """A registry lets nobody do this without another login."""


def deny(host: str, scope: str) -> DeniedError:
    """Return the error for a registry that lets nobody do what a scope allows without another login."""
    return DeniedError(f"{host}: access denied", hint=_login_hint(host, scope))


def _request_token(text: str, login: Login, place: Place, scope: str) -> TokenRequest:
    told = {key.lower(): quoted or plain for key, quoted, plain in _PARAMETER.findall(text)}
    realm = told.get("realm", "")
    _require_safe(realm, place)
    wanted = {"service": told.get("service"), "scope": scope if _may_push(scope) else told.get("scope") or scope}
    asked = tuple((key, value) for key, value in wanted.items() if value)
    if login is None:
        return TokenRequest(method="GET", url=realm, params=asked)
    if login[0]:
        return TokenRequest(method="GET", url=realm, params=asked, authorization=_encode_basic(login))
    form = (("grant_type", "refresh_token"), ("client_id", _CLIENT), ("refresh_token", login[1]))
    return TokenRequest(method="POST", url=realm, data=(*asked, *form))


def _require_safe(realm: str, place: Place) -> None:
    try:
        scheme, host = urlsplit(realm).scheme, urlsplit(realm).netloc
    except ValueError:
        scheme, host = "", ""
    if _AMBIGUOUS.search(realm):  # who connects may take another host out of it
        host = ""
    if scheme not in {"http", "https"} or not host:
        raise RegistryError(f"{place.host}: it asks for a token and does not say from where")
    if scheme == "http" and place.url.startswith("https:") and not is_loopback(host):
        message = f"{place.host}: its tokens come from {host} without TLS, which would send the login in the clear"
        raise RegistryError(message, hint="have the registry name its token server with https.")


def _encode_basic(login: tuple[str, str]) -> str:
    return "Basic " + base64.b64encode(":".join(login).encode()).decode()


def _may_push(scope: str) -> bool:
    return scope.endswith(",push")


def _login_hint(host: str, scope: str) -> str:
    verb = "push" if _may_push(scope) else "read"
    return f"log in with `docker login {host}` as a user who may {verb} there; imgbuild uses docker's own logins."
