"""`imgbuild sbom`: the bill of materials of an image, from its lock."""

from __future__ import annotations

from pathlib import Path

import click

from builder.commands.options import write_output
from builder.commands.selection import find_job


@click.command()
@click.argument("ref", metavar="REF|CELL")
@click.option("--format", "name", type=click.Choice(["spdx", "cyclonedx"]), required=True)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write there, not to stdout.")
@click.pass_context
def sbom(context: click.Context, ref: str, name: str, output: Path | None) -> None:
    """Print what an image (pytorch:2.7.1-cu118-py310) or cell (pytorch-py3.10-cu118) is made of, from its lock.

    An image may be named with its registry (registry.example/team/pytorch:2.7.1-cu118-py310), and is then in the
    document as well; the registry is not asked.

    SPDX 2.3 or CycloneDX 1.6, as JSON. Nothing is run. The same lock gives the same bytes; SOURCE_DATE_EPOCH sets
    the date.
    """
    from builder.attach import describe_subject
    from builder.locking import find_environments, read_locks
    from builder.pipeline import image_ref
    from builder.registry.place import parse_ref
    from builder.sbom.cyclonedx import dump_cyclonedx
    from builder.sbom.spdx import dump_spdx

    project, job = find_job(context.obj, ref)
    (environment,) = find_environments(project, [job.cell], read_locks(project, [job.cell]))
    named = str(parse_ref(ref)) if "/" in ref else image_ref(job)
    subject = describe_subject(job, environment, named)
    dump = {"cyclonedx": dump_cyclonedx, "spdx": dump_spdx}[name]
    write_output(dump(subject), output)
