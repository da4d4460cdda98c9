"""Debian's docker-registry, which has to be installed, on a port of this machine's loopback."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
from typing import TYPE_CHECKING, Any

from tests.kit import processes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOST = "127.0.0.1"


@contextlib.contextmanager
def hold_port() -> Iterator[int]:
    """Yield a port of the loopback that no other process is given while the block lasts.

    It is bound and never listens, so a server that allows its address to be used again may listen there (Go's and
    Python's HTTP servers do).
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((HOST, 0))
        yield holder.getsockname()[1]


@contextlib.contextmanager
def serve_registry(home: Path, port: int, *, http: dict[str, Any] | None = None, **config: Any) -> Iterator[Path]:
    """Run a registry while the block lasts, and yield the folder where it keeps what it is given.

    `http` and `config` are further parts of its configuration, which is written below `home`:
    https://distribution.github.io/distribution/about/configuration/. Raises KitError when it does not start.
    """
    folder, path, log = home / "blobs", home / "registry.json", home / "registry.log"
    whole = {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder)}},
        "http": {"addr": f"{HOST}:{port}", "relativeurls": True, **(http or {})},
        **config,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(whole), encoding="utf-8")  # JSON is YAML
    # One that outlived a run that was killed would keep its disk and its port.
    argv = ["setpriv", "--pdeathsig", "TERM", "docker-registry", "serve", path]
    environment = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}
    with log.open("wb") as output:
        server = subprocess.Popen(argv, stdout=output, stderr=output, env=environment)
    try:
        processes.wait_until(lambda: _listens(port), server.pid, log, "the registry")
        yield folder
    finally:
        server.terminate()
        server.wait()


def _listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port)).close()
    except OSError:
        return False
    return True
