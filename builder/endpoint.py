"""Which engine is meant: that of DOCKER_HOST, or of docker's context, as the docker command line chooses it."""

from __future__ import annotations

import os
from pathlib import Path

from docker.context import ContextAPI
from docker.context.config import get_current_context_name

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
        os.environ[_HOST] = _find_host(os.environ.get(_CONTEXT) or get_current_context_name() or "default")


def _find_host(name: str) -> str:
    try:
        context = ContextAPI.get_context(name)
    except Exception as error:  # docker-py raises nothing narrower, and what a file lacks as KeyError
        raise EngineError(f"docker's context {name} cannot be read: {error}", hint=_HINT) from error
    if context is None or not context.Host:
        raise EngineError(f"docker's context {name} does not exist, or names no engine", hint=_HINT)
    if context.Host.startswith("ssh://"):
        raise EngineError(f"docker's context {name} is reached by ssh, which imgbuild does not use", hint=_HINT_BARE)
    if Path(context.tls_path, "docker").is_dir():
        raise EngineError(f"docker's context {name} has TLS keys, which imgbuild does not use", hint=_HINT_BARE)
    return str(context.Host)
