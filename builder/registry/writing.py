"""The write side of the OCI Distribution API: small blobs, manifests, tags, and what is attached to an image.

Layers are the engine's to push. Source: github.com/opencontainers/distribution-spec, spec.md, version 1.1.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from builder.errors import RegistryError
from builder.registry.client import HINT_HOST, MANIFEST_LIMIT, Registry, join_url
from builder.registry.content import OCI_INDEX, OCI_MANIFEST, ContentError, Descriptor, clean, digest_of
from builder.registry.transport import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from builder.registry.content import Manifest
    from builder.registry.place import Place
    from builder.registry.token import Login
    from builder.registry.transport import Reply

EMPTY = b"{}"
"""The configuration of an artifact that needs none (image-spec, manifest.md, "Guidance for an Empty Descriptor")."""

EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
"""The type of that configuration."""

_ROUNDS = 5
"""How often an upload is begun, or an index written, before it counts as impossible."""


class RefusedError(RegistryError):
    """The registry was asked to take something, and answered that it does not."""


class NoArtifactsError(RefusedError):
    """The registry takes no form that the manifest of an artifact can have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """What can be attached to an image: payloads of one type, with annotations.

    `annotations` are of the manifest, and so found in lists of what is attached; `blob_annotations` of each payload.
    """

    artifact_type: str
    media_type: str
    blobs: tuple[bytes, ...]
    annotations: tuple[tuple[str, str], ...] = ()
    blob_annotations: tuple[tuple[str, str], ...] = ()


class Writer(Registry):
    """A registry that is written, too, for any number of threads. Use it as a context manager.

    What is there already is not sent again, so everything may be repeated. Every method raises RegistryError when the
    registry does not take what it is given, besides what reading raises.
    """

    def __init__(self, place: Place, find_login: Callable[[str], Login], *, patience: float = PATIENCE) -> None:
        super().__init__(place, find_login, patience=patience)
        self._listing = threading.Lock()
        self._sending: dict[tuple[str, str], threading.Lock] = {}

    def put_blob(self, repository: str, data: bytes) -> str:
        """Let a repository have some bytes, and return their digest.

        Of threads that have the same bytes at the same time one sends them.
        """
        digest = digest_of(data)
        reply: Reply | None = None
        with self._sending.setdefault((repository, digest), threading.Lock()):
            for _ in range(_ROUNDS):
                if self._write("HEAD", repository, f"blobs/{digest}").status == 200:
                    return digest
                reply = self._upload(repository, digest, data)
                if reply.status == 201:
                    return digest
                # An upload that a fault has cut off is not always one that can be ended; a new one is.
        raise self._refused(f"{repository}: the blob {digest}", reply)

    def put_manifest(self, repository: str, target: str, data: bytes, media_type: str) -> Reply:
        """Put a manifest or index under its digest or a tag, and return what the registry answers."""
        reply = self._write("PUT", repository, f"manifests/{target}", data=data, media_type=media_type)
        if reply.status != 201:
            raise self._refused(f"{repository}: {target}", reply)
        return reply

    def copy_tag(self, repository: str, digest: str, tag: str) -> bool:
        """Let a tag name the manifest of a digest, and return whether it did not before; no blob is read or sent.

        Raises ContentError when the repository has no such manifest.
        """
        known = self.find(repository, tag)
        if known and known.digest == digest:
            return False
        manifest = self.read(repository, digest)
        if manifest is None:
            hint = "who removes images there? `imgbuild build --push` brings it anew."
            raise ContentError(f"{self.host}: {repository} has no {digest}, which {tag} should name", hint=hint)
        self.put_manifest(repository, tag, manifest.data, manifest.media_type)
        return True

    def attach(self, repository: str, subject: Descriptor, artifact: Artifact) -> Descriptor:
        """Attach an artifact to a manifest, and return its own. The same artifact gives the same manifest.

        In a registry without the referrers API it is listed under the tag that stands in for it; one that refuses the
        manifest of today is offered that of version 1.0 of the specification.
        """
        if found := self.find_attached(repository, subject, artifact):
            return found
        for blob in (EMPTY, *artifact.blobs):
            self.put_blob(repository, blob)
        node, reply = self._put_either(repository, _make_forms(subject, artifact))
        if "OCI-Subject" not in reply.headers:
            self._add_to_index(repository, subject.digest.replace(":", "-", 1), node)
        return _describe(node, artifact)

    def find_attached(self, repository: str, subject: Descriptor, artifact: Artifact) -> Descriptor | None:
        """Return an artifact's own manifest, None where it is not attached to a manifest."""
        known = {it.digest for it in self.list_referrers(repository, subject.digest)}
        nodes = (node for node, _ in _make_forms(subject, artifact) if node["digest"] in known)
        return next((_describe(node, artifact) for node in nodes), None)

    def _put_either(
        self, repository: str, forms: Iterable[tuple[dict[str, Any], bytes]]
    ) -> tuple[dict[str, Any], Reply]:
        """Put the first manifest that the registry takes, and return its entry and the answer.

        Raises NoArtifactsError with the first reason where it takes none.
        """
        refusals: list[RefusedError] = []
        for node, data in forms:
            try:
                return node, self.put_manifest(repository, node["digest"], data, OCI_MANIFEST)
            except RefusedError as error:
                refusals.append(error)
        raise NoArtifactsError(refusals[0].message, hint=refusals[0].hint) from refusals[0]

    def _add_to_index(self, repository: str, tag: str, node: dict[str, Any]) -> None:
        """List an artifact under the tag of its subject, beside all that others list there.

        Another who writes at the same time may overwrite it, having read before: so it is read once more afterwards.
        Source: distribution-spec, "Pushing Manifests with Subject" and "Referrers Tag Schema".
        """
        with self._listing:
            for _ in range(_ROUNDS):
                document = self._parse_index(repository, tag, self.read(repository, tag))
                if any(it["digest"] == node["digest"] for it in document["manifests"]):
                    return
                document["manifests"].append(node)
                self.put_manifest(repository, tag, _dump(document), OCI_INDEX)
        raise RegistryError(
            f"{self.host}: {repository}:{tag} is overwritten again and again", hint="who else attaches to this image?"
        )

    def _parse_index(self, repository: str, tag: str, index: Manifest | None) -> dict[str, Any]:
        if index is None:
            return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
        if index.media_type != OCI_INDEX:
            message = f"{self.host}: {repository}:{tag} is no list of what is attached to an image"
            raise ContentError(message, hint="remove that tag: the specification has it for such lists alone.")
        index.list_manifests()
        document = index.parse()
        return document | {"manifests": document.get("manifests") or []}

    def _upload(self, repository: str, digest: str, data: bytes) -> Reply:
        begun = self._write("POST", repository, "blobs/uploads/")
        if begun.status != 202:
            raise self._refused(f"{repository}: the blob {digest}", begun)
        registry = self._transport.place
        place = join_url(f"{registry.url}/v2/{repository}/blobs/uploads/", begun.headers.get("Location", ""))
        if not registry.has(place):
            raise ContentError(f"{self.host}: {repository}: it wants uploads sent to another host", hint=HINT_HOST)
        place += f"{'&' if urlsplit(place).query else '?'}digest={digest}"
        return self._write("PUT", repository, place, data=data)

    def _write(self, method: str, repository: str, path: str, **more: Any) -> Reply:
        target = path if "://" in path else f"/v2/{repository}/{path}"
        return self._transport.ask(method, target, scope=self._scope(repository), limit=MANIFEST_LIMIT, **more)

    def _scope(self, repository: str) -> str:
        # Also to read: who asks for no more is not told by every registry that a repository is still to be made.
        return f"repository:{repository}:pull,push"

    def _refused(self, what: str, reply: Reply | None) -> RefusedError:
        answer = f"it answers {reply.status}" if reply else "it does not take it"
        said = _read_reasons(reply.body) if reply else ""
        hint = "may images be pushed there? The registry's own log says more."
        return RefusedError(f"{self.host}: {what}: {answer}{f' ({said})' if said else ''}", hint=hint)


