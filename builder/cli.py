"""The command line: parse, call the pipeline, print. stdout carries only refs or JSON; all else goes to stderr."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from builder import __version__
from builder.commands.bake import bake
from builder.commands.bench import bench
from builder.commands.build import build
from builder.commands.bundle import bundle
from builder.commands.diff import diff
from builder.commands.doctor import doctor
from builder.commands.export import export
from builder.commands.init import init
from builder.commands.load import load
from builder.commands.lock import lock
from builder.commands.matrix import matrix
from builder.commands.plan import plan
from builder.commands.render import render
from builder.commands.sbom import sbom
from builder.commands.site import site
from builder.commands.status import status
from builder.commands.test import test
from builder.commands.verify import verify
from builder.errors import Cancelled, ImgbuildError

_EPILOG = """\b
Exit codes: 0 done · 1 failure · 2 usage · 3 definition or sources · 4 no such cell · 5 lock or plan missing or
stale · 6 no solution · 7 engine · 8 build step failed · 9 image failed its checks · 10 registry ·
11 slower than the baseline · 12 registry is not as the locks say · 13 damaged bundle · 14 not verified ·
15 Sigstore refuses, or cannot be asked · 130 interrupted
"""


@click.group(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="imgbuild")
@click.option("--project", type=click.Path(file_okay=False, path_type=Path), help="Folder that holds images/.")
@click.pass_context
def cli(context: click.Context, project: Path | None) -> None:
    """GPU deep-learning images from one short YAML each: locked, layered, built with BuildKit, proven."""
    context.obj = project


for _command in (
    init,
    matrix,
    lock,
    plan,
    render,
    bake,
    build,
    test,
    doctor,
    bench,
    export,
    sbom,
    verify,
    status,
    diff,
    site,
    bundle,
    load,
):
    cli.add_command(_command)


def main() -> None:
    """Run the command line; print an ImgbuildError as it is and leave with its exit code, never with a traceback."""
    try:
        sys.exit(cli.main(standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted: what ran was cancelled, and nothing half-done was kept", err=True)
        sys.exit(Cancelled.exit_code)
    except BrokenPipeError:
        sys.exit(1)  # who read it has enough
    except OSError as error:
        where = f"{error.filename}: " if isinstance(error.filename, str) else ""
        click.echo(f"imgbuild: {where}{error.strerror or error}", err=True)
        sys.exit(1)
    except ImgbuildError as error:
        from builder.shown import show

        click.echo(show(f"imgbuild: {error}"), err=True)
        sys.exit(error.exit_code)
