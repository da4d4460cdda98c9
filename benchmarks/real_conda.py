"""The base image with real conda in place of the kit's command, for whoever has a checkout of conda's sources.

The package index has none of conda's releases, so pip makes a wheel of the checkout (https://github.com/conda/conda),
and writes conda's version into it.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from benchmarks.ways import say
from tests.kit.base import DEBIAN_PYTHON, IMAGE, import_base
from tests.kit.errors import KitError
from tests.kit.wheels import PLATFORMS, find_requirements, open_wheel
from tests.kit.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator
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

# The solver that conda would look for is not there. No plugins are either, and no channels that it asks for notices.
SETTINGS = "solver: classic\nnumber_channel_notices: 0\n"

DOCKERFILE = f"""\
FROM {IMAGE}
RUN --mount=type=bind,target=/wheels \\
    /opt/conda/bin/python -m pip install --quiet --no-deps --no-index --force-reinstall /wheels/*.whl
COPY --chmod=755 conda /opt/conda/bin/
COPY condarc /opt/conda/.condarc
RUN conda info
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RealConda:
    """A build context: the base with conda of this version. Call it to give an engine that base."""

    context: Path
    version: str

    def __call__(self, engine: Engine, kit: Path) -> None:
        """Give an engine the base, and under the same name the base with real conda. Raises KitError."""
        import_base(engine, kit)
        command = ("env", f"DOCKER_HOST={engine.url}", "docker", "buildx")
        workspace = open_workspace(self.context)
        workspace.run(
            *command, "build", "--builder=default", "--quiet", "--provenance=false", f"--tag={IMAGE}", self.context
        )
        workspace.run(*command, "prune", "--builder=default", "--all", "--force")


def prepare_conda(checkout: Path, folder: Path) -> RealConda:
    """Return the base with a checkout's conda; what it is made of comes to a folder, which is emptied first.

    Raises KitError when pip cannot make conda's wheel, or find what that needs.
    """
    say(f"conda of {checkout}: making its wheel …")
    shutil.rmtree(folder, ignore_errors=True)
    context = folder / "context"
    context.mkdir(parents=True)
    workspace = open_workspace(context)
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    workspace.run(*pip, "wheel", "--no-deps", f"--wheel-dir={context}", checkout)
    wheel = next(context.glob("conda-*.whl"), None)
    if wheel is None:
        raise KitError(f"{checkout} is no checkout of conda", hint="clone https://github.com/conda/conda")
    platforms = (f"--platform={platform}" for platform in PLATFORMS)
    options = (f"--python-version={DEBIAN_PYTHON}", "--only-binary=:all:", *platforms)
    workspace.run(*pip, "download", f"--dest={context}", *options, *list_needed(wheel))
    for name, text in {"conda": COMMAND, "condarc": SETTINGS, "Dockerfile": DOCKERFILE}.items():
        (context / name).write_text(text, encoding="utf-8")
    return RealConda(context=context, version=open_wheel(wheel).metadata["Version"])


def open_workspace(context: Path) -> Workspace:
    return Workspace(root=context.parent, scratch=context.parent, log=context.parent / "conda.log")


def list_needed(wheel: Path) -> Iterator[str]:
    """Yield the requirements of conda's wheel for the Python of the base."""
    for requirement in find_requirements(open_wheel(wheel).metadata.get_all("Requires-Dist", ()), DEBIAN_PYTHON):
        if canonicalize_name(requirement.name) not in UNUSED:
            requirement.marker = None
            yield str(requirement)
