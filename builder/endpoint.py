"""Which engine is meant: that of DOCKER_HOST, or of docker's context, as the docker command line chooses it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from docker.constants import DEFAULT_UNIX_SOCKET
from docker.context.config import METAFILE, get_context_id

from builder.errors import EngineError

_HOST, _CONTEXT = "DOCKER_HOST", "DOCKER_CONTEXT"
_HINT = "choose one with `docker context use`, or set DOCKER_HOST to the engine's address."
_HINT_BARE = (
    "set DOCKER_HOST to a socket or a port of that engine, for TLS with DOCKER_CERT_PATH and DOCKER_TLS_VERIFY."
)


def settle_host() -> None:
    """Set DOCKER_HOST, where it is empty, to the address of the engine of docker's context.

    Every client of this process then takes it: of docker-py only 7.2 and newer know contexts, and testcontainers looks
    at DOCKER_HOST, but not at DOCKER_CONTEXT. Raises EngineError when there is no such context, or its engine is
    reached by ssh or with keys of the context's own.
    """
    if not os.environ.get(_HOST):
        # Path.expanduser raises an error where there is no home.
        folder = Path(os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker"))  # noqa: PTH111
        os.environ[_HOST] = _find_host(folder / "contexts", os.environ.get(_CONTEXT) or _read_current(folder))


def _read_current(folder: Path) -> str:
    """Return the name of the context that is in use; a configuration that cannot be read names none."""
    try:
        name = json.loads((folder / "config.json").read_bytes())["currentContext"]
    except (OSError, ValueError, TypeError, LookupError):
        return "default"
    return name if name and isinstance(name, str) else "default"


def _find_host(folder: Path, name: str) -> str:
    """Return the address of a context's engine.

    docker-py would look for contexts in the working folder where there is no config.json
    (docker.context.config.get_context_dir), and a checkout is not to choose the engine.
    """
    if name == "default":
        return DEFAULT_UNIX_SOCKET.removeprefix("http+")
    try:
        key = get_context_id(name)
        host = json.loads((folder / "meta" / key / METAFILE).read_bytes())["Endpoints"]["docker"]["Host"]
    except FileNotFoundError:
        raise EngineError(f"docker's context {name} does not exist", hint=_HINT) from None
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise EngineError(f"docker's context {name} cannot be read: {error!r}", hint=_HINT) from error
    if not isinstance(host, str) or not host:
        raise EngineError(f"docker's context {name} names no engine", hint=_HINT)
    if host.startswith("ssh://"):
        raise EngineError(f"docker's context {name} is reached by ssh, which imgbuild does not use", hint=_HINT_BARE)
    if (folder / "tls" / key / "docker").is_dir():
        raise EngineError(f"docker's context {name} has TLS keys, which imgbuild does not use", hint=_HINT_BARE)
    return host
