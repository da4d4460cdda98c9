"""A machine on this machine's own files, whose clock is its own: the clock of this one stays as it is.

It is Debian's user-mode-linux: a Linux kernel that runs as a process, and so needs no KVM
(docs.kernel.org/virt/uml/user_mode_linux_howto_v2.html). The machine has one processor and no network, sees all files
of this one, and writes to one folder of them.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.disk import make_disk
from tests.kit.debian import configure_apt
from tests.kit.errors import KitError
from tests.kit.steps import Step

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from tests.kit.workspace import Workspace

INIT = Path(__file__).with_name("machine_init.sh")

DISK = Path("/disk")
"""Where the machine has a disk of its own, empty at first, which lasts as long as it does."""

SUITE = "sid"
"""Where the kernel is from: an engine's copy into a container takes Linux 6.6 (fchmodat2), and that of sid catches
system calls by seccomp, not by ptrace, which makes a build twice as fast (`seccomp=on`, from Linux 6.16 on)."""

DISK_BYTES = 30 * 2**30
MEMORY_MIB = 4096
LOADER = "ld-linux.so.2"


def make_machine(workspace: Workspace) -> Iterator[Path]:
    """Yield a folder with a kernel that is a program, its modules, and the C library that it needs."""
    apt = configure_apt(workspace, SUITE)
    workspace.run(*apt, "download", "user-mode-linux", "busybox-static", "libc6")
    unpacked = workspace.scratch / "unpacked"
    for package in workspace.scratch.glob("*.deb"):
        workspace.run("dpkg-deb", "--extract", package, unpacked)
    made = workspace.scratch / "machine"
    (made / "lib").mkdir(parents=True)
    library = unpacked / "usr" / "lib" / "x86_64-linux-gnu"
    for source, name in (
        (library / "ld-linux-x86-64.so.2", LOADER),
        (library / "libc.so.6", "libc.so.6"),
        (next(unpacked.glob("usr/bin/busybox")), "busybox"),
        (unpacked / "usr" / "lib" / "uml" / "modules", "lib/modules"),
    ):
        source.rename(made / name)
    kernel = made / "linux"
    kernel.write_bytes(use_own_loader((unpacked / "usr" / "bin" / "linux.uml").read_bytes()))
    kernel.chmod(0o755)
    workspace.run(made / "busybox", "depmod", "-b", made, next((made / "lib" / "modules").iterdir()).name)
    yield workspace.publish(made, workspace.root / "machine")


def use_own_loader(program: bytes) -> bytes:
    """Return a program that is started by the loader in its working directory; this machine's may be too old for it.

    Starting the loader itself would not do: where the program's memory ends is where user-mode-linux puts its own.
    """
    usual = b"/lib64/ld-linux-x86-64.so.2\0"
    if program.count(usual) != 1:
        raise KitError("user-mode-linux is not a program of the usual loader")
    return program.replace(usual, f"./{LOADER}".encode().ljust(len(usual), b"\0"))


MACHINE = Step(name="machine", doing="unpacking user-mode-linux", make=make_machine, sources=(), inputs=("1", SUITE))


def run_machine(command: Sequence[str | Path], *, kit: Path, share: Path, clock: datetime, limit: int) -> str:
    """Return what a command says that runs in a new machine whose clock begins at a time. `limit` is in seconds.

    `share` is a folder, empty at first, that the machine can write to. The step MACHINE has been run in the kit.
    Raises KitError when the machine does not end by then, or the command fails.
    """
    checkout = INIT.parents[1]
    variables = (f"PYTHONPATH={checkout}", f"IMGBUILD_KIT={kit}")
    words = shlex.join(["env", f"--chdir={checkout}", *variables, *map(str, command)])
    (share / "command").write_text(f"exec {words}\n", encoding="utf-8")
    disk, machine, code = share / "disk.img", kit / "machine", share / "code"
    argv = [
        "./linux",
        "seccomp=on",
        f"mem={MEMORY_MIB}M",
        f"ubd0={disk}",
        *("rootfstype=hostfs", "rootflags=/", "ro", f"init={INIT}"),
        *("con=null", "con0=null,fd:1", "panic=-1"),
        *(f"share={share}", f"machine={machine}", f"begin={clock.timestamp():.0f}"),
    ]
    try:
        make_disk(disk, DISK_BYTES)
        with (share / "console").open("wb") as console:
            subprocess.run(
                argv,
                cwd=machine,
                env={**os.environ, "LD_LIBRARY_PATH": str(machine)},
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                check=False,
                timeout=limit,
            )
    except subprocess.TimeoutExpired:
        raise KitError(f"the machine did not end within {limit} s", hint=_quote_end(share)) from None
    finally:
        disk.unlink(missing_ok=True)
    if not code.exists():
        raise KitError("the machine did not get as far as its command", hint=_quote_end(share))
    if status := int(code.read_text(encoding="utf-8")):
        raise KitError(f"the machine's command ended with exit code {status}", hint=_quote_end(share))
    return (share / "output").read_text(encoding="utf-8")


def _quote_end(share: Path) -> str:
    said = [share / name for name in ("console", "output") if (share / name).exists()]
    ends = [path.read_text(encoding="utf-8", errors="replace").splitlines()[-3:] for path in said]
    return "last words: " + " | ".join(line.strip() for lines in ends for line in lines)
