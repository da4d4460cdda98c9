"""The tables of a TOML file, with the lines of what is in them: Python's reader of TOML tells none."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from builder.adopt.place import Place
from builder.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Kind = TypeVar("Kind")
Name = tuple[str, ...]

_KINDS: dict[type, str] = {dict: "a table", list: "a list", str: "text", int: "a number"}
_HEAD = re.compile(r"\s*\[\[?([^\[\]]+)\]")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]+"|'[^']+')(?:\s*\.\s*(?:[\w-]+|"[^"]+"|'[^']+'))*)\s*=""")
_PART = re.compile(r"""[\w-]+|"[^"]+"|'[^']+'""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table, by its name in the file; `lines` has the lines, from 1, of the tables and keys of the whole file."""

    path: Path
    name: Name
    data: dict[str, Any]
    text: tuple[str, ...]
    lines: dict[Name, int]

    def place(self, *keys: str) -> Place:
        """Return where a key of this table stands, or what is nearest above it."""
        name = (*self.name, *keys)
        while name and name not in self.lines:
            name = name[:-1]
        return Place(path=self.path, line=self.lines.get(name, 1))

    def table(self, key: str) -> Table:
        """Return the table of a key, an empty one where it is not given."""
        name = (*self.name, key)
        return replace(self, name=name, data=self.take(key, dict))

    def tables(self, key: str) -> Iterator[Table]:
        """Yield the tables of a list of tables: of `[[key]]`, all at the first one's place."""
        for item in self.take(key, list):
            yield replace(self, name=(*self.name, key), data=self.require(item, key, f"an item of {key}", dict))

    def texts(self, key: str) -> Iterator[tuple[str, Place]]:
        """Yield the texts of a list, each with the line that has it in quotes, from that of the one before on."""
        here = self.place(key).line
        for item in self.take(key, list):
            text = self.require(item, key, f"an item of {key}", str)
            quoted = re.compile(f"([\"']){re.escape(text)}\\1")
            below = enumerate(self.text[here - 1 :], start=here)
            here = next((number for number, line in below if quoted.search(line)), here)
            yield text, Place(path=self.path, line=here)

    def take(self, key: str, kind: type[Kind]) -> Kind:
        """Return the value of a key, an empty one where it is not given. Raises DefinitionError for another type."""
        return self.require(self.data[key], key, key, kind) if key in self.data else kind()

    def require(self, value: Any, key: str, what: str, kind: type[Kind]) -> Kind:
        """Return a value that has to be of a type. Raises DefinitionError, at the key's line, where it is not."""
        if isinstance(value, kind):
            return value
        place = self.place(key)
        raise DefinitionError(f"{what} is not {_KINDS[kind]}", path=place.path, line=place.line, hint="correct it.")


def read_table(path: Path) -> Table:
    """Return the top of a TOML file. Raises DefinitionError for what is none."""
    try:
        whole = path.read_text(encoding="utf-8-sig")
        data = tomllib.loads(whole)
    except RecursionError:
        raise DefinitionError("nests too deep", path=path, hint="correct the file: no tool needs that.") from None
    except (OSError, ValueError) as error:  # of a number with too many digits as well
        hint = "correct the file; it is read as TOML 1.0."
        raise DefinitionError(f"is no TOML: {error}", path=path, hint=hint) from error
    text = tuple(whole.splitlines())
    return Table(path=path, name=(), data=data, text=text, lines=_find_lines(text))


def _find_lines(text: tuple[str, ...]) -> dict[Name, int]:
    """Return the first line of each table and key, which is all that a search for its notation finds."""
    found: dict[Name, int] = {}
    table: Name = ()
    for number, line in enumerate(text, start=1):
        if head := _HEAD.match(line):
            table = _split(head[1])
            for end in range(1, len(table) + 1):
                found.setdefault(table[:end], number)
        elif key := _KEY.match(line):
            found.setdefault((*table, *_split(key[1])), number)
    return found


def _split(name: str) -> Name:
    return tuple(part.strip("\"'") for part in _PART.findall(name))
