"""The base image with real conda in place of the kit's command, for whoever has a checkout of conda's sources.

The package index has none of conda's releases, so pip makes a wheel of the checkout (https://github.com/conda/conda).
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.ways import say
from tests.kit.base import DEBIAN_PYTHON, IMAGE, import_base
from tests.kit.errors import KitError
from tests.kit.wheels import PLATFORMS, open_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.kit.engine import Engine

UNUSED = frozenset({"menuinst", "pycosat"})
"""What the index has no wheel of. Conda needs it for menu entries and to solve; explicit lists ask for neither."""

# The command that pip makes asks for `conda init` first; the one that an installer brings is like this.
COMMAND = """\
#!/opt/conda/bin/python
import sys

if __name__ == "__main__":
    from conda.cli import main

    sys.exit(main())
"""
SETTINGS = "solver: classic\nnumber_channel_notices: 0\n"
DOCKERFILE = f"""\
FROM {IMAGE}
COPY *.whl /wheels/
RUN for wheel in /wheels/*; do \\
        /opt/conda/bin/python -m pip install --quiet --no-deps --no-index --force-reinstall $wheel || exit; \\
    done \\
    && rm -r /wheels
COPY --chmod=755 conda /opt/conda/bin/
COPY condarc /opt/conda/.condarc
"""


def prepare_conda(checkout: Path, folder: Path) -> Callable[[Engine, Path], None]:
    """Return what gives an engine the kit's base with the checkout's conda, whose wheels come to an empty folder.

    Raises KitError when pip cannot make them or find what they need.
    """
    say(f"conda of {checkout}: making its wheel …")
    run_pip("wheel", "--no-deps", f"--wheel-dir={folder}", str(checkout))
    wheel = next(folder.glob("conda-*.whl"), None)
    if wheel is None:
        raise KitError(f"{checkout} is no checkout of conda", hint="clone https://github.com/conda/conda")
    platforms = (f"--platform={platform}" for platform in PLATFORMS)
    options = (f"--python-version={DEBIAN_PYTHON}", "--only-binary=:all:", *platforms)
    run_pip("download", f"--dest={folder}", *options, *list_needed(wheel))
    for name, text in {"conda": COMMAND, "condarc": SETTINGS, "Dockerfile": DOCKERFILE}.items():
        (folder / name).write_text(text, encoding="utf-8")
    return partial(import_conda, folder)


def list_needed(wheel: Path) -> Iterator[str]:
    """Yield the requirements of conda's wheel for the Python of the base."""
    for requirement in map(Requirement, open_wheel(wheel).metadata.get_all("Requires-Dist", ())):
        applies = requirement.marker is None or requirement.marker.evaluate(
            {"python_version": DEBIAN_PYTHON, "extra": ""}
        )
        if applies and canonicalize_name(requirement.name) not in UNUSED:
            yield f"{requirement.name}{requirement.specifier}"


def import_conda(folder: Path, engine: Engine, kit: Path) -> None:
    """Give an engine the base, and under the same name the base with real conda. Raises KitError when that fails."""
    import_base(engine, kit)
    argv = ("docker", "buildx", "build", "--quiet", "--provenance=false", f"--tag={IMAGE}", folder)
    environment = {key: value for key, value in os.environ.items() if key != "BUILDX_BUILDER"}
    done = subprocess.run(
        argv, env=environment | {"DOCKER_HOST": engine.url}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise KitError("the base with real conda was not built", hint=done.stderr[-600:])


def run_pip(*arguments: str) -> None:
    argv = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KitError(f"`pip {arguments[0]}` failed for conda's checkout", hint=done.stderr[-600:])
