"""BuildKit through docker-py: connect, build from a context in memory, tag, push, cancel. No command line is involved.

docker-py's own `build()` speaks the classic builder only, so the build is posted to `/build?version=2` by hand: the
context travels as a tar in the body, and the reply is a JSON stream that carries BuildKit's trace. Closing the
connection, by `cancel` or by the death of this process, cancels the build in the engine.
"""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import docker
from docker.auth import resolve_repository_name
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from builder.context import list_folders
from builder.endpoint import settle_host
from builder.errors import EngineError
from builder.events import Built, Event, Log
from builder.failures import (
    DISK_FULL,
    HINT_DISK,
    HINT_RERUN,
    explain_connection,
    explain_failure,
    explain_load,
    explained,
)
from builder.logins import find_login
from builder.pull import pull_image
from builder.push import Pusher
from builder.streams import Streams

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from builder.context import Context
    from builder.events import Pushed, Transfer
    from builder.session import Credentials

MIN_API = (1, 42)
"""Docker Engine 23.0: the first whose default builder is BuildKit."""

EXPORT = {"compression": "zstd", "oci-mediatypes": "true"}
"""How an image is exported. The containerd store compresses while it exports: gzip, which has one thread there, takes
13.6 s for 1 GB of torch; zstd takes 6.2 s for 16 % fewer bytes, and its fastest level no less for more of them.
A base keeps its layers as they are; zstd needs OCI's media types. The graphdriver store compresses nothing, and its
images are the same with or without this.
"""


