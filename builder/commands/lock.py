"""`imgbuild lock`: solve the packages of cells, and write the locks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from builder.commands.options import add_network, redacted, say_local_indexes
from builder.commands.selection import add_selection, choose_cells

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from builder.locking import Locks
    from builder.solve import Upgrade


@click.command()
@add_selection
@add_network
@click.option(
    "--check", is_flag=True, help="Change nothing; exit 5 when a lock, or the plan, is missing or stale. For CI."
)
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
    ids: Sequence[str],
    sources: str | None,
    progress: str,
    upgrade: Sequence[str],
    *,
    check: bool,
) -> None:
    """Solve the packages of every cell and write imgbuild.lock beside each definition."""
    from builder.locking import check_locks, drop_orphans, find_stale, make_job, read_locks, solve_locks
    from builder.planning import keep_plan, require_plan, require_plannable

    if check and upgrade:
        raise click.UsageError("--check changes nothing, so it does not go with --upgrade")
    project, cells = choose_cells(folder, images, python, cuda, ids)
    if check:
        check_locks(project, cells)
        require_plan(project, cells)
        return
    require_plannable(project, cells)
    locks = read_locks(project, cells, repair=lambda text: click.echo(text, err=True))
    for orphan in drop_orphans(project, locks):
        click.echo(f"{orphan} is no cell of the matrix any more: removed", err=True)
    stale = find_stale(project, cells, locks)
    jobs = [make_job(project, cell) for cell in cells] if upgrade else [item.job for item in stale]
    if not jobs:
        keep_plan(project)
        click.echo("every lock is up to date", err=True)
        return
    from builder.progress import choose_progress
    from builder.sources import find_sources

    choice = _parse_upgrade(upgrade, locks)
    found = find_sources(sources)
    with redacted(found), choose_progress(progress, found.redact) as drawn:
        say_local_indexes(found, drawn)
        solve_locks(project, jobs, locks, sources=found, upgrade=choice, report=drawn.stage, warn=drawn.note)
        keep_plan(project)
        drawn.done(f"locked {len(jobs)} {'cell' if len(jobs) == 1 else 'cells'}")


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
