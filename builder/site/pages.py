"""Entries → the files of the site. Decisions are made here; the templates have loops and ifs, and escape all text.

Pure given the templates: the same entries, in whatever order they come, give the same bytes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.compat import name_cuda, name_driver
from builder.site.answers import list_questions, slug_texts, sort_entries
from builder.site.changes import list_changes
from builder.site.gpus import find_served, name_generations
from builder.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import jinja2

    from builder.site.answers import Answer, Question
    from builder.site.entries import Entry

_PLAIN = ("site.css", "site.js")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An entry as the pages write it: texts, the page of its own, and the slugs of all answers that it suits."""

    entry: Entry
    page: str
    fits: tuple[str, ...]
    title: str
    cuda: str
    torch: str
    driver: str
    gpus: str
    checks: str
    failed: bool
    compressed: str
    unpacked: str
    command: str
    pinned: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """The rows of a page of answers that have one Python: what a link to them, and their table, are called."""

    slug: str
    title: str
    caption: str
    rows: tuple[Row, ...]


def render_site(entries: Iterable[Entry]) -> dict[str, str]:
    """Return the text of each file of the site by its name; all lie in one folder."""
    found = sort_entries(entries)
    questions = list_questions(found)
    rows = _make_rows(found, questions)
    templates = _load_templates()
    files = {name: _read_plain(name) for name in _PLAIN}
    files["index.html"] = _render(templates, "index", questions=questions, rows=list(rows.values()))
    for question in questions:
        for answer in question.answers:
            values = {
                "question": question,
                "answer": answer,
                "sections": _cut_sections(answer, rows),
                "onwards": _lead_onwards(answer, questions) if question.key == "python" else (),
            }
            files[f"{answer.slug}.html"] = _render(templates, "answer", **values)
    answers = {answer.slug: (question.text, answer.label) for question in questions for answer in question.answers}
    for row in rows.values():
        files[row.page] = _render(templates, "entry", row=row, answers=answers, **_describe(row.entry))
    return files


def write_command(entry: Entry) -> str:
    """Return the line that starts the image: its ref can hold nothing that a shell takes for anything else."""
    return " ".join(_start(entry, entry.ref))


def _start(entry: Entry, ref: str) -> list[str]:
    return ["docker run --rm -it", *(["--gpus all"] if entry.cuda else []), ref]


def _make_rows(entries: Sequence[Entry], questions: Sequence[Question]) -> dict[str, Row]:
    """Return the row of each entry by its ref."""
    fits: dict[str, list[str]] = defaultdict(list)
    for question in questions:
        for answer in question.answers:
            for entry in answer.entries:
                fits[entry.ref].append(answer.slug)
    # Without the registry, if that tells them apart.
    names = {entry.ref: entry.ref.rpartition("/")[2] for entry in entries}
    if len(set(names.values())) < len(names):
        names = {ref: ref for ref in names}
    slugs = slug_texts(names.values())
    return {entry.ref: _make_row(entry, slugs[names[entry.ref]], fits[entry.ref]) for entry in entries}


def _make_row(entry: Entry, slug: str, fits: Sequence[str]) -> Row:
    repository = entry.ref.rpartition(":")[0]
    return Row(
        entry=entry,
        page=f"cell-{slug}.html",
        fits=tuple(fits),
        title=f"{entry.image}: {_name_torch(entry)}, {name_cuda(entry.cuda)}, Python {entry.python}",
        cuda=str(entry.cuda or "CPU only"),
        torch=str(entry.torch or "none"),
        driver=_name_need(entry, name_driver(entry.min_driver) if entry.min_driver else ""),
        gpus=_name_need(entry, name_generations(find_served(entry.arches)) or ", ".join(entry.arches)),
        checks=_count_checks(entry),
        failed=any(verdict.verdict == "fail" for verdict in entry.verdicts),
        compressed=format_bytes(entry.compressed),
        unpacked="not known" if entry.unpacked is None else format_bytes(entry.unpacked),
        command=write_command(entry),
        pinned=" ".join(_start(entry, f"{repository}@{entry.digest}")),
    )


def _name_torch(entry: Entry) -> str:
    return f"torch {entry.torch}" if entry.torch else "no torch"


def _name_need(entry: Entry, known: str) -> str:
    if entry.cuda is None:
        return "none"
    return known or "not known"


def _count_checks(entry: Entry) -> str:
    counts = Counter[str](verdict.verdict for verdict in entry.verdicts)
    words = {"fail": "failed", "pass": "passed", "skip": "skipped"}
    return ", ".join(f"{counts[kind]} {word}" for kind, word in words.items() if counts[kind]) or "not recorded"


def _cut_sections(answer: Answer, rows: Mapping[str, Row]) -> list[Section]:
    ordered = sorted(answer.entries, key=lambda entry: entry.python, reverse=True)
    return [
        Section(
            slug=f"python-{python}",
            title=f"Python {python}",
            caption=answer.title if answer.slug == f"python-{python}" else f"{answer.title}, with Python {python}",
            rows=tuple(rows[entry.ref] for entry in group),
        )
        for python, group in groupby(ordered, key=lambda entry: entry.python)
    ]


def _lead_onwards(answer: Answer, questions: Sequence[Question]) -> list[tuple[Question, list[tuple[str, str]]]]:
    """Return where the next click leads from the page of a Python: to its part of the page of another answer."""
    own = {entry.ref for entry in answer.entries}
    return [
        (
            question,
            [
                (f"{it.slug}.html#{answer.slug}", it.label)
                for it in question.answers
                if any(entry.ref in own for entry in it.entries)
            ],
        )
        for question in questions
        if question.key in {"driver", "gpu", "cuda"}
    ]


def _describe(entry: Entry) -> Mapping[str, Any]:
    return {
        "gpus": find_served(entry.arches),
        "changes": list_changes(entry.previous.packages, entry.packages) if entry.previous else (),
        "packages": sorted(entry.packages, key=lambda package: (package.name.lower(), package.name, package.kind)),
    }


def _load_templates() -> jinja2.Environment:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader([str(folder) for folder in _folders()]),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _render(templates: jinja2.Environment, name: str, **values: Any) -> str:
    return templates.get_template(f"{name}.html.j2").render(values)


def _read_plain(name: str) -> str:
    return next(path for folder in _folders() if (path := folder / name).is_file()).read_text(encoding="utf-8")


def _folders() -> list[Path]:
    """Return where the templates may lie: inside the installed package, or beside it in a clone."""
    package = Path(__file__).parents[1]
    return [package / "templates" / "site", package.parent / "templates" / "site"]
