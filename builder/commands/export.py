"""`imgbuild export`: the locked packages of an image, for people who want them without it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from builder.commands.options import write_output
from builder.commands.selection import find_job

if TYPE_CHECKING:
    from builder.inputs import Job
    from builder.lock import Environment


@click.command()
@click.argument("ref", metavar="REF|CELL")
@click.option("--format", "name", type=click.Choice(["environment.yml", "explicit", "pixi.lock"]), required=True)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write there, not to stdout.")
@click.pass_context
def export(context: click.Context, ref: str, name: str, output: Path | None) -> None:
    """Print the packages of an image (pytorch:2.7.1-cu118-py310) or cell (pytorch-py3.10-cu118) from its lock.

    Nothing is run. When the engine has the image, it has to be of this lock: exit code 5 when it is not.
    """
    from builder.export import FORMATS
    from builder.locking import find_environments, read_locks

    project, job = find_job(context.obj, ref)
    (environment,) = find_environments(project, [job.cell], read_locks(project, [job.cell]))
    _require_same_lock(job, environment)
    write_output(FORMATS[name](replace(environment, name=job.cell.id), job.torch.index or ""), output)


def _require_same_lock(job: Job, environment: Environment) -> None:
    """Raise LockError when the engine has the image, and it is of another lock; without an engine there is none."""
    from builder.engine import Engine
    from builder.errors import EngineError, LockError
    from builder.pipeline import image_ref
    from builder.render import LABEL, digest_packages

    try:
        with Engine() as engine:
            image_id = engine.find_image(image_ref(job))
            labels = engine.read_labels(image_id) if image_id else None
    except EngineError:
        return
    if labels is not None and labels.get(f"{LABEL}.packages") != digest_packages(environment):
        raise LockError(
            f"{image_ref(job)} was built from another lock", hint="build it again, or check out that lock."
        )
