"""`imgbuild bundle`: images of cells as one file, for hosts that reach no registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from builder.commands.options import add_progress, end_on_signals
from builder.commands.selection import add_selection, choose_cells

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from builder.engine import Engine
    from builder.inputs import Job
    from builder.lock import Environment
    from builder.progress import Progress


@click.command()
@add_selection
@add_progress
@click.option("--all", "everything", is_flag=True, help="Every cell of every image.")
@click.option(
    "--format",
    "name",
    type=click.Choice(["oci", "conda-pack"]),
    default="oci",
    show_default=True,
    help="Images, or the environment of one cell for a host without containers.",
)
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, metavar="FILE", help="Write there."
)
@click.pass_obj
def bundle(
    folder: Path | None,
    images: Sequence[str],
    python: Sequence[str],
    cuda: Sequence[str],
    ids: Sequence[str],
    progress: str,
    name: str,
    output: Path,
    *,
    everything: bool,
) -> None:
    """Pack the built images of the cells that were chosen into one OCI image layout; print the file's name.

    What images share is in it once. All of them or nothing: exit code 9 when one is not built, or of another lock.
    `imgbuild load` reads it, and so do `docker load` and `skopeo copy oci-archive:FILE:REF`.

    With --format conda-pack: a gzipped tar of one cell's environment, without its image. Unpack it anywhere and run
    its bin/conda-unpack once.
    """
    from builder.engine import Engine
    from builder.locking import find_environments, make_job, read_locks
    from builder.progress import choose_progress

    if not (everything or images or python or cuda or ids):
        raise click.UsageError("choose cells: imgbuild bundle --cuda 11.8 --py 3.10, an image's name, or --all")
    project, cells = choose_cells(folder, images, python, cuda, ids)
    if name == "conda-pack" and len(cells) > 1:
        raise click.UsageError(f"--format conda-pack packs one cell, and {len(cells)} were chosen; add --py or --cuda")
    environments = find_environments(project, cells, read_locks(project, cells))
    locked = [(make_job(project, cell), found) for cell, found in zip(cells, environments, strict=True)]
    with end_on_signals(), choose_progress(progress, str) as drawn, Engine() as engine:
        found = _find_images(locked, engine)
        _FORMATS[name](found, output, engine, drawn)
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


def _pack_images(images: Mapping[str, str], output: Path, engine: Engine, progress: Progress) -> None:
    from builder.bundle.packing import pack_images
    from builder.units import format_bytes

    layout = pack_images(images, output, engine=engine, progress=progress)
    alone = sum(image.size for image in layout.images)
    progress.done(f"{format_bytes(layout.size)}, {format_bytes(alone)} one by one; images: {len(layout.images)}")


def _pack_environment(images: Mapping[str, str], output: Path, _engine: Engine, progress: Progress) -> None:
    from builder.bundle.relocating import pack_environment
    from builder.steps import PREFIX
    from builder.units import format_bytes

    ((ref, image_id),) = images.items()
    progress.stage(f"packing {PREFIX} of {ref}")
    pack_environment(image_id, PREFIX, output)
    progress.done(f"{ref}: {format_bytes(output.stat().st_size)}; unpack it, then run its bin/conda-unpack once")


_FORMATS = {"oci": _pack_images, "conda-pack": _pack_environment}
