"""BuildKit through docker-py: connect, build from a context in memory, tag and remove. No command line is involved.

docker-py's own `build()` speaks the classic builder only, so the build is posted to `/build?version=2` by hand: the
context travels as a tar in the body, and the reply is a JSON stream that carries BuildKit's trace. Closing the
connection, by Ctrl-C or by the death of this process, cancels the build in the engine.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import tarfile
from typing import TYPE_CHECKING, Any

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from builder.errors import BuildError, EngineError
from builder.events import Built, Event, Log
from builder.session import Credentials, Session
from builder.trace import decode_trace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from builder.context import Context

MIN_API = (1, 42)
"""Docker Engine 23.0: the first whose default builder is BuildKit."""

_HUB_KEY = "https://index.docker.io/v1/"
_HUB_HOSTS = ("docker.io", "registry-1.docker.io", "index.docker.io")

_DISK_FULL = "no space left on device"
_STEP_FAILED = re.compile(r'^process ".*" did not complete successfully: (?:exit code: )?(.*)$', re.DOTALL)

_HINT_START = "start it (for example `sudo systemctl start docker`), or point DOCKER_HOST at the engine to use."
_HINT_PERMISSION = "add yourself to the `docker` group and log in again, or run as a user who may use the socket."
_HINT_DISK = "free space in the engine: `docker system df` shows what takes it, `docker builder prune` frees caches."
_HINT_BASE = "is the base image there, and its registry reachable? `bases:` in the sources can name a mirror's."
_HINT_RERUN = "start the engine again and rerun the same command: finished steps are cached, and no tag was moved."


class Engine:
    """A connection to a container engine. Use it as a context manager.

    Raises EngineError from the constructor when no engine answers, it may not be used, or it is too old.
    """

    def __init__(self) -> None:
        try:
            self._client = docker.from_env(version="auto", timeout=60)
        except DockerException as error:
            raise _explain_connection(error) from error
        self._api: Any = self._client.api  # the builds are posted through its private half
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

        `network` is None (the engine's default) or "host". Raises BuildError when a step fails and EngineError when
        the engine stops, refuses, or runs out of disk.
        """
        params: dict[str, Any] = {"version": "2", "rm": True, "buildargs": json.dumps(dict(build_args))}
        if network:
            params["networkmode"] = network
        with _explained(), Session(self._api, secrets=secrets, credentials=credentials) as session:
            response = self._api._post(
                self._api._url("/build"),
                data=pack_context(context),
                params={**params, "session": session.id},
                headers={"Content-Type": "application/x-tar"},
                stream=True,
                timeout=None,
            )
            with contextlib.closing(response):
                self._api._raise_for_status(response)
                yield from read_stream(line for line in response.iter_lines() if line)

    def find_image(self, ref: str) -> str | None:
        """Return the content digest of the image that `ref` names, or None when there is none."""
        with _explained():
            try:
                return str(self._api.inspect_image(ref)["Id"])
            except ImageNotFound:
                return None

    def tag(self, image_id: str, ref: str) -> None:
        """Make `ref` (`name:tag`) name the image; an older image of that name loses it in the same step."""
        name, _, tag = ref.rpartition(":")
        with _explained():
            self._api.tag(image_id, name, tag, force=True)

    def remove(self, image_id: str) -> None:
        """Remove an image that no ref names; one that is gone or in use already is left as it is."""
        with contextlib.suppress(NotFound, APIError):
            if not self._api.inspect_image(image_id)["RepoTags"]:
                self._api.remove_image(image_id)

    def credentials(self, host: str) -> tuple[str, str] | None:
        """Return user and password for a registry, from docker's own configuration and credential helpers."""
        key = _HUB_KEY if host in _HUB_HOSTS else host
        try:
            config = self._api._auth_configs.resolve_authconfig(key)
        except DockerException:  # a credential helper that is not installed: the registry then says what is missing
            return None
        if not config:
            return None
        token = config.get("identitytoken") or config.get("IdentityToken")
        if token:
            return "", str(token)
        user, password = (config.get(name) or config.get(name.title()) or "" for name in ("username", "password"))
        return str(user), str(password)


def pack_context(context: Context) -> bytes:
    """Return the build context as a tar: sorted, without owners or times, so that equal contexts are equal bytes.

    GNU format, not PAX: the engine recognises the archive by its first kilobyte and takes no extended header there.
    """
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for file in sorted(context.files, key=lambda file: file.path):
            entry = tarfile.TarInfo(file.path)
            entry.size = len(file.data)
            entry.mode = 0o644
            tar.addfile(entry, io.BytesIO(file.data))
    return body.getvalue()


def read_stream(lines: Iterator[bytes]) -> Iterator[Event]:
    """Yield the events of a `/build` reply. Errors arrive inside it, after status 200.

    Raises BuildError for a failed step, EngineError when the stream ends before the image is complete.
    """
    image_id = ""
    disk_full = False  # a tool in a step says it in its own words, and the step then fails like any other
    for line in lines:
        record = json.loads(line)
        if record.get("id") == "moby.buildkit.trace":
            for event in decode_trace(record["aux"]):
                disk_full |= isinstance(event, Log) and _DISK_FULL in event.text.lower()
                yield event
        elif record.get("id") == "moby.image.id":
            image_id = record["aux"]["ID"]
        elif "errorDetail" in record or "error" in record:
            message = record.get("errorDetail", {}).get("message") or record.get("error", "")
            raise EngineError("the engine's disk is full", hint=_HINT_DISK) if disk_full else _explain_failure(message)
    if not image_id:
        raise EngineError("the engine ended the build without an image and without an error", hint=_HINT_RERUN)
    yield Built(image_id=image_id)


def _explain_failure(message: str) -> BuildError | EngineError:
    text = message.strip().removeprefix("failed to solve: ")
    if _DISK_FULL in text:
        return EngineError(f"the engine's disk is full: {text}", hint=_HINT_DISK)
    if "failed to resolve source metadata" in text:
        return BuildError(text, hint=_HINT_BASE)
    if "context canceled" in text or "graceful stop" in text or "Unavailable" in text:
        return EngineError(f"the engine stopped the build: {text}", hint=_HINT_RERUN)
    step = _STEP_FAILED.search(text)
    return BuildError(f"exit code {step[1]}" if step else text)


def _explain_connection(error: BaseException) -> EngineError:
    text = str(error)
    if "Permission denied" in text:
        return EngineError("no permission to use the container engine's socket", hint=_HINT_PERMISSION)
    if "too old" in text:
        return EngineError(text, hint="install Docker Engine 23.0 or newer.")
    if any(sign in text for sign in ("FileNotFoundError", "ConnectionRefusedError", "refused", "Connection aborted")):
        return EngineError("no container engine answers", hint=_HINT_START)
    return EngineError(f"cannot talk to the container engine: {text}", hint=_HINT_START)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn what docker-py and requests raise into an EngineError that says what to do."""
    try:
        yield
    except APIError as error:
        text = str(error.explanation or error)
        if _DISK_FULL in text:
            raise EngineError(f"the engine's disk is full: {text}", hint=_HINT_DISK) from error
        raise EngineError(f"the engine refused: {text}") from error
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
        raise EngineError("the connection to the container engine broke", hint=_HINT_RERUN) from error
    except DockerException as error:
        raise _explain_connection(error) from error
