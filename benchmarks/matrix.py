"""A matrix of images, built and pushed in the usual ways and with imgbuild: one run, the same inputs, side by side.

    .venv/bin/python benchmarks/matrix.py [--factor N | --long] [--ways docker bake imgbuild]
        [--cells py39-cu121,…] [--conda CHECKOUT]

The input is a replica of a real 12-cell lock: every package by name, version and dependencies, scaled down in size;
or, long, the real torch on two Pythons for two CUDAs.
Each way gets an engine, a registry and a disk of its own, which are empty at first. Needs root on Debian, and `make
demo` once.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.install_time import InstallTime
from benchmarks.matrices import ReplicaMatrix, TorchMatrix
from benchmarks.measure import Matrix, Row, check_disk, measure_way, write_targets
from benchmarks.real_conda import RealConda, prepare_conda
from benchmarks.replica import make_replica, serve_folder
from benchmarks.report import draw_picture, draw_table
from benchmarks.result import Result, describe_input, make_result, write_result
from benchmarks.ways import WAYS, say
from builder.errors import ImgbuildError
from tests.kit.__main__ import bring_up
from tests.kit.base import import_base
from tests.kit.server import ensure_server
from tests.kit.workspace import find_kit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

FACTOR = 20


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what is asked for, on the command line unless words are given. Exits 2 for what makes no sense."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--factor", type=_count, help=f"sizes are divided by it; default: {FACTOR}")
    parser.add_argument("--ways", nargs="+", choices=tuple(WAYS), default=tuple(WAYS), help="default: all")
    parser.add_argument(
        "--cells", type=lambda text: text.split(","), help="only these, like py39-cu121,py311-cu121; default: all"
    )
    parser.add_argument(
        "--long", action="store_true", help="the real torch from PyPI instead; all 4 cells: 120 GB of disk"
    )
    parser.add_argument(
        "--conda", type=_checkout, help="a clone of conda, for the base; default: the kit's own command"
    )
    parser.add_argument("--phases", type=_count, help="only the first N phases")
    parser.add_argument("--json", type=Path, default=Path("benchmark.json"), help="default: benchmark.json")
    parser.add_argument("--svg", type=Path, help="where a picture of the figures goes")
    arguments = parser.parse_args(words)
    if arguments.long and arguments.factor:
        parser.error("--long has packages as they are, so it does not go with --factor")
    for path in filter(None, (arguments.json, arguments.svg)):
        if not path.parent.is_dir():
            parser.error(f"{path}: there is no folder {path.parent}")
    arguments.factor = arguments.factor or FACTOR
    return arguments


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number from 1 on")
    return int(text)


def _checkout(text: str) -> Path:
    path = Path(text).resolve()
    if not (path / ".git").exists() or not (path / "pyproject.toml").is_file():
        raise argparse.ArgumentTypeError(f"{text} is no clone of conda's repository, whose tags say its version")
    return path


@contextmanager
def open_matrix(arguments: argparse.Namespace, kit: Path) -> Iterator[ReplicaMatrix | TorchMatrix]:
    """Give the matrix that is asked for, while what it installs is served."""
    if arguments.long:
        torch = TorchMatrix(server="").choose(arguments.cells) if arguments.cells else TorchMatrix(server="")
        bring_up(kit, torch.pythons)
        yield replace(torch, server=ensure_server(kit))
        return
    replica = make_replica(kit, arguments.factor)
    with serve_folder(replica.folder) as server:
        matrix = ReplicaMatrix(replica=replica, server=server, title=f"a real lock, sizes / {arguments.factor}")
        yield matrix.choose(arguments.cells) if arguments.cells else matrix


def measure_ways(matrix: Matrix, ways: Iterable[str], kit: Path, conda: RealConda | None) -> Iterator[Result]:
    """Yield the result after each way, so that a failure of one does not lose the others."""
    with tempfile.TemporaryDirectory() as folder:
        targets = write_targets(matrix.write(Path(folder), matrix.phases[0]), Path(folder) / "contexts")
        version = f"conda {conda.version}" if conda else "the kit's conda"
        described = describe_input(f"{matrix.title}, {version}", targets)
    check_disk(kit / "benchmark", described, len(matrix.phases))
    rows: list[Row] = []
    installs: list[InstallTime] = []
    for way in ways:
        for figure in measure_way(way, matrix, kit=kit, home=kit / "benchmark" / way, fill=conda or import_base):
            installs.append(figure) if isinstance(figure, InstallTime) else rows.append(figure)
        yield make_result(described, rows, installs)


def main() -> int:
    """Measure, and print the table."""
    arguments = parse_arguments()
    kit = find_kit()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # engines and registries end as well
    try:
        conda = prepare_conda(arguments.conda, kit / "benchmark" / "conda") if arguments.conda else None
        with open_matrix(arguments, kit) as matrix:
            chosen = replace(matrix, phases=matrix.phases[: arguments.phases])
            for result in measure_ways(chosen, arguments.ways, kit, conda):
                write_result(result, arguments.json)
    except ImgbuildError as error:
        print(f"[benchmark] {error}", file=sys.stderr)
        return error.exit_code
    say(f"figures in {arguments.json}")
    if arguments.svg:
        arguments.svg.write_text(draw_picture(result), encoding="utf-8")
    print(draw_table(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
