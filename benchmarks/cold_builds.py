"""Build a matrix cold on each image store and write every digest of its images, as JSON. `clock.py` compares them.

    python -m benchmarks.cold_builds --home FOLDER --base TAR --json FILE [--stores default containerd] [--cells …]

The plan has been brought up to newer packages twice, so that images have layers in which a package replaces an older
one. `--base` is the base image: imported anew, it would be another each time, as its history says when that was.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import docker

from benchmarks.matrices import COLD, CONDA, PIP, ReplicaMatrix
from benchmarks.matrix import FACTOR
from benchmarks.registry import run_registry
from benchmarks.replica import make_replica, serve_folder
from benchmarks.throwaway import run_engine
from benchmarks.ways import Scene, say
from builder.matrix import expand_cells
from builder.planning import keep_plan
from builder.registry.client import Registry
from builder.registry.image import read_image
from builder.registry.place import find_place
from builder.sources import find_sources
from tests.kit.engine import STORES, Store
from tests.kit.errors import KitError
from tests.kit.workspace import find_kit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from builder.layers import Layer
    from builder.planning import ProjectPlan
    from builder.project import Project
    from tests.kit.engine import Engine

CELLS = "py39-cu121,py311-cu117,py311-cu121"

LAST = ("COPY", "WORKDIR")
"""The steps after the packages, each of which makes a layer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltLayer:
    """A layer of an image: its digest as it was pushed, and that of its content; `role` is what is in it."""

    role: str
    digest: str
    diff_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltImage:
    """A cell's image as it was built on a store; its manifest has the digests of its configuration and layers."""

    store: str
    cell: str
    manifest: str
    layers: tuple[BuiltLayer, ...]


def build_cold(store: Store, matrix: ReplicaMatrix, *, home: Path, kit: Path, base: Path) -> Iterator[BuiltImage]:
    """Yield the images of a matrix, built by an engine that has nothing but the base. Raises KitError."""
    project_root = home / "project"
    for phase in (COLD, PIP, CONDA):
        project = matrix.write(project_root, phase)
        planned = keep_plan(project)
    fill = partial(load_base, archive=base)
    with (
        run_engine(home / "engine", kit, store=store, fill=fill) as engine,
        run_registry(home / "registry") as registry,
    ):
        scene = Scene(project=project_root, targets=(), engine=engine.url, registry=registry.address, home=home)
        say(f"{store}: building …")
        scene.run(*scene.imgbuild, "build", "--all", "--locked", "--jobs=2", f"--push={registry.address}")
        yield from read_images(store, project, planned, registry.address)


def load_base(engine: Engine, _kit: Path, archive: Path) -> None:
    """Put the image of an archive into an engine."""
    client = docker.DockerClient(base_url=engine.url, timeout=600)
    try:
        with archive.open("rb") as stream:
            client.images.load(stream)
    finally:
        client.close()


def read_images(store: Store, project: Project, planned: ProjectPlan, address: str) -> Iterator[BuiltImage]:
    """Yield what a registry has of each cell. Raises RegistryError, KitError for an image that is not there."""
    sources = find_sources(str(project.root / "sources.yaml"))
    with Registry(find_place(address, sources), lambda _: None) as registry:
        for cell in (cell for definition in project.definitions for cell in expand_cells(definition)[0]):
            image = read_image(registry, cell.image, cell.tag)
            if image is None:
                raise KitError(f"{cell.image}:{cell.tag} was not pushed")
            roles = name_roles(planned.plan.layers_of(cell.id), len(image.layers))
            layers = zip(roles, image.layers, image.diff_ids, strict=True)
            yield BuiltImage(
                store=store,
                cell=cell.id,
                manifest=image.manifest,
                layers=tuple(
                    BuiltLayer(role=role, digest=layer.digest, diff_id=diff_id) for role, layer, diff_id in layers
                ),
            )


def name_roles(layers: Sequence[Layer], count: int) -> Iterator[str]:
    """Yield what each of an image's layers is: the base, imgbuild's own files, packages, or newer packages."""
    yield "base"
    yield from ["own files"] * (count - 1 - len(layers) - len(LAST))
    yield from ("replaces packages" if layer.replaced else "adds packages" for layer in layers)
    yield from ["own files"] * len(LAST)


def main() -> None:
    """Build, and write the digests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--stores", nargs="+", choices=STORES, default=STORES)
    parser.add_argument("--cells", default=CELLS, help=f"default: {CELLS}")
    arguments = parser.parse_args()
    kit = find_kit()
    began = datetime.now(UTC)
    replica = make_replica(kit, FACTOR)
    images: list[BuiltImage] = []
    with serve_folder(replica.folder) as server:
        matrix = ReplicaMatrix(replica=replica, server=server, title="").choose(arguments.cells.split(","))
        for store in arguments.stores:
            home = arguments.home / store
            home.mkdir(parents=True)
            images += build_cold(store, matrix, home=home, kit=kit, base=arguments.base)
            shutil.rmtree(home)
    report = {"began": began.isoformat(), "images": [asdict(image) for image in images]}
    arguments.json.write_text(json.dumps(report, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
