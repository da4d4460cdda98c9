"""The matrices that are measured: the replica of the sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.replica_project import write_replica_locks, write_replica_project

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.replica import Replica
    from builder.project import Project

COLD, AGAIN, PIP, CONDA = "cold", "nothing changed", "one pip package newer", "one conda package newer"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaMatrix:
    """The replica of the sample; each bump stays in the phases after it."""

    replica: Replica
    server: str
    title: str
    phases: tuple[str, ...] = (COLD, AGAIN, PIP, CONDA)

    def write(self, root: Path, phase: str) -> Project:
        """Return the project in a folder, its lock as it is in the phase."""
        managers = {COLD: (), AGAIN: (), PIP: ("pip",), CONDA: ("pip", "conda")}[phase]
        bumped = frozenset(copy for manager in managers for copy in self.replica.find_bumped(manager))
        write_replica_project(root, self.replica.cells, self.server)
        return write_replica_locks(root, self.replica, bumped)
