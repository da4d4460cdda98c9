#!/opt/conda/bin/python -IB
"""The `conda` of the kit's base image: what templates ask of conda, done by py-rattler.

Real conda can be had from neither PyPI nor Debian. This command takes the arguments of real conda that an image build
uses, and leaves what real conda leaves: package cache, `conda-meta`, time stamps in `history`, `~/.conda`.
It is copied into the base image, beside py-rattler and the script by which imgbuild's own installer links packages.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent

VERSION = "conda 0 (imgbuild kit, py-rattler)"


class CondaError(Exception):
    """A failure that is told in one line, without a traceback."""


def find_package_cache() -> Path:
    """Return the package cache: the first of CONDA_PKGS_DIRS, else `pkgs` beside this command's `bin`."""
    configured = os.environ.get("CONDA_PKGS_DIRS", "").split(",")[0]
    return Path(configured) if configured else ROOT / "pkgs"


def write_history(prefix: Path) -> None:
    """Record the command as real conda does: with the time, and the prefix in the user's list of environments."""
    now = datetime.datetime.now().strftime("%Y-%m-%d %H:%M:%S")
    with (prefix / "conda-meta" / "history").open("a", encoding="utf-8") as history:
        history.write(f"==> {now} <==\n# cmd: {' '.join(sys.argv)}\n")
    if os.environ.get("CONDA_REGISTER_ENVS", "true").lower() == "false":
        return
    environments = Path.home() / ".conda" / "environments.txt"
    environments.parent.mkdir(exist_ok=True)
    known = environments.read_text(encoding="utf-8").splitlines() if environments.exists() else []
    if str(prefix) not in known:
        environments.write_text("\n".join([*known, str(prefix)]) + "\n", encoding="utf-8")


def run_create(arguments: argparse.Namespace) -> None:
    if (arguments.prefix / "conda-meta").exists():
        shutil.rmtree(arguments.prefix)
    (arguments.prefix / "conda-meta").mkdir(parents=True)
    run_install(arguments)


def run_install(arguments: argparse.Namespace) -> None:
    if not (arguments.prefix / "conda-meta").is_dir():
        raise CondaError(f"{arguments.prefix} is not a conda environment")
    from install import InstallError, install_list  # the script that imgbuild's steps run, beside py-rattler

    cache = find_package_cache()
    cache.mkdir(parents=True, exist_ok=True)
    try:
        install_list(arguments.prefix, arguments.file, cache)
    except InstallError as error:
        raise CondaError(str(error)) from None
    write_history(arguments.prefix)


def run_clean(arguments: argparse.Namespace) -> None:
    """Empty the package cache if all is to go; the folder stays, since it may be a mount point.

    There is no index cache and no log to remove: this command keeps neither.
    """
    if not arguments.all:
        return
    cache = find_package_cache()
    for path in cache.iterdir() if cache.is_dir() else ():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def run_list(arguments: argparse.Namespace) -> None:
    records = [json.loads(path.read_text(encoding="utf-8")) for path in arguments.prefix.glob("conda-meta/*.json")]
    records.sort(key=lambda record: record["name"])
    if arguments.json:
        print(json.dumps([describe_record(record) for record in records], indent=2))
    elif arguments.explicit:
        print("@EXPLICIT", *(f"{record['url']}#{record['md5']}" for record in records), sep="\n")
    else:
        for record in records:
            print(f"{record['name']:<24} {record['version']:<16} {record['build']:<24} {record['channel']}")


def describe_record(record: dict[str, Any]) -> dict[str, Any]:
    return {
        "base_url": record["channel"],
        "build_number": record["build_number"],
        "build_string": record["build"],
        "channel": record["channel"].rsplit("/", 1)[-1],
        "dist_name": f"{record['name']}-{record['version']}-{record['build']}",
        "name": record["name"],
        "platform": record["subdir"],
        "version": record["version"],
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="conda", allow_abbrev=False)
    parser.add_argument("--version", "-V", action="version", version=VERSION)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run in (("create", run_create), ("install", run_install)):
        command = commands.add_parser(name, allow_abbrev=False)
        command.set_defaults(run=run)
        command.add_argument("--prefix", "-p", type=Path, required=True)
        command.add_argument("--file", type=Path, required=True)
        command.add_argument("--channel", "-c", action="append")
        for flag in ("--yes", "--quiet", "--override-channels", "--no-default-packages", "--offline"):
            command.add_argument(flag, action="store_true")
    clean = commands.add_parser("clean", allow_abbrev=False)
    clean.set_defaults(run=run_clean)
    what = clean.add_argument_group("what to remove")
    for option in ("--all", "--index-cache", "--logfiles"):
        what.add_argument(option, action="store_true")
    clean.add_argument("--yes", action="store_true")
    clean.add_argument("--quiet", action="store_true")
    listing = commands.add_parser("list", allow_abbrev=False)
    listing.set_defaults(run=run_list)
    listing.add_argument("--prefix", "-p", type=Path, required=True)
    listing.add_argument("--json", action="store_true")
    listing.add_argument("--explicit", action="store_true")
    arguments = parser.parse_args()
    if arguments.run is run_clean and not (arguments.all or arguments.index_cache or arguments.logfiles):
        clean.error("at least one removal target must be given")
    return arguments


def fail(message: str) -> NoReturn:
    print(f"conda: {message}", file=sys.stderr)
    raise SystemExit(1)


def main() -> None:
    arguments = parse_arguments()
    try:
        arguments.run(arguments)
    except (CondaError, OSError) as error:
        fail(str(error))


if __name__ == "__main__":
    main()
