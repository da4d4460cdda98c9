"""A matrix of images, built and pushed in the usual ways and with imgbuild: one run, the same inputs, side by side.

    .venv/bin/python benchmarks/matrix.py [--factor N] [--ways docker,bake,imgbuild] [--cells py39-cu121,…]

The input is a replica of a real 12-cell lock: every package by name, version and dependencies, scaled down in size.
Each way gets an engine and a registry of its own that are empty at first. Needs root on Debian, and `make demo` once.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.matrices import ReplicaMatrix
from benchmarks.measure import Row, measure_way, say
from benchmarks.replica import Replica, make_replica, serve_folder
from benchmarks.report import draw_table
from benchmarks.ways import WAYS
from builder.errors import ImgbuildError
from tests.kit.workspace import find_kit

FACTOR = 20


def parse_arguments() -> argparse.Namespace:
    """Return what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--factor", type=int, default=FACTOR, help=f"sizes are divided by it; default: {FACTOR}")
    parser.add_argument("--ways", default=",".join(WAYS), help="default: all")
    parser.add_argument("--cells", help="only these, like py39-cu121,py311-cu121; default: all 12")
    parser.add_argument("--phases", type=int, help="only the first N phases")
    parser.add_argument("--json", type=Path, help="where the figures go as JSON")
    return parser.parse_args()


def choose_cells(replica: Replica, names: str | None) -> Replica:
    """Return the replica with the named cells alone."""
    if names is None:
        return replica
    known = {f"py{cell.python}-cu{cell.cuda}".replace(".", ""): cell for cell in replica.cells}
    if unknown := set(names.split(",")) - set(known):
        raise SystemExit(f"no such cell: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return replace(replica, cells=tuple(known[name] for name in names.split(",")))


def main() -> int:
    """Measure, and print the table."""
    arguments = parse_arguments()
    kit = find_kit()
    rows: list[Row] = []
    try:
        replica = choose_cells(make_replica(kit, arguments.factor), arguments.cells)
        with serve_folder(replica.folder) as server:
            matrix = ReplicaMatrix(replica=replica, server=server)
            if arguments.phases:
                matrix = replace(matrix, phases=matrix.phases[: arguments.phases])
            for way in arguments.ways.split(","):
                rows += measure_way(way, matrix, kit=kit, home=kit / "benchmark" / way)
    except ImgbuildError as error:
        print(f"[benchmark] {error}", file=sys.stderr)
        return error.exit_code
    finally:
        if arguments.json and rows:
            arguments.json.write_text(json.dumps([dataclasses.asdict(row) for row in rows], indent=1) + "\n")
            say(f"figures in {arguments.json}")
    print(draw_table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
