"""The base image: Debian with a small `conda`, made by mmdebstrap and imported into the engine."""

from __future__ import annotations

import importlib.metadata
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.kit.debian import BASE_SUITE, run_bootstrap
from tests.kit.errors import KitError
from tests.kit.steps import SOURCES, Progress, Step
from tests.kit.wheels import download_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kit.engine import Engine
    from tests.kit.workspace import Workspace

REPOSITORY = "imgbuild-kit/base"
IMAGE = f"{REPOSITORY}:{BASE_SUITE}"
LABEL = "imgbuild.kit.base"
DEBIAN_PYTHON = "3.11"
REQUIREMENTS = (f"py-rattler=={importlib.metadata.version('py-rattler')}", "certifi==2024.12.14", "pip==25.0.1")
INSTALL = Path(__file__).parents[2] / "templates" / "host" / "install.py"
VENV = "home = /usr/bin\ninclude-system-site-packages = false\n"
PATH = "/opt/conda/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def lay_out_conda(workspace: Workspace) -> Path:
    """Return a folder to be copied to `/opt/conda`: like real conda's it has a Python with pip, here a venv."""
    conda = workspace.scratch / "conda"
    site = conda / "lib" / f"python{DEBIAN_PYTHON}" / "site-packages"
    for requirement in REQUIREMENTS:
        wheel = download_wheel(workspace, requirement, DEBIAN_PYTHON, workspace.scratch / "wheels")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    for folder in ("bin", "conda-meta", "pkgs"):
        (conda / folder).mkdir()
    (conda / "conda-meta" / "history").touch()
    (conda / "pyvenv.cfg").write_text(VENV, encoding="utf-8")
    (conda / "bin" / "python").symlink_to("/usr/bin/python3")
    shutil.copyfile(INSTALL, site / "install.py")
    command = conda / "bin" / "conda"
    shutil.copyfile(SOURCES / "conda.py", command)
    command.chmod(0o755)
    return conda


def make_base(workspace: Workspace) -> Iterator[Path]:
    conda = lay_out_conda(workspace)
    made = workspace.scratch / "base.tar"
    run_bootstrap(
        workspace,
        variant="minbase",
        include=("python3",),
        hooks=(
            f"copy-in {conda} /opt",
            'chown -R 0:0 "$1/opt/conda"',
            'rm -f "$1/etc/hostname" "$1/etc/resolv.conf" "$1/etc/machine-id"',
        ),
        target=made,
    )
    yield workspace.publish(made, workspace.root / "base.tar")


BASE = Step(
    name="base",
    doing=f"bootstrapping Debian {BASE_SUITE}",
    make=make_base,
    sources=("base.py", "conda.py"),
    inputs=(*REQUIREMENTS, INSTALL.read_text(encoding="utf-8")),
)


def import_base(engine: Engine, root: Path) -> None:
    """Give the engine the base image unless it has it; the image's label says which base it is."""
    digest = BASE.digest_inputs()
    if engine.read_label(IMAGE, LABEL) == digest:
        return
    with Progress("base", f"importing {IMAGE}"):
        changes = (f"ENV PATH={PATH}", 'CMD ["bash"]', f"LABEL {LABEL}={digest}")
        engine.import_image(root / "base.tar", repository=REPOSITORY, tag=BASE_SUITE, changes=changes)
    if engine.read_label(IMAGE, LABEL) != digest:
        raise KitError(f"the engine at {engine.url} did not keep {IMAGE}")
