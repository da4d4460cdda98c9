"""A project with locks, and its images as imgbuild would have published them, without an engine or a solver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from builder.attach import DOCUMENT, TYPES
from builder.checks.suites import digest_checks
from builder.inputs import digest_inputs
from builder.lock import Lock, write_lock
from builder.locking import make_job
from builder.matrix import expand_cells
from builder.project import Project, load_project
from builder.render import list_labels
from tests.samples import make_conda, make_environment, make_python, make_wheel

if TYPE_CHECKING:
    from pathlib import Path

    from builder.lock import Environment
    from builder.matrix import Cell
    from tests.registry import FakeRegistry

PATH = "team"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """A folder with one image of four cells, `demo`; what it publishes goes to `team/demo`."""

    root: Path

    @property
    def project(self) -> Project:
        return load_project(self.root)

    @property
    def cells(self) -> tuple[Cell, ...]:
        return expand_cells(self.project.definition("demo"))[0]

    def environment(self, cell: Cell, **more: Any) -> Environment:
        conda = [make_conda(it.name, it.version, it.build) for it in make_python(f"{cell.python}.16")]
        values = {"conda": conda, "pip": [make_wheel("wheely")], **more}
        return make_environment(cell.environment, inputs=digest_inputs(make_job(self.project, cell)), **values)

    def define(self, **changes: str) -> None:
        lines = {"name": "demo", "base": "miniforge", "conda": "[numpy]"} | changes
        matrix = changes.get("matrix", "{python: ['3.10', '3.11'], cuda: ['12.6', cpu], torch: none}")
        folder = self.root / "images" / "demo"
        folder.mkdir(parents=True, exist_ok=True)
        text = "".join(f"{key}: {value}\n" for key, value in {**lines, "matrix": matrix}.items())
        (folder / "image.yaml").write_text(text)

    def lock(self, **more: Any) -> None:
        environments = tuple(self.environment(cell, **more) for cell in self.cells)
        write_lock(Lock(environments=environments), self.root / "images" / "demo" / "imgbuild.lock")

    def labels(self, cell: Cell) -> dict[str, str]:
        job = make_job(self.project, cell)
        return list_labels(job, self.environment(cell), digest_checks(job.definition))

    def publish(self, registry: FakeRegistry, *cells: Cell, **labels: str) -> None:
        """Put the images of some cells, else of all, into a registry with their documents, and some labels changed."""
        for cell in cells or self.cells:
            env = (f"IMGBUILD_CUDA={cell.cuda}",) if cell.cuda else ()
            layers = {"base": 1000, f"python {cell.python}": 100, f"all of {cell.id}": 10}
            told = self.labels(cell) | labels
            image = registry.add_image(f"{PATH}/demo", cell.tag, labels=told, layers=layers, env=env)
            for kind, form in TYPES.items():
                registry.attach(f"{PATH}/demo", image, form, b"{}", **{DOCUMENT: kind})


def make_workshop(root: Path) -> Workshop:
    made = Workshop(root=root)
    made.define()
    made.lock()
    return made