def make_manifest(subject: Descriptor, artifact: Artifact, *, old: bool = False) -> tuple[dict[str, Any], bytes]:
    """Return the manifest of an artifact that is attached to a subject: its entry in a list, and its bytes.

    An `old` one tells the type of the artifact as that of its configuration, as version 1.0 of the specification has
    it and later ones allow. Registries refuse today's for its empty configuration, or for `artifactType`
    (gitlab.com/gitlab-org/container-registry, issue 1198; github.com/docker/compose, pull request 11239).
    Source: github.com/opencontainers/image-spec, manifest.md, "Guidelines for Artifact Usage".
    """
    kind = {} if old else {"artifactType": artifact.artifact_type}
    config = artifact.artifact_type if old else EMPTY_TYPE
    blob_told = {"annotations": dict(artifact.blob_annotations)} if artifact.blob_annotations else {}
    told = {"annotations": dict(artifact.annotations)} if artifact.annotations else {}
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        **kind,
        "config": {"mediaType": config, "digest": digest_of(EMPTY), "size": len(EMPTY)},
        "layers": [
            {"mediaType": artifact.media_type, "digest": digest_of(blob), "size": len(blob), **blob_told}
            for blob in artifact.blobs
        ],
        "subject": {"mediaType": subject.media_type, "digest": subject.digest, "size": subject.size},
        **told,
    }
    data = _dump(document)
    entry = {"mediaType": OCI_MANIFEST, "digest": digest_of(data), "size": len(data)}
    return entry | {"artifactType": artifact.artifact_type} | told, data


def _make_forms(subject: Descriptor, artifact: Artifact) -> list[tuple[dict[str, Any], bytes]]:
    return [make_manifest(subject, artifact, old=old) for old in (False, True)]


def _describe(node: Mapping[str, Any], artifact: Artifact) -> Descriptor:
    return Descriptor(
        media_type=OCI_MANIFEST,
        digest=node["digest"],
        size=node["size"],
        artifact_type=artifact.artifact_type,
        annotations=artifact.annotations,
    )


def _dump(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _read_reasons(body: bytes) -> str:
    """Return the codes of a registry's error reply (distribution-spec, "Error Codes"), as they may be printed."""
    try:
        return clean(", ".join(str(it["code"]) for it in json.loads(body)["errors"]))
    except (KeyError, TypeError, ValueError, RecursionError):
        return ""
