"""The command line: parse, call the pipeline, print. stdout carries only refs or JSON; all else goes to stderr."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from builder import __version__
from builder.errors import ImgbuildError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from builder.locking import Locks
    from builder.matrix import Cell
    from builder.pipeline import Image
    from builder.progress import Progress
    from builder.project import Project
    from builder.solve import Upgrade
    from builder.sources import Sources

INTERRUPTED = 130
"""Exit code after Ctrl-C, as a shell reports a process that SIGINT ended."""

_EPILOG = """\b
Exit codes: 0 done · 1 failure · 2 usage · 3 definition or sources · 4 no such cell · 5 lock missing or stale ·
6 no solution · 7 engine · 8 build step failed · 9 image failed its checks · 130 interrupted
"""

_PROGRESS = ("auto", "rich", "plain", "github", "quiet")


@click.group(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="imgbuild")
@click.option("--project", type=click.Path(file_okay=False, path_type=Path), help="Folder that holds images/.")
@click.pass_context
def cli(context: click.Context, project: Path | None) -> None:
    """GPU deep-learning images from one short YAML each: locked, layered, built with BuildKit, proven."""
    context.obj = project


def _selection(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.argument("images", nargs=-1, metavar="[IMAGE]..."),
        click.option("--py", "python", multiple=True, metavar="X.Y", help="Only this Python; repeat for more."),
        click.option("--cuda", multiple=True, metavar="X.Y|cpu", help="Only this CUDA; repeat for more."),
    ):
        command = option(command)
    return command


def _network(command: Callable[..., None]) -> Callable[..., None]:
    help_text = "Where this machine gets things from: host, tuna, ustc, bfsu, aliyun, kit, or a file."
    command = click.option("--sources", metavar="NAME|FILE", help=help_text)(command)
    help_text = "How to draw what goes on."
    return click.option("--progress", type=click.Choice(_PROGRESS), default="auto", help=help_text)(command)


@cli.command()
@click.argument("images", nargs=-1, metavar="[IMAGE]...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.pass_obj
def matrix(folder: Path | None, images: Sequence[str], *, as_json: bool) -> None:
    """List every cell, and every combination that is excluded, with its reason."""
    from builder.matrix import matrix_as_json
    from builder.tables import draw_matrix

    project = _load(folder)
    if images:
        _select(project, images, (), ())
    chosen = [found for found in project.definitions if not images or found.name in images]
    rows = matrix_as_json(chosen)
    click.echo(json.dumps(rows, indent=2) if as_json else draw_matrix(rows))


@cli.command()
@_selection
@_network
@click.option("--check", is_flag=True, help="Change nothing; exit 5 when a lock is missing or stale. For CI.")
@click.option(
    "--upgrade",
    is_flag=False,
    flag_value="*",
    multiple=True,
    metavar="[PACKAGE]",
    help="Take the newest of PACKAGE, or of everything; without it, what is locked stays wherever it may.",
)
@click.pass_obj
def lock(
    folder: Path | None,
    images: Sequence[str],
    python: Sequence[str],
    cuda: Sequence[str],
    sources: str | None,
    progress: str,
    upgrade: Sequence[str],
    *,
    check: bool,
) -> None:
    """Solve the packages of every cell and write imgbuild.lock beside each definition."""
    from builder.locking import check_locks, drop_orphans, find_stale, make_job, read_locks, solve_locks

    if check and upgrade:
        raise click.UsageError("--check changes nothing, so it does not go with --upgrade")
    project = _load(folder)
    cells = _select(project, images, python, cuda)
    if check:
        check_locks(project, cells)
        return
    locks = read_locks(project, cells, repair=lambda text: click.echo(text, err=True))
    for orphan in drop_orphans(project, locks):
        click.echo(f"{orphan} is no cell of the matrix any more: removed", err=True)
    stale = find_stale(project, cells, locks)
    jobs = [make_job(project, cell) for cell in cells] if upgrade else [item.job for item in stale]
    if not jobs:
        click.echo("every lock is up to date", err=True)
        return
    from builder.progress import choose_progress
    from builder.sources import find_sources

    choice = _parse_upgrade(upgrade, locks)
    found = find_sources(sources)
    with _redacted(found), choose_progress(progress, found.redact) as drawn:
        _say_local_indexes(found, drawn)
        solve_locks(project, jobs, locks, sources=found, upgrade=choice, report=drawn.stage, warn=drawn.note)
        drawn.done(f"locked {len(jobs)} {'cell' if len(jobs) == 1 else 'cells'}")


@cli.command()
@_selection
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write to.")
@click.pass_obj
def render(folder: Path | None, images: Sequence[str], python: Sequence[str], cuda: Sequence[str], out: Path) -> None:
    """Write the Dockerfile and context of each locked cell to OUT/CELL; `docker build` takes them as they are."""
    from builder.context import write_context
    from builder.locking import find_environments, make_job, read_locks
    from builder.pipeline import render_cell

    project = _load(folder)
    cells = _select(project, images, python, cuda)
    environments = find_environments(project, cells, read_locks(project, cells))
    for cell, environment in zip(cells, environments, strict=True):
        write_context(render_cell(project, make_job(project, cell), environment), out / cell.id)
        click.echo(out / cell.id)


@cli.command()
@_selection
@_network
@click.option("--all", "everything", is_flag=True, help="Every cell of every image.")
@click.option("--locked", is_flag=True, help="Exit 5 instead of solving when a lock is missing or stale. For CI.")
@click.pass_obj
def build(
    folder: Path | None,
    images: Sequence[str],
    python: Sequence[str],
    cuda: Sequence[str],
    sources: str | None,
    progress: str,
    *,
    everything: bool,
    locked: bool,
) -> None:
    """Build, check and tag the cells that were chosen; print their refs.

    A cell whose lock is missing or stale is said and solved first.
    """
    from builder.engine import Engine
    from builder.locking import find_environments, find_stale, make_job, read_locks, solve_locks
    from builder.pipeline import build_cell
    from builder.progress import choose_progress
    from builder.sources import find_sources

    if not (everything or images or python or cuda):
        raise click.UsageError("choose cells: imgbuild build --cuda 11.8 --py 3.10, an image's name, or --all")
    project = _load(folder)
    cells = _select(project, images, python, cuda)
    locks = read_locks(project, cells)
    stale = find_stale(project, cells, locks)
    if locked:
        find_environments(project, cells, locks)
    found = find_sources(sources)
    with _redacted(found), choose_progress(progress, found.redact) as drawn, Engine() as engine:
        if stale:
            from builder.solve import Upgrade

            for item in stale:
                drawn.note(f"{item.job.cell.id} {item.reason}: solving it")
            _say_local_indexes(found, drawn)
            jobs = [item.job for item in stale]
            solve_locks(project, jobs, locks, sources=found, upgrade=Upgrade(), report=drawn.stage, warn=drawn.note)
            locks = read_locks(project, cells)
        environments = find_environments(project, cells, locks)
        for cell, environment in zip(cells, environments, strict=True):
            job = make_job(project, cell)
            image = build_cell(project, job, environment, engine=engine, sources=found, progress=drawn)
            drawn.done(_summarize(image))
            click.echo(image.ref)


def _load(folder: Path | None) -> Project:
    from builder.project import load_project

    return load_project(folder)


def _select(project: Project, images: Sequence[str], python: Sequence[str], cuda: Sequence[str]) -> tuple[Cell, ...]:
    from builder.matrix import select_cells

    return select_cells(project.definitions, image=images, python=python, cuda=cuda)


def _parse_upgrade(upgrade: Sequence[str], locks: Locks) -> Upgrade:
    """Return what may move. Raises UsageError for a package that no lock has: a typing error would pass unseen."""
    from packaging.utils import canonicalize_name

    from builder.definition_values import suggest
    from builder.solve import Upgrade

    names = frozenset(canonicalize_name(name) for name in upgrade if name != "*")
    environments = [environment for lock in locks.values() for environment in lock.environments]
    known = {canonicalize_name(package.name) for environment in environments for package in environment.conda}
    known |= {canonicalize_name(wheel.name) for environment in environments for wheel in environment.pip}
    for name in sorted(names - known):
        raise click.UsageError(f"--upgrade {name}: no such package in these locks; {suggest(name, sorted(known))}")
    return Upgrade(everything="*" in upgrade, packages=names)


@contextmanager
def _redacted(sources: Sources) -> Iterator[None]:
    """Keep credentials and mirrors out of what a failure says, whoever wrote it."""
    try:
        yield
    except ImgbuildError as error:
        error.message, error.hint = sources.redact(error.message), error.hint and sources.redact(error.hint)
        raise


def _say_local_indexes(sources: Sources, progress: Progress) -> None:
    if sources.pip.local:
        progress.note(f"not used, a build cannot reach this machine's disk: {', '.join(sources.pip.local)}")


def _summarize(image: Image) -> str:
    if not image.fresh:
        return f"{image.ref} is up to date"
    passed = sum(verdict.verdict == "pass" for verdict in image.verdicts)
    skipped = [f"{verdict.check} ({verdict.detail})" for verdict in image.verdicts if verdict.verdict == "skip"]
    return f"{image.ref}: {passed} checks passed" + (f", skipped: {', '.join(skipped)}" if skipped else "")


def main() -> None:
    """Run the command line; print an ImgbuildError as it is and leave with its exit code, never with a traceback."""
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted: what ran was cancelled, and nothing half-done was kept", err=True)
        sys.exit(INTERRUPTED)
    except ImgbuildError as error:
        click.echo(f"imgbuild: {error}", err=True)
        sys.exit(error.exit_code)
