"""Run processes that wait for each other: none is waited for once another has failed. Standard library only."""

import contextlib
import os
import subprocess
import time

from verdict import Failed

PATIENCE = 120  # seconds that processes have to meet, which takes a few


def run_together(commands, folder, patience=PATIENCE):
    """Run commands side by side; raise Failed with what one said as soon as it fails, or when they take too long."""
    logs = [os.path.join(folder, f"log{number}") for number in range(len(commands))]
    with contextlib.ExitStack() as stack:
        running = []
        for command, log in zip(commands, logs):  # noqa: B905
            running.append(subprocess.Popen(command, stderr=stack.enter_context(open(log, "wb"))))
            stack.callback(running[-1].wait)
            stack.callback(running[-1].kill)
        end = time.monotonic() + patience
        while any(process.poll() is None for process in running):
            if any(process.poll() for process in running) or time.monotonic() > end:
                break
            time.sleep(0.05)
        ended = [process.poll() for process in running]
    for code, log in zip(ended, logs):  # noqa: B905
        if code:
            with open(log, encoding="utf-8", errors="replace") as file:
                raise Failed(f"exit status {code}: {file.read().strip()[-600:]}")
    if None in ended:
        raise Failed(f"the processes have not met in {patience} s")
