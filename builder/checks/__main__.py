"""`python -m builder.checks --here`: the checks of torch and the GPU, with the Python that runs this, in no container.

For a machine that has a GPU and torch but no engine. What a lock would say is taken from the torch that is here.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from builder.checks import read_verdicts
from builder.checks.suites import SUITES

_SCRIPTS = Path(__file__).parent / "scripts"
_NAMES = ("torch_build.py", "gpu.py")
_MARKS = {"pass": "✓", "fail": "✗", "skip": "\N{EN DASH}"}


def main() -> None:
    """Print what each check found; leave with 9 when one failed or gave no verdict, 1 without torch."""
    parser = argparse.ArgumentParser(prog="python -m builder.checks", description=__doc__)
    parser.add_argument("--here", action="store_true", required=True, help="in this Python, on this machine")
    parser.parse_args()
    try:
        torch: Any = importlib.import_module("torch")
    except ImportError as error:
        raise SystemExit(f"this Python has no torch: {error}") from None
    cuda = ".".join(torch.version.cuda.split(".")[:2]) if torch.version.cuda else None
    expected = {"torch": torch.__version__.partition("+")[0], "cuda": cuda, "arches": [], "gpu": "gpus", "no-gpu": ""}
    expected |= {"libraries": {}}
    failed = False
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(expected, file)
        file.flush()
        for suite in (suite for suite in SUITES if suite.script in _NAMES):
            command = [sys.executable, "-B", str(_SCRIPTS / suite.script), file.name]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            found = read_verdicts(done.stdout)
            for check in suite.checks:
                if check in found:
                    print(f"{_MARKS[found[check].verdict]} {check:11}  {found[check].detail}")  # noqa: T201
                else:
                    print(f"✗ {check:11}  no verdict: {done.stderr.strip()[-300:]}")  # noqa: T201
                failed |= check not in found or found[check].verdict == "fail"
    raise SystemExit(9 if failed else 0)


if __name__ == "__main__":
    main()
