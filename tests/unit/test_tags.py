"""The tags of a cell in a registry: one that lasts, its own, and the aliases that the definition gives it."""

from __future__ import annotations

from dataclasses import replace

from builder.context import Context, ContextFile
from builder.tags import list_moving_tags, tag_lasting
from tests.samples import make_job

CONTEXT = Context(files=(ContextFile(path="Dockerfile", data=b"FROM x"), ContextFile(path="a", data=b"b")))


def test_aliases_are_those_of_the_cell() -> None:
    aliases = (("cu118-py310", "cu118-py310"), ("latest", "cu118-py310"), ("small", "cpu-py310"))
    assert list_moving_tags(make_job(aliases=aliases)) == ("2.7.1-cu118-py310", "cu118-py310", "latest")
    assert list_moving_tags(make_job(cuda="cpu", aliases=aliases))[1:] == ("small",)
    assert list_moving_tags(make_job()) == ("2.7.1-cu118-py310",)


def test_lasting_tag_is_another_for_other_files_alone() -> None:
    job = make_job()
    tag = tag_lasting(job, CONTEXT)
    assert tag.startswith("2.7.1-cu118-py310-")
    assert tag_lasting(make_job(aliases=(("latest", "cu118-py310"),)), CONTEXT) == tag
    moved = replace(CONTEXT, files=(replace(CONTEXT.files[0], data=b"FROM xa"), replace(CONTEXT.files[1], data=b"")))
    assert tag_lasting(job, moved) != tag
