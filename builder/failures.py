"""What the engine's failures mean: its words, and its client's exceptions → errors that say what to do."""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING

import requests
from docker.constants import DEFAULT_UNIX_SOCKET
from docker.errors import APIError, DockerException

from builder.errors import BuildError, EngineError, PushError, RegistryError

if TYPE_CHECKING:
    from collections.abc import Iterator

DISK_FULL = "no space left on device"
HINT_DISK = "free space in the engine: `docker system df` shows what takes it, `docker builder prune` frees caches."
HINT_RERUN = "start the engine again and rerun the same command: finished steps are cached, and no tag was moved."

_STEP_FAILED = re.compile(r'^process ".*" did not complete successfully: (?:exit code: )?(.*)$', re.DOTALL)
_HINT_START = "start it (for example `sudo systemctl start docker`), or point DOCKER_HOST at the engine to use."
_HINT_PERMISSION = "add yourself to the `docker` group and log in again, or run as a user who may use the socket."
_HINT_BASE = "is the base image there, and its registry reachable? `bases:` in the sources can name a mirror's."

_DENIED = re.compile(
    r"denied|unauthorized|no basic auth credentials|authentication required|authorization failed|insufficient_scope"
    r"|\b40[13]\b",
    re.IGNORECASE,
)
_UNTRUSTED = re.compile(r"x509|certificate|HTTP response to HTTPS client|tls: ", re.IGNORECASE)
_MISNAMED = re.compile(r"invalid reference|NAME_INVALID|name invalid|invalid repository name", re.IGNORECASE)
_BROKE_OFF = re.compile(
    r"connection reset|broken pipe|\bEOF\b|closed network connection|connection broken|i/o timeout"
    r"|TLS handshake timeout"
    r"|toomanyrequests|too many requests|\b429\b|\b50[0234]\b",
    re.IGNORECASE,
)


def explain_failure(message: str) -> BuildError | EngineError:
    """Return the error for what the engine says when a build fails."""
    text = message.strip().removeprefix("failed to solve: ")
    if DISK_FULL in text:
        return EngineError(f"the engine's disk is full: {text}", hint=HINT_DISK)
    if "failed to resolve source metadata" in text:
        return BuildError(text, hint=_HINT_BASE)
    if "context canceled" in text or "graceful stop" in text or "Unavailable" in text:
        return EngineError(f"the engine stopped the build: {text}", hint=HINT_RERUN)
    step = _STEP_FAILED.search(text)
    return BuildError(f"exit code {step[1]}" if step else text)


def explain_load(message: str) -> EngineError:
    """Return the error for what the engine says when it cannot take in images."""
    if DISK_FULL in message:
        return EngineError(f"the engine's disk is full: {message}", hint=HINT_DISK)
    return EngineError(f"the engine refused the images: {message}", hint="what it has by then, it keeps: rerun it.")


def explain_push(message: str, host: str) -> PushError:
    """Return the error for what the engine says when a push to the registry `host` fails."""
    return PushError(f"{host}: {message.strip()}", hint=_advise(message, host, "push there", "What was uploaded"))


def explain_pull(message: str, host: str) -> RegistryError:
    """Return the error for what the engine says when a pull from the registry `host` fails."""
    if DISK_FULL in message:
        return RegistryError("the engine's disk is full", hint=HINT_DISK)
    return RegistryError(f"{host}: {message.strip()}", hint=_advise(message, host, "pull from it", "What arrived"))


def _advise(message: str, host: str, deed: str, kept: str) -> str:
    if _DENIED.search(message):
        return f"log in with `docker login {host}` as a user who may {deed}; imgbuild uses docker's own logins."
    if _UNTRUSTED.search(message):
        return f"the engine does not trust {host}: give it the CA in /etc/docker/certs.d/{host}/ca.crt."
    if _MISNAMED.search(message):
        return "write it as REGISTRY/PATH/NAME:TAG, in lower case."
    return f"does {host} answer where the engine runs? {kept} is kept: rerun the same command."


def is_passing(message: str) -> bool:
    """Return whether a failed push or pull may work the next time: it broke off, or the registry was busy."""
    return bool(_BROKE_OFF.search(message)) and not _DENIED.search(message)


def explain_connection(error: BaseException) -> EngineError:
    """Return the error for a client that does not reach the engine."""
    text = str(error)
    if "Permission denied" in text:
        return EngineError("no permission to use the container engine's socket", hint=_HINT_PERMISSION)
    if "too old" in text:
        return EngineError(text, hint="install Docker Engine 23.0 or newer.")
    if any(sign in text for sign in ("FileNotFoundError", "ConnectionRefusedError", "refused", "Connection aborted")):
        where = os.environ.get("DOCKER_HOST") or DEFAULT_UNIX_SOCKET
        return EngineError(f"no container engine answers at {where}", hint=_HINT_START)
    return EngineError(f"cannot talk to the container engine: {text}", hint=_HINT_START)


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn what docker-py and requests raise into an EngineError that says what to do."""
    try:
        yield
    except APIError as error:
        text = str(error.explanation or error)
        if DISK_FULL in text:
            raise EngineError(f"the engine's disk is full: {text}", hint=HINT_DISK) from error
        raise EngineError(f"the engine refused: {text}") from error
    except requests.RequestException as error:
        raise EngineError("the connection to the container engine broke", hint=HINT_RERUN) from error
    except DockerException as error:
        raise explain_connection(error) from error
