"""Do layers depend on the clock? The same matrix is built cold at several times; every digest is compared.

    .venv/bin/python benchmarks/clock.py [--clocks 2026-01-01 2027-01-01] [--cells py39-cu121,…] [--stores …]

Each build has a machine of its own with nothing in it: a kernel that runs as a process, whose clock is set, so that
this machine's stays as it is; an engine for each image store; a registry. Needs root on Debian, `make demo` once, 4 GB
of memory and 5 GB of disk for each machine. Two run at a time, for a quarter of an hour on two cores.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import tarfile
import tempfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.cold_builds import CELLS
from benchmarks.machine import DISK, MACHINE, run_machine
from benchmarks.matrix import FACTOR
from benchmarks.replica import make_replica
from benchmarks.ways import say
from builder.errors import ImgbuildError
from tests.kit.base import BASE, IMAGE, LABEL, PATH
from tests.kit.engine import STORES
from tests.kit.errors import KitError
from tests.kit.steps import run_step
from tests.kit.workspace import SOURCE_DATE, find_kit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

LIMIT = 3600
"""Seconds that a machine may take."""

YEAR = timedelta(days=365)
IMAGES = "images, by their manifests"

TIMED = frozenset({("default", "replaces packages"), ("default", IMAGES)})
"""What is known to have the time in it, by store: docs/layers.md says why."""

Digests = dict[tuple[str, str, str, int], str]
"""The digests of one clock by store, role, cell and position."""


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what is asked for, on the command line unless words are given. Exits 2 for what makes no sense."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--clocks", nargs="+", type=_day, help="default: today, in a year, a year ago", metavar="YYYY-MM-DD"
    )
    parser.add_argument("--stores", nargs="+", choices=STORES, default=STORES, help="default: both")
    parser.add_argument("--cells", default=CELLS, help=f"default: {CELLS}")
    parser.add_argument("--json", type=Path, help="where all digests go")
    arguments = parser.parse_args(words)
    now = datetime.now(UTC)
    arguments.clocks = arguments.clocks or [now, now + YEAR, now - YEAR]
    if len(set(arguments.clocks)) < 2:
        parser.error("it takes two clocks at least to compare")
    return arguments


def _day(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no day like 2027-01-31") from None


def write_base(kit: Path, target: Path) -> None:
    """Write the kit's base as an archive that `docker load` takes, the same whenever it is written."""
    layer = kit / "base.tar"
    with layer.open("rb") as stream:
        diff_id = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
    created = datetime.fromtimestamp(SOURCE_DATE, UTC).isoformat()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": created,
        "config": {"Env": [f"PATH={PATH}"], "Cmd": ["bash"], "Labels": {LABEL: BASE.digest_inputs()}},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": created}],
    }
    manifest = [{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]
    with tarfile.open(target, "w") as archive:
        for name, document in (("config.json", config), ("manifest.json", manifest)):
            data = json.dumps(document).encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        archive.add(layer, "layer.tar")


def build_at(clock: datetime, *, kit: Path, base: Path, options: Sequence[str]) -> dict[str, Any]:
    """Return what a machine with a clock says that it built. Raises KitError, also for a machine of another time."""
    with tempfile.TemporaryDirectory(dir=base.parent) as folder:
        share = Path(folder)
        report = share / "digests.json"
        command = (sys.executable, "-m", "benchmarks.cold_builds", "--home", DISK, "--base", base, "--json", report)
        say(f"{clock:%Y-%m-%d}: building …")
        run_machine((*command, *options), kit=kit, share=share, clock=clock, limit=LIMIT)
        found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    began = datetime.fromisoformat(found["began"])
    if not clock <= began < clock + timedelta(hours=1):
        raise KitError(f"the machine's clock was {began}, not {clock}")
    say(f"{clock:%Y-%m-%d}: built")
    return found


def list_digests(report: Mapping[str, Any]) -> Digests:
    """Return the digests of a report: of manifests, and of layers, packed and unpacked in one."""
    found: Digests = {}
    for image in report["images"]:
        store, cell = image["store"], image["cell"]
        found[store, IMAGES, cell, 0] = image["manifest"]
        for position, layer in enumerate(image["layers"]):
            found[store, layer["role"], cell, position] = f"{layer['digest']} {layer['diff_id']}"
    return found


def compare(found: Iterable[Digests]) -> dict[tuple[str, str], tuple[int, int]]:
    """Return by store and role how many digests there are, and how many of them are the same at all clocks."""
    first, *others = found
    counted: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for key in {key: None for digests in (first, *others) for key in digests}:
        counted[key[:2]].append(all(other.get(key) == first.get(key) for other in others))
    return {key: (len(same), sum(same)) for key, same in counted.items()}


def draw(counted: Mapping[tuple[str, str], tuple[int, int]], clocks: Sequence[datetime]) -> str:
    """Return the comparison as a Markdown table."""
    days = ", ".join(f"{clock:%Y-%m-%d}" for clock in clocks)
    lines = [f"| built cold on {days} | store | digests | the same |", "|---|---|--:|--:|"]
    lines += [f"| {role} | {store} | {count} | {same} |" for (store, role), (count, same) in counted.items()]
    return "\n".join(lines)


def main() -> int:
    """Build, compare and print the table; 1 when something depends on the clock that must not."""
    arguments = parse_arguments()
    kit = find_kit()
    try:
        run_step(MACHINE, kit)
        make_replica(kit, FACTOR)
        (kit / "benchmark").mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kit / "benchmark") as folder, ThreadPoolExecutor(2) as pool:
            base = Path(folder) / "base.tar"
            write_base(kit, base)
            options = ("--stores", *arguments.stores, "--cells", arguments.cells)
            reports = list(pool.map(partial(build_at, kit=kit, base=base, options=options), arguments.clocks))
    except ImgbuildError as error:
        print(f"[benchmark] {error}", file=sys.stderr)
        return error.exit_code
    if arguments.json:
        arguments.json.write_text(json.dumps(reports, indent=1), encoding="utf-8")
    counted = compare(map(list_digests, reports))
    print(draw(counted, arguments.clocks))
    return int(any(count != same for key, (count, same) in counted.items() if key not in TIMED))


if __name__ == "__main__":
    sys.exit(main())
