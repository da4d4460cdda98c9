"""The read side of the OCI Distribution API: manifests, blobs, tags and referrers of one registry.

Source: github.com/opencontainers/distribution-spec, spec.md, version 1.1. What has a digest is compared with it.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Self
from urllib.parse import urljoin

from builder.errors import RegistryError
from builder.registry.content import (
    INDEXES,
    MANIFESTS,
    OCI_INDEX,
    ContentError,
    Descriptor,
    Manifest,
    clean,
    digest_of,
    is_digest,
    is_tag,
    matches,
    parse_descriptors,
    parse_object,
)
from builder.registry.place import is_repository
from builder.registry.transport import PATIENCE, Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from builder.registry.place import Place
    from builder.registry.token import Login
    from builder.registry.transport import Reply

MANIFEST_LIMIT = 4 * 1024 * 1024
"""Bytes that a manifest may have: what the specification has registries take at least."""

BLOB_LIMIT = 256 * 1024 * 1024
"""Bytes of a blob that is read into memory: configurations and bills of materials, never layers."""

HINT_HOST = "name the registry by the host that it calls itself, or have that corrected in its configuration."
"""What to do about a registry that leads elsewhere for what belongs to it."""

_HINT_ANSWER = "is it a registry that speaks the OCI Distribution API, and the name one that it can have?"
_CATALOGUE = "registry:catalog:*"  # distribution, docs/spec/auth/scope.md
_HINT_LIST = "many registries have none; --orphans is for those that do."
_REPOSITORIES = "the list of repositories"
_PAGE = 1000  # names asked for in a page; a registry may give fewer
_PAGES = 10_000
_SIZE = re.compile(r"[0-9]{1,18}")


class Registry:
    """A registry that is read, for any number of threads. Use it as a context manager.

    Every method raises RegistryError when the registry cannot be reached or lets nobody in, and ContentError when
    what it has is not what it should be. A repository is a name without the host: `team/pytorch`.
    """

    def __init__(self, place: Place, find_login: Callable[[str], Login], *, patience: float = PATIENCE) -> None:
        self.host = place.host
        self._transport = Transport(place, find_login, patience=patience)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._transport.close()

    @property
    def is_cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._transport.is_cancelled

    def cancel(self) -> None:
        """Let requests, what is on its way and all later ones, raise Cancelled soon; from any thread."""
        self._transport.cancel()

    def require(self) -> None:
        """Raise RegistryError unless a registry answers here, and lets this machine's login in."""
        reply = self._transport.ask("GET", "/v2/", scope="", limit=MANIFEST_LIMIT)
        if reply.status != 200:
            hint = f"is it a registry? One with TLS has its CA in /etc/docker/certs.d/{self.host}/ca.crt."
            raise RegistryError(f"{self.host}: it answers {reply.status} where a registry says 200", hint=hint)

    def find(self, repository: str, target: str) -> Descriptor | None:
        """Return what a tag or digest points at, None when there is no such thing. Its bytes are not read."""
        reply = self._ask_manifest("HEAD", repository, target)
        if reply is None:
            return None
        told = reply.headers.get("Docker-Content-Digest", "")
        digest, size = target if is_digest(target) else told, reply.headers.get("Content-Length", "")
        if is_digest(digest) and _SIZE.fullmatch(size):
            return Descriptor(media_type=_media_type(reply), digest=digest, size=int(size))
        # The header is no duty; what the tag has then has to be read.
        manifest = self.read(repository, target)
        if manifest is None:
            return None
        return Descriptor(media_type=manifest.media_type, digest=manifest.digest, size=len(manifest.data))

    def read(self, repository: str, target: str) -> Manifest | None:
        """Return the manifest or index that a tag or digest points at, None when there is no such thing."""
        reply = self._ask_manifest("GET", repository, target)
        if reply is None:
            return None
        told = target if is_digest(target) else reply.headers.get("Docker-Content-Digest", "")
        return Manifest(
            media_type=_media_type(reply) or clean(str(parse_object(reply.body, target).get("mediaType", ""))),
            digest=told if is_digest(told) else digest_of(reply.body),
            data=reply.body,
        )

    def read_blob(self, repository: str, blob: Descriptor) -> bytes:
        """Return the bytes of a small blob: an image's configuration, a bill of materials."""
        if blob.size > BLOB_LIMIT:
            hint = "who attached it? What imgbuild makes is smaller."
            raise ContentError(f"{self.host}: {repository}: {blob.digest} is too large to be read here", hint=hint)
        reply = self._transport.ask(
            "GET",
            f"/v2/{repository}/blobs/{blob.digest}",
            scope=self._scope(repository),
            limit=blob.size,
            is_whole=lambda it: it.status != 200 or matches(it.body, blob.digest),
        )
        self._require_found(reply, f"{repository}: the blob {blob.digest}")
        return reply.body

    def list_repositories(self) -> tuple[str, ...]:
        """Return the repositories of the registry, sorted; many registries list none, or not to everybody.

        Source: distribution.github.io, "HTTP API V2", catalog. The OCI specification has no such list.
        """
        names: set[str] = set()
        for reply in self._turn_pages(f"/v2/_catalog?n={_PAGE}", _REPOSITORIES, _CATALOGUE):
            if reply.status != 200:
                raise ContentError(f"{self.host}: it answers {reply.status} for {_REPOSITORIES}", hint=_HINT_LIST)
            page = parse_object(reply.body, f"{self.host}: {_REPOSITORIES}").get("repositories") or []
            if not isinstance(page, list) or not all(isinstance(name, str) for name in page):
                raise ContentError(f"{self.host}: {_REPOSITORIES} is none", hint=_HINT_ANSWER)
            names.update(filter(is_repository, page))
        return tuple(sorted(names))

    def list_tags(self, repository: str) -> tuple[str, ...]:
        """Return the tags of a repository, sorted; none where there is no such repository."""
        tags: set[str] = set()
        for reply in self._turn_pages(f"/v2/{repository}/tags/list?n={_PAGE}", repository, self._scope(repository)):
            if reply.status == 404:
                return ()
            self._require_found(reply, f"{repository}: the list of tags")
            page = parse_object(reply.body, f"{self.host}: {repository}: the list of tags").get("tags") or []
            if not isinstance(page, list) or not all(isinstance(tag, str) and is_tag(tag) for tag in page):
                raise ContentError(f"{self.host}: {repository}: the list of tags is none", hint=_HINT_ANSWER)
            tags.update(page)
        return tuple(sorted(tags))

    def list_referrers(self, repository: str, digest: str) -> tuple[Descriptor, ...]:
        """Return what is attached to a manifest: bills of materials, signatures.

        From the referrers API, or in a registry without it from the tag that clients keep in its place.
        """
        found: list[Descriptor] = []
        path, scope = f"/v2/{repository}/referrers/{digest}", self._scope(repository)
        for reply in self._turn_pages(path, repository, scope, accept=OCI_INDEX):
            if reply.status != 200 or _media_type(reply) != OCI_INDEX:
                manifest = self.read(repository, digest.replace(":", "-", 1))
                return manifest.list_manifests() if manifest else ()
            index = parse_object(reply.body, f"{self.host}: {repository}: what is attached")
            found += parse_descriptors(index.get("manifests"), f"{self.host}: {repository}: what is attached")
        return tuple(found)

    def _scope(self, repository: str) -> str:
        """Return what a token has to allow here (distribution, docs/spec/auth/scope.md)."""
        return f"repository:{repository}:pull"

    def _ask_manifest(self, method: str, repository: str, target: str) -> Reply | None:
        reply = self._transport.ask(
            method,
            f"/v2/{repository}/manifests/{target}",
            scope=self._scope(repository),
            limit=MANIFEST_LIMIT,
            accept=", ".join(sorted(INDEXES | MANIFESTS)),
            is_whole=partial(_is_whole, target) if method == "GET" else lambda _: True,
        )
        if reply.status == 404:
            return None
        self._require_found(reply, f"{repository}: {target}")
        return reply

    def _turn_pages(self, path: str, what: str, scope: str, accept: str = "*/*") -> Iterator[Reply]:
        """Yield each page of a list, once."""
        seen: set[str] = set()
        following: str | None = self._transport.place.url + path
        while following and following not in seen and len(seen) < _PAGES:
            seen.add(following)
            reply = self._transport.ask("GET", following, scope=scope, limit=BLOB_LIMIT, accept=accept)
            yield reply
            following = reply.following and join_url(self._transport.place.url + path, reply.following)
            if following and not self._transport.place.has(following):
                raise ContentError(f"{self.host}: {what}: the next page is on another host", hint=HINT_HOST)

    def _require_found(self, reply: Reply, what: str) -> None:
        if reply.status != 200:
            raise ContentError(f"{self.host}: {what}: it answers {reply.status}", hint=_HINT_ANSWER)


def join_url(base: str, address: str) -> str:
    """Return where an address leads from another; one that is none leads to itself, which no registry has."""
    try:
        return urljoin(base, address)
    except ValueError:
        return address


def _is_whole(target: str, reply: Reply) -> bool:
    told = target if is_digest(target) else reply.headers.get("Docker-Content-Digest", "")
    return reply.status != 200 or not told or matches(reply.body, told)


def _media_type(reply: Reply) -> str:
    return clean(reply.headers.get("Content-Type", "").partition(";")[0].strip())
