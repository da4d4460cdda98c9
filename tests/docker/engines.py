"""A dockerd of a test's own, for what must not befall an engine that the tests of another worker use as well."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.kit import processes
from tests.kit.base import import_base
from tests.kit.engine import Engine, add_bridge, start_dockerd

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnEngine:
    """A dockerd that can be stopped and started again with all that it has."""

    engine: Engine
    folder: Path
    argv: Sequence[str]
    path: str

    def start(self) -> None:
        start_dockerd(self.argv, self.folder / "dockerd.log", self.engine, os.environ | {"PATH": self.path})

    def stop(self) -> bool:
        """Return whether it ran."""
        return processes.stop_process(self.folder / "dockerd.pid", str(self.folder))


@contextmanager
def run_engine(
    folder: Path, kit: Path, *, bridge: str, settings: dict[str, Any], path: str | None = None
) -> Iterator[OwnEngine]:
    """Run a dockerd with daemon.json's settings, a network bridge and a PATH of its own, with the kit's base."""
    config = folder / "daemon.json"
    config.write_text(json.dumps(settings))
    engine = Engine(url=f"unix://{folder / 'docker.sock'}")
    argv = ["dockerd", f"--host={engine.url}", f"--pidfile={folder / 'dockerd.pid'}", f"--config-file={config}"]
    argv += [f"--data-root={folder / 'data'}", f"--bridge={add_bridge(bridge)}", "--iptables=false"]
    # Where the machine's containerd runs, it is used, and the machine's engine uses it as well.
    argv += [
        "--ip6tables=false",
        f"--containerd-namespace={bridge}",
        f"--containerd-plugins-namespace={bridge}-plugins",
    ]
    # Its containerd has sockets there, whose paths may have 104 characters.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as execution:
        own = OwnEngine(
            engine=engine,
            folder=folder,
            argv=[*argv, f"--exec-root={execution}"],
            path=os.environ["PATH"] if path is None else path,
        )
        try:
            own.start()
            import_base(engine, kit)
            yield own
        finally:
            own.stop()
            # One that did not get far leaves its data mounted on themselves.
            subprocess.run(["umount", folder / "data"], check=False, capture_output=True)
