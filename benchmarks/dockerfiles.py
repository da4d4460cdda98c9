"""What people write today for a matrix: a Dockerfile for each cell with one RUN that installs all, and a bake file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.kit.base import IMAGE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from builder.lock import CondaPackage, Environment, PipPackage
    from builder.sources import Sources

DOCKERFILE = """\
FROM {base}
COPY {files} /tmp/
RUN conda create --yes --quiet --prefix /opt/env --file /tmp/conda.txt \\
    && /opt/env/bin/python -m pip install --quiet --no-cache-dir --no-deps --root-user-action=ignore {cert}\\
        --require-hashes --requirement /tmp/pip.txt \\
    && conda clean --all --yes \\
    && rm -rf /root/.cache /root/.conda
ENV PATH=/opt/env/bin:$PATH
CMD ["python"]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One image to build: the folder of its Dockerfile, its name and tag without a registry, and what it installs."""

    folder: Path
    image: str
    environment: Environment

    @property
    def packages(self) -> tuple[CondaPackage | PipPackage, ...]:
        """What it installs, of both managers."""
        return (*self.environment.conda, *self.environment.pip)

    @property
    def size(self) -> int:
        """The bytes of its packages, as far as the lock tells them."""
        return sum(package.size or 0 for package in self.packages)


def write_context(target: Target, sources: Sources) -> None:
    """Write the Dockerfile of a cell and what it installs, by the addresses that answer on this machine."""
    files = {
        "conda.txt": _list_conda(target.environment.conda, sources).encode(),
        "pip.txt": _list_pip(target.environment.pip, sources).encode(),
    }
    if sources.ca_bundle and not all(url.startswith("http:") for url in sources.pip.urls or ("https:",)):
        files["ca.pem"] = sources.ca_bundle.read_bytes()
    cert = "--cert=/tmp/ca.pem " if "ca.pem" in files else ""
    dockerfile = DOCKERFILE.format(base=IMAGE, files=" ".join(files), cert=cert)
    target.folder.mkdir(parents=True, exist_ok=True)
    for name, data in {**files, "Dockerfile": dockerfile.encode()}.items():
        (target.folder / name).write_bytes(data)


def _list_conda(packages: Iterable[CondaPackage], sources: Sources) -> str:
    urls = (f"{sources.mirror(package.url)}#sha256:{package.sha256}" for package in packages)
    return "\n".join(["@EXPLICIT", *urls, ""])


def _list_pip(wheels: Iterable[PipPackage], sources: Sources) -> str:
    lines = [f"--index-url {sources.pip.index_url}"] if sources.pip.index_url else []
    lines += [f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}" for wheel in wheels]
    return "\n".join([*lines, ""])


def write_bake_file(path: Path, targets: Iterable[Target], registry: str) -> None:
    """Write a bake file of all targets, each with its own ref in the registry."""
    described = {
        target.folder.name.replace(".", "_"): {  # bake's names have no dots
            "context": str(target.folder),
            "tags": [f"{registry}/{target.image}"],
            "network": "host",
        }
        for target in targets
    }
    document = {"group": {"default": {"targets": sorted(described)}}, "target": described}
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")
