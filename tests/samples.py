"""Values that many tests need. Hashes are made from names, so that equal packages are equal and others are not."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.version import Version

from builder.definition import Base, Definition
from builder.inputs import Job
from builder.lock import CondaPackage, Environment, PipPackage
from builder.locked import LockedCell
from builder.matrix import select_cells
from builder.plan import plan_cells
from builder.planning import make_content
from builder.titles import title_layers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from builder.matrix import Cell

FORGE = "https://conda.anaconda.org/conda-forge"
PROJECT = Path(__file__).parents[1]
BASE = Base(
    key="miniforge",
    ref="docker.io/condaforge/miniforge3:26.3.2-3",
    digest="sha256:" + "ba5e" * 16,
    conda="conda",
    install="install --yes --quiet --prefix {prefix} --file {file}",
    clean="clean --yes --index-cache",
    environment=(("CONDA_NO_PLUGINS", "true"),),
    pkgs_dir="/opt/conda/pkgs",
    glibc=Version("2.39"),
)


def digest(text: str, algorithm: str = "sha256") -> str:
    return hashlib.new(algorithm, text.encode()).hexdigest()


def make_conda(
    name: str, version: str = "1.0", build: str = "0", *, channel: str = FORGE, subdir: str = "linux-64", **more: Any
) -> CondaPackage:
    url = f"{channel}/{subdir}/{name}-{version}-{build}.conda"
    hashes = {"md5": digest(url, "md5"), "sha256": digest(url)}
    return CondaPackage(
        **{"name": name, "version": version, "build": build, "url": url, "size": 1000, **hashes, **more}
    )


def make_wheel(name: str, version: str = "1.0", *, folder: str = "https://files.example/w", **more: Any) -> PipPackage:
    url = f"{folder}/{name.replace('-', '_')}-{version}-py3-none-any.whl"
    return PipPackage(**{"name": name, "version": version, "url": url, "sha256": digest(url), **more})


def make_python(version: str) -> list[CondaPackage]:
    """Return a small but whole environment: native libraries, one Python, and packages for it."""
    short = "".join(version.split(".")[:2])
    cp = f"py{short}h0_0"
    own = (f"python >={version},<3.99", f"python_abi {version[:4]}.* *_cp{short}")
    purl = {"purls": ("pkg:pypi/numpy",)}
    return [
        make_conda("libblas", "3.9.0", depends=("libgcc >=14",), size=17_000_000),
        make_conda("libgcc", "14.2.0", constrains=("libgomp 14.2.0",), license="GPL-3.0", timestamp=1727281222402),
        make_conda("numpy", "1.26.4", cp, depends=("libblas >=3.9", *own), size=8_000_000, **purl),
        make_conda("pip", "26.0", "pyh0_0", subdir="noarch", depends=("python >=3.9",)),
        make_conda("python", version, "h0_cpython", depends=("libgcc >=14", "tzdata", "pip"), size=31_000_000),
        make_conda(
            "python_abi", version[:4], f"8_cp{short}", subdir="noarch", constrains=(f"python {version[:4]}.*",)
        ),
        make_conda("tzdata", "2026a", "h0_0", subdir="noarch"),
    ]


def make_environment(
    name: str = "py310-cu118",
    *,
    conda: Iterable[CondaPackage] | None = None,
    pip: Iterable[PipPackage] = (),
    **more: Any,
) -> Environment:
    packages = make_python("3.10.16") if conda is None else conda
    values = {"name": name, "inputs": f"sha256:{digest(name)}", "channels": (FORGE,), **more}
    return Environment(**values, conda=tuple(packages), pip=tuple(pip))


def make_definition(**more: Any) -> Definition:
    """Return a definition of Python 3.10 and 3.11 with CUDA 11.8, 12.6 and CPU, changed by `more`."""
    pythons, cudas = (Version("3.10"), Version("3.11")), (Version("11.8"), Version("12.6"), None)
    path = Path("images/pytorch/image.yaml")
    return Definition(**{"name": "pytorch", "path": path, "base": BASE.key, "python": pythons, "cuda": cudas, **more})


def pick_cell(definition: Definition, python: str = "3.10", cuda: str = "11.8") -> Cell:
    (cell,) = select_cells([definition], python=python, cuda=cuda)
    return cell


def make_job(python: str = "3.10", cuda: str = "11.8", **more: Any) -> Job:
    definition = make_definition(**more)
    return Job(cell=pick_cell(definition, python, cuda), definition=definition, base=BASE)


def make_locked(*cells: tuple[Job, Environment]) -> tuple[LockedCell, ...]:
    """Return locked cells that are planned together."""
    plan = plan_cells(make_content(job.cell, job.base, environment) for job, environment in cells)
    titles = title_layers(plan)
    return tuple(
        LockedCell(job=job, environment=environment, layers=plan.layers_of(job.cell.id), titles=titles)
        for job, environment in cells
    )