class Engine:
    """A connection to a container engine, for any number of threads. Use it as a context manager.

    It is that of DOCKER_HOST, or of docker's context. Raises EngineError from the constructor when no engine answers,
    it may not be used, or it is too old.
    `export` is how it writes the layers of what it builds.
    """

    export = EXPORT

    def __init__(self) -> None:
        settle_host()
        try:
            self._client = docker.from_env(version="auto", timeout=60)
        except DockerException as error:
            raise explain_connection(error) from error
        self._api: Any = self._client.api  # the builds are posted through its private half
        self._streams = Streams(self._api)
        self._pusher = Pusher(self._api, self._streams)
        self._bases: dict[str, str | None] = {}  # one command builds on one of each
        version = tuple(int(part) for part in self._api.api_version.split("."))
        if version < MIN_API:
            message = f"the engine speaks API {self._api.api_version}; imgbuild needs {MIN_API[0]}.{MIN_API[1]}"
            self.close()
            raise EngineError(message, hint="install Docker Engine 23.0 or newer.")

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection; a build that still runs on one of them is cancelled by the engine."""
        self._client.close()

    def again(self) -> Engine:
        """Return another connection to the same engine, which is cancelled and closed on its own."""
        return type(self)()

    def cancel(self) -> None:
        """End every build and push that runs, and have the engine stop them; from any thread, or a signal handler.

        They raise Cancelled, and so does every later call that would begin something or move a ref.
        """
        self._streams.cancel()

    def build(
        self,
        context: Context,
        *,
        secrets: Mapping[str, bytes],
        credentials: Credentials,
        build_args: Mapping[str, str],
        network: str | None = None,
    ) -> Iterator[Event]:
        """Yield the events of one build; the last one is `Built`. The image gets no tag.

        `network` is None (the engine's default) or "host". Raises BuildError when a step fails, EngineError when
        the engine stops, refuses, or runs out of disk, and Cancelled.
        """
        from builder.session import Session  # gRPC is slow to import, and nothing else needs it

        params: dict[str, Any] = {
            "version": "2",
            "rm": True,
            "buildargs": json.dumps(dict(build_args)),
            "outputs": json.dumps([{"Type": "moby", "Attrs": self.export}]),
        }
        if network:
            params["networkmode"] = network
        body, headers = pack_context(context), {"Content-Type": "application/x-tar"}
        with self._streams.call(), Session(self._api, secrets=secrets, credentials=credentials) as session:
            params["session"] = session.id
            with self._streams.post("/build", data=body, params=params, headers=headers) as lines:
                yield from read_stream(lines)

    def find_image(self, ref: str) -> str | None:
        """Return the content digest of the image that `ref` names, or None when there is none."""
        with self._streams.call():
            try:
                return str(self._api.inspect_image(ref)["Id"])
            except ImageNotFound:
                return None

    def find_base(self, ref: str) -> str | None:
        """Return the content digest of what a build of this engine takes for `FROM ref`, None where nobody can tell.

        The classic store takes what it has. The containerd store asks the registry first, and takes what it has only
        where that does not answer (moby/buildkit util/resolver/pool.go: Resolve, in the mode that moby builds with).
        """
        if ref not in self._bases:
            own = self.find_image(ref)
            published = self.find_published(ref) if own is None or self._keeps_manifests() else None
            self._bases[ref] = published or own
        return self._bases[ref]

    def _keeps_manifests(self) -> bool:
        return any("io.containerd.snapshotter.v1" in status for status in self.describe().get("DriverStatus") or ())

    @property
    def is_local(self) -> bool:
        """Whether the engine runs on this machine, or at least answers from a socket of it."""
        return str(self._api.base_url) == "http+docker://localhost"  # by ssh it is "http+docker://ssh"

    def describe(self) -> dict[str, Any]:
        """Return what the engine tells of itself: `docker info`."""
        with self._streams.call():
            return dict(self._api.info())

    def read_labels(self, image_id: str) -> dict[str, str]:
        """Return the labels of an image."""
        return dict(self.read_config(image_id).get("Labels") or {})

    def read_config(self, image_id: str) -> dict[str, Any]:
        """Return an image's configuration, as Docker's API has it: its labels, volumes, user."""
        with self._streams.call():
            return dict(self._api.inspect_image(image_id)["Config"])

    def read_history(self, image_id: str) -> list[str]:
        """Return the steps that an image was made by, as `docker history` shows them: the last one first."""
        with self._streams.call():
            return [step["CreatedBy"] for step in self._api.history(image_id)]

    def measure(self, image_id: str) -> int:
        """Return how many bytes the files in all layers of an image have, its base's too, as its store counts."""
        with self._streams.call():
            return sum(step["Size"] for step in self._api.history(image_id))

    def tag(self, image_id: str, ref: str) -> None:
        """Make `ref` (`name:tag`) name the image; an older image of that name loses it in the same step."""
        name, _, tag = ref.rpartition(":")
        with self._streams.call():
            self._api.tag(image_id, name, tag, force=True)

    def push(self, image_id: str, ref: str) -> Iterator[Transfer | Pushed]:
        """Yield the progress of a push of an image to `ref` (`registry/path/name:tag`); the last one is `Pushed`.

        It uploads what the registry lacks, with docker's own login. The ref in the registry moves last; the engine
        keeps no local name of it. Raises PushError when the registry cannot be reached or refuses, and then
        the ref has not moved; EngineError when the engine stops or has no such image; and Cancelled.
        """
        yield from self._pusher.push(image_id, ref, self.credentials)

    def find_published(self, ref: str) -> str | None:
        """Return the digest that a ref has in its registry, None where there is none, or where that cannot be told."""
        return self._pusher.find(ref, self.credentials)

    def pull(self, name: str, digest: str) -> Iterator[Transfer]:
        """Yield the progress of a pull; then the engine has the image as `name@digest`, its name in a registry.

        Raises RegistryError when the registry cannot be reached, lets nobody in or has no such image; EngineError when
        the engine stops; and Cancelled.
        """
        host, _ = resolve_repository_name(name)
        yield from pull_image(self._streams, name, digest, host=host, login=self.credentials(host))

    @contextlib.contextmanager
    def save(self, refs: Sequence[str]) -> Iterator[Iterator[bytes]]:
        """Yield the chunks of a tar with images, each blob once; from Engine 25.0 on it is an image layout.

        Raises EngineError when the engine stops or lacks one; what it says later is in the chunks.
        """
        with self._streams.get("/images/get", params=[("names", ref) for ref in refs]) as chunks:
            yield chunks

    def load(self, archive: Iterator[bytes]) -> None:
        """Take in a tar with images, under the refs that it says. Raises EngineError when the engine refuses it."""
        headers = {"Content-Type": "application/x-tar"}
        with self._streams.post("/images/load", params={"quiet": "1"}, data=archive, headers=headers) as lines:
            for line in lines:
                if said := json.loads(line).get("errorDetail"):
                    raise explain_load(str(said.get("message")))

    def remove(self, image_id: str) -> None:
        """Remove an image that no ref names; one that is gone or in use already is left as it is.

        Raises EngineError when the engine does not answer.
        """
        with explained(), contextlib.suppress(NotFound, APIError):
            if not self._api.inspect_image(image_id)["RepoTags"]:
                self._api.remove_image(image_id)

    def credentials(self, host: str) -> tuple[str, str] | None:
        """Return user and password for a registry, from docker's own configuration and credential helpers."""
        return find_login(self._api._auth_configs, host)


def pack_context(context: Context) -> bytes:
    """Return the build context as a tar: sorted, without owners or times, so that equal contexts are equal bytes.

    Folders are named in it: the engine would make them now, and COPY keeps times.
    GNU format, not PAX: the engine recognises the archive by its first kilobyte and takes no extended header there.
    """
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w", format=tarfile.GNU_FORMAT) as tar:
        files: dict[str, bytes | None] = dict.fromkeys(list_folders(context))
        files |= {file.path: file.data for file in context.files}
        for path, data in sorted(files.items(), key=itemgetter(0)):
            entry = tarfile.TarInfo(path)
            if data is None:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
            else:
                entry.size, entry.mode = len(data), 0o644
                tar.addfile(entry, io.BytesIO(data))
    return body.getvalue()


def read_stream(lines: Iterator[bytes]) -> Iterator[Event]:
    """Yield the events of a `/build` reply. Errors arrive inside it, after status 200.

    Raises BuildError for a failed step, EngineError when the stream ends before the image is complete.
    """
    from builder.trace import decode_trace  # so is protobuf

    image_id = ""
    disk_full = False  # a tool in a step says it in its own words, and the step then fails like any other
    for line in lines:
        record = json.loads(line)
        if record.get("id") == "moby.buildkit.trace":
            for event in decode_trace(record["aux"]):
                disk_full |= isinstance(event, Log) and DISK_FULL in event.text.lower()
                yield event
        elif record.get("id") == "moby.image.id":
            image_id = record["aux"]["ID"]
        elif "errorDetail" in record or "error" in record:
            message = record.get("errorDetail", {}).get("message") or record.get("error", "")
            raise EngineError("the engine's disk is full", hint=HINT_DISK) if disk_full else explain_failure(message)
    if not image_id:
        raise EngineError("the engine ended the build without an image and without an error", hint=HINT_RERUN)
    yield Built(image_id=image_id)
