"""`imgbuild bundle`: images of cells as one file, for hosts that reach no registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from builder.commands.options import add_progress, add_selection, choose_cells, end_on_signals, open_project

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from builder.engine import Engine
    from builder.inputs import Job
    from builder.lock import Environment


@click.command()
@add_selection
@add_progress
@click.option("--all", "everything", is_flag=True, help="Every cell of every image.")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, metavar="FILE.tar", help="Write there."
)
@click.pass_obj
def bundle(
    folder: Path | None,
    images: Sequence[str],
    python: Sequence[str],
    cuda: Sequence[str],
    progress: str,
    output: Path,
    *,
    everything: bool,
) -> None:
    """Pack the built images of the cells that were chosen into one OCI image layout; print the file's name.

    What images share is in it once. All of them or nothing: exit code 9 when one is not built, or of another lock.
    `imgbuild load` reads it, and so do `docker load` and `skopeo copy oci-archive:FILE.tar:REF`.
    """
    from builder.bundle.packing import pack_images
    from builder.engine import Engine
    from builder.locking import find_environments, make_job, read_locks
    from builder.progress import choose_progress
    from builder.units import format_bytes

    if not (everything or images or python or cuda):
        raise click.UsageError("choose cells: imgbuild bundle --cuda 11.8 --py 3.10, an image's name, or --all")
    project = open_project(folder)
    cells = choose_cells(project, images, python, cuda)
    environments = find_environments(project, cells, read_locks(project, cells))
    locked = [(make_job(project, cell), found) for cell, found in zip(cells, environments, strict=True)]
    with end_on_signals(), choose_progress(progress, str) as drawn, Engine() as engine:
        layout = pack_images(_find_images(locked, engine), output, engine=engine, progress=drawn)
        alone = sum(image.size for image in layout.images)
        drawn.done(f"{len(layout.images)} images: {format_bytes(layout.size)}, {format_bytes(alone)} one by one")
    click.echo(output)


def _find_images(locked: Iterable[tuple[Job, Environment]], engine: Engine) -> dict[str, str]:
    """Return ref and content digest of each cell's image. Raises CheckError that names every cell without one."""
    from builder.built import find_built
    from builder.errors import CheckError
    from builder.pipeline import image_ref

    found: dict[str, str] = {}
    missing: list[CheckError] = []
    for job, environment in locked:
        try:
            found[image_ref(job)], _ = find_built(job, environment, engine)
        except CheckError as error:
            missing.append(error)
    if missing:
        raise CheckError("; ".join(error.message for error in missing), hint=missing[0].hint)
    return found
