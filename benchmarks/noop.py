"""How long a command takes when there is nothing to do, as a whole process, beside the docker CLI on the same cell.

    .venv/bin/python benchmarks/noop.py [--runs N]

Needs `make demo` to have built its image. The commands take turns, so that a drifting machine is fair to all.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.kit.workspace import find_kit

IMGBUILD = str(Path(sys.executable).with_name("imgbuild"))


def time_command(command: list[str]) -> float:
    """Return the seconds that a command took. Raises CalledProcessError when it fails."""
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    """Print median, fastest and slowest of each command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=11)
    runs = parser.parse_args().runs
    kit = find_kit()
    os.environ["IMGBUILD_SOURCES"] = str(kit / "sources.yaml")
    imgbuild = [IMGBUILD, "--project", str(kit / "project")]
    cell = ["demo", "--cuda", "cpu", "--py", "3.11"]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*imgbuild, "render", *cell, "--out", folder], check=True, capture_output=True)
        context = str(Path(folder) / "demo-py3.11-cpu")
        commands = {
            "imgbuild --help": [IMGBUILD, "--help"],
            "imgbuild build, image is up to date": [*imgbuild, "build", *cell],
            "docker buildx build, all cached": ["docker", "buildx", "build", "--network=host", "--load", context],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for turn in range(runs + 1):
            for name, command in commands.items():
                seconds = time_command(command)
                if turn:  # the first turn warms up
                    times[name].append(seconds)
    print(f"{'':36} median     min     max   ({runs} runs)")
    for name, found in times.items():
        print(f"{name:36} {statistics.median(found):5.2f} s {min(found):5.2f} s {max(found):5.2f} s")


if __name__ == "__main__":
    main()
