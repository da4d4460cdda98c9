"""How a document is named and written: the same content gets the same name, and the same bytes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, UUID, uuid5

from builder import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from builder.sbom.subject import Subject

HOME = "https://imgbuild.dev"
"""Begins the URIs that name documents and kinds of builds: the domain of the labels, written as an address."""

STATEMENT = "https://in-toto.io/Statement/v1"
"""The type of an in-toto statement (github.com/in-toto/attestation, spec/v1/statement.md)."""


def name_document(form: str, subject: Subject, parts: Iterable[str] = ()) -> UUID:
    """Return the UUID of a document: the same for the same content, and another for any other.

    `parts` name the documents that it links to.
    """
    return uuid5(NAMESPACE_URL, " ".join([HOME, __version__, form, repr(subject), *parts]))


def dump_document(data: Mapping[str, Any]) -> str:
    """Return JSON with a line for each member, and for each item of a list: one package a line, fit to be compared."""
    members = ",\n".join(f"{json.dumps(key)}: {_dump_member(value)}" for key, value in data.items())
    return f"{{\n{members}\n}}\n"


def split_digest(digest: str) -> dict[str, str]:
    """Return a digest (`sha256:…`) as in-toto has it: its hexadecimal digits by algorithm."""
    algorithm, _, value = digest.partition(":")
    return {algorithm: value}


def _dump_member(value: Any) -> str:
    if isinstance(value, list) and value:
        items = ",\n ".join(map(json.dumps, value))
        return f"[\n {items}\n]"
    return json.dumps(value)
