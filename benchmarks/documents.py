"""How long the documents of a large image take to be written: its two bills, and the lists of its files.

    .venv/bin/python -m benchmarks.documents

One image of 60,000 files in 400 packages, as many as one with torch and a notebook has. The figure of
docs/provenance.md.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from builder.sbom.cyclonedx import dump_cyclonedx
from builder.sbom.files import list_files
from builder.sbom.inventory import Inventory, Owned
from builder.sbom.spdx import dump_spdx
from builder.sbom.subject import Subject
from tests.samples import BASE, make_conda, make_environment, make_job, make_locked, make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable

    from builder.lock import Environment

CONDA, WHEELS, FILES = 300, 100, 150
"""How many packages there are of each kind, and how many files each has."""


def make_inventory(environment: Environment) -> Inventory:
    """Return what an image of the environment would tell of its files."""
    names = [("conda", it.name, it.version, it.build) for it in environment.conda]
    names += [("pypi", it.name, it.version, None) for it in environment.pip]
    packages = tuple(
        Owned(kind=kind, name=name, version=version, build=build, files=tuple(f"{name}/{i}.py" for i in range(FILES)))
        for kind, name, version, build in names
    )
    return Inventory(prefix="/opt/env", packages=packages, unclaimed=())


def time_call(call: Callable[[], object]) -> float:
    """Return the seconds of CPU that a call took: the fewest of five."""
    taken = []
    for _ in range(5):
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    return min(taken)


def main() -> None:
    """Print the seconds of CPU that each kind of document takes."""
    conda = [make_conda(f"c{i}", depends=(f"c{i - 1}",), license="BSD-3-Clause") for i in range(CONDA)]
    wheels = [make_wheel(f"w{i}", requires=(f"w{i - 1}",)) for i in range(WHEELS)]
    environment = make_environment(conda=conda, pip=wheels)
    (locked,) = make_locked((make_job(), environment))
    inventory = make_inventory(environment)
    subject = Subject(
        cell="pytorch-py3.10-cu118",
        ref="registry.example/team/pytorch:2.7.1-cu118-py310",
        digest="sha256:" + "ab" * 32,
        base_ref=BASE.ref,
        base_digest=BASE.digest,
        created=datetime(2026, 1, 2, tzinfo=UTC),
        environment=environment,
    )
    lists = list_files(environment, locked.layers, inventory)
    figures = {
        "lists of files": time_call(lambda: list_files(environment, locked.layers, inventory)),
        "CycloneDX": time_call(lambda: dump_cyclonedx(subject, lists)),
        "SPDX": time_call(lambda: dump_spdx(subject)),
    }
    for name, seconds in figures.items():
        print(f"{name:15}{seconds:6.2f} s")
    print(f"{'all':15}{sum(figures.values()):6.2f} s")


if __name__ == "__main__":
    main()
