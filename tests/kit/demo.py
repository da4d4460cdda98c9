"""`make demo`: bring the kit up, run the main job on it, and say how to run the image."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.kit.errors import KitError
from tests.kit.torch_wheel import read_cpu_version

if TYPE_CHECKING:
    from collections.abc import Sequence

GPU = "12.6"
"""The CUDA of the GPU demo: PyPI's own wheel of torch 2.7.1 is built for it, so no other index is needed."""

IMGBUILD = Path(sys.executable).with_name("imgbuild")


def run_demo(root: Path, python: str, cuda: str | None) -> None:
    """Build one cell of the demo project as a user would; stdout gets the ref and the command that runs it.

    Without a CUDA it is the CPU image, or the GPU one where pip offers no CPU build of torch. Raises KitError.
    """
    began = time.monotonic()
    chosen = cuda or ("cpu" if read_cpu_version(root) else GPU)
    sources = str(root / "sources.yaml")
    arguments = ["--project", str(root / "project"), "build", "demo", "--cuda", chosen, "--py", python]
    say(["imgbuild", *arguments, "--sources", sources])
    environment = {"XDG_CACHE_HOME": str(root / "cache"), **os.environ}
    command = [str(IMGBUILD), *arguments, "--sources", sources]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise KitError("the demo did not end in an image", hint="what went wrong is said above")
    ref = done.stdout.strip()
    gpus = "" if chosen == "cpu" else "--gpus all "
    say([f"done in {time.monotonic() - began:.1f} s; run the image:"])
    print(f"docker run --rm {gpus}{ref} python -c 'import torch; print(torch.__version__, torch.rand(2, 2))'")


def say(words: Sequence[str]) -> None:
    print("[demo]", *words, file=sys.stderr, flush=True)
