"""`python -m tests.kit`: up, demo, down, status, engine."""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from builder.errors import ImgbuildError
from tests.kit.base import BASE, IMAGE, import_base
from tests.kit.channel import plan_index
from tests.kit.cpython import SOURCE_SUITES, plan_python
from tests.kit.demo import run_demo
from tests.kit.engine import STORES, Store, ensure_engine, find_engine, stop_engine
from tests.kit.errors import KitError
from tests.kit.native import NATIVE
from tests.kit.project import write_project
from tests.kit.server import ensure_server, stop_server
from tests.kit.steps import Step, is_done, run_steps
from tests.kit.torch_wheel import TORCH, read_cpu_version
from tests.kit.wheels import NOARCH_WHEELS, plan_wheels
from tests.kit.workspace import find_kit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def plan_steps(pythons: tuple[str, ...]) -> tuple[Step, ...]:
    """Return what has to be made before the channel can be indexed: what takes longest first."""
    compiling, packing = zip(*map(plan_python, pythons), strict=True)
    return *compiling, NATIVE, BASE, NOARCH_WHEELS, TORCH, *map(plan_wheels, pythons), *packing


@contextmanager
def lock_kit(root: Path) -> Iterator[None]:
    """Let one command at a time change the kit; the lock goes with the process, however it ends."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("[kit] another command works on this kit; waiting …", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def read_store() -> Store:
    match os.environ.get("IMGBUILD_KIT_STORE", "default"):
        case "containerd":
            return "containerd"
        case "default" | "":
            return "default"
        case other:
            raise KitError(f"IMGBUILD_KIT_STORE={other} is not a store", hint="it can be `default` or `containerd`")


def bring_up(root: Path, pythons: tuple[str, ...]) -> None:
    with lock_kit(root):
        engine = ensure_engine(root, read_store())
        run_steps(plan_steps(pythons), root)
        run_steps([plan_index(root)], root)
        import_base(engine, root)
        server = ensure_server(root)
        write_project(root, server, read_cpu_version(root))
    print(f"[kit] ready in {root}: {server}, {engine.url}", file=sys.stderr)


def take_down(root: Path) -> None:
    with lock_kit(root):
        stopped = ["server"] if stop_server(root) else []
        stopped += [f"engine ({store})" for store in STORES if stop_engine(root, store)]
    print(f"[kit] stopped: {', '.join(stopped) or 'nothing ran'}", file=sys.stderr)


def print_status(root: Path) -> None:
    print(f"kit: {root}")
    print(f"engine: {'answers' if find_engine(root, read_store()).answers() else 'does not answer'}")
    for step in (*plan_steps(tuple(SOURCE_SUITES)), plan_index(root)):
        print(f"{step.name}: {'ready' if is_done(step, root) else 'to be made'}")


def print_engine(root: Path, store: Store) -> None:
    """Print the URL of an engine with this store; it has the base image if the kit has made one."""
    with lock_kit(root):
        engine = ensure_engine(root, store)
        if is_done(BASE, root):
            import_base(engine, root)
    print(engine.url)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.kit", description=f"Make and serve the kit ({IMAGE}).")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="make what is missing and start the server")
    up.add_argument("--python", action="append", choices=sorted(SOURCE_SUITES), help="default: 3.11")
    demo = commands.add_parser("demo", help="up, then build the demo image")
    demo.add_argument("--python", choices=sorted(SOURCE_SUITES), default="3.11")
    demo.add_argument("--cuda", help="cpu or 12.6; default: cpu where pip has a CPU build of torch")
    commands.add_parser("down", help="stop what the kit started")
    commands.add_parser("status", help="say what is there")
    engine = commands.add_parser("engine", help="start an engine and print its URL")
    engine.add_argument("--store", choices=("default", "containerd"), default="default")
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    root = find_kit()
    try:
        match arguments.command:
            case "up":
                bring_up(root, tuple(dict.fromkeys(arguments.python or ["3.11"])))
            case "demo":
                bring_up(root, (arguments.python,))
                run_demo(root, arguments.python, arguments.cuda)
            case "down":
                take_down(root)
            case "status":
                print_status(root)
            case "engine":
                print_engine(root, arguments.store)
    except ImgbuildError as error:
        print(f"[kit] {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\n[kit] interrupted; what is finished is kept", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
