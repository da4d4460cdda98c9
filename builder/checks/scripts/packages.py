"""In the image, as its default user: Python, torch and every package are those of the lock, and they fit together."""

import glob
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys

from verdict import Failed, Skip, compare_sets, run_checks


def read_records():
    """Return conda's records of the environment, one mapping for each package."""
    paths = glob.glob(os.path.join(sys.prefix, "conda-meta", "*.json"))
    return [json.load(open(path, encoding="utf-8")) for path in paths]


def python(expected):
    """The interpreter has the locked version and lives in the environment's own prefix."""
    found = platform.python_version()
    if found != expected["python"]:
        raise Failed(f"Python is {found}, the lock has {expected['python']}")
    if sys.prefix != expected["prefix"]:
        raise Failed(f"Python runs in {sys.prefix}, not in {expected['prefix']}")
    return found


def command(expected):
    """Plain `python` is the environment's own, and no variable makes it import from elsewhere."""
    found = shutil.which("python")
    if found != os.path.join(expected["prefix"], "bin", "python"):
        raise Failed(f"`python` is {found or 'not in PATH'}, not that of {expected['prefix']}")
    moved = sorted({"PYTHONHOME", "PYTHONPATH"} & os.environ.keys())
    if moved:
        raise Failed("set in the image: " + ", ".join(moved))
    return found


def conda_packages(expected):
    """Conda's records are exactly the lock's packages, from their canonical addresses."""
    found = {
        f"{record['name']} {record['version']} {record['build']} from {record['url']}" for record in read_records()
    }
    wanted = {f"{name} {version} {build} from {url}" for name, version, build, url in expected["conda"]}
    return compare_sets(wanted, found, "packages")


def pip_packages(expected):
    """The distributions that no conda package owns are exactly the lock's wheels."""
    owned = {os.path.normpath(path) for record in read_records() for path in record.get("files", ())}
    found = set()
    for distribution in importlib.metadata.distributions():
        folder = os.path.relpath(str(distribution._path), sys.prefix)
        if not any(os.path.join(folder, name) in owned for name in ("METADATA", "PKG-INFO", "RECORD")):
            name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
            found.add(f"{name} {distribution.version}")
    return compare_sets({f"{name} {version}" for name, version in expected["pip"]}, found, "wheels")


def torch(expected):
    """torch imports, has the cell's version, and was built for the cell's CUDA."""
    if expected["torch"] is None:
        raise Skip("this image has no torch")
    import torch

    found = torch.__version__.partition("+")[0]
    if found != expected["torch"]:
        raise Failed(f"torch is {found}, the lock has {expected['torch']}")
    built = ".".join(torch.version.cuda.split(".")[:2]) if torch.version.cuda else None
    if built != expected["cuda"]:
        raise Failed(f"torch was built for CUDA {built}, the cell is for CUDA {expected['cuda']}")
    total = float((torch.ones(64, 64) @ torch.ones(64, 64)).sum())
    if total != 64.0**3:
        raise Failed(f"a matrix product on the CPU gave {total}")
    return f"{torch.__version__}, CUDA {torch.version.cuda}"


def pip_check(expected):
    """pip finds every requirement of every distribution satisfied."""
    arguments = [sys.executable, "-E", "-B", "-m", "pip", "--isolated", "check"]
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed((done.stdout + done.stderr).strip())
    return done.stdout.strip()


run_checks([python, command, conda_packages, pip_packages, torch, pip_check])
