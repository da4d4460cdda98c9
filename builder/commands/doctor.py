"""`imgbuild doctor`: what this machine can build and run, and what keeps it from the rest."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from builder.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from builder.doctor import Finding
    from builder.fitness import Judgement
    from builder.matrix import Cell

_MARKS = {"ok": "✓", "warning": "!", "failure": "✗"}
_MARKS |= {"runs": "✓", "CPU only": "\N{EN DASH}", "does not run": "✗", "unknown": "?"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_context
def doctor(context: click.Context, *, as_json: bool) -> None:
    """Print what the engine and the GPUs of this machine are, and which cells of the matrix they can run.

    Exit code 7 when no engine answers or BuildKit does not build; a machine that can build, but lacks what a GPU
    needs, is no failure.
    """
    from builder.doctor import examine, explain_unreachable
    from builder.engine import Engine
    from builder.fitness import judge_cells
    from builder.host_gpu import find_gpus

    with Engine() as engine:
        gpus = find_gpus() if engine.is_local else None
        findings = tuple(examine(engine, gpus))
        unreachable = explain_unreachable(engine.describe(), gpus)
    judgements = tuple(judge_cells(_list_cells(context), gpus, unreachable))
    if as_json:
        found = {"findings": [asdict(it) for it in findings], "cells": [asdict(it) for it in judgements]}
        click.echo(json.dumps(found, indent=2))
    else:
        click.echo("\n".join((*_draw_findings(findings), "", *_draw_cells(judgements))).rstrip())
    if any(finding.about == "BuildKit" and finding.state == "failure" for finding in findings):
        raise EngineError("the engine does not build", hint="see what it says above, and its log.")


def _list_cells(context: click.Context) -> tuple[Cell, ...]:
    """Return the cells of the project around here, none where there is no project.

    Raises DefinitionError when there is one, and it is malformed.
    """
    from builder.matrix import expand_cells
    from builder.project import has_project, load_project

    if context.obj is None and not has_project():
        return ()
    project = load_project(context.obj)
    return tuple(cell for definition in project.definitions for cell in expand_cells(definition)[0])


def _draw_findings(findings: Sequence[Finding]) -> Iterator[str]:
    width = max(len(finding.about) for finding in findings)
    for finding in findings:
        yield f"{_MARKS[finding.state]} {finding.about:{width}}  {finding.text}"
        if finding.hint:
            yield f"{'':{width + 2}}  → {finding.hint}"


def _draw_cells(judgements: Sequence[Judgement]) -> Iterator[str]:
    width = max((len(judgement.cell) for judgement in judgements), default=0)
    for judgement in judgements:
        yield f"{_MARKS[judgement.fit]} {judgement.cell:{width}}  {judgement.fit}: {judgement.why}"
