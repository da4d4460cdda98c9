"""Read a YAML file into plain values that remember their lines, and refuse whatever a definition never needs.

The values are built from libyaml's events: its composer recurses in C and a few thousand brackets crash the process.
Scalars without quotes stay text (`Unquoted`), so that 3.10 can be named as it was written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml
from yaml.reader import Reader
from yaml.resolver import Resolver

from builder.credentials import hide_credentials
from builder.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_BYTES = 64 * 1024
MAX_DEPTH = 8

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Unquoted:
    """A plain scalar that YAML takes for something other than text, as it stands in the file."""

    text: str
    kind: str
    """What YAML takes it for: `float`, `int`, `bool`, `timestamp`."""


Value = str | Unquoted | None | list["Value"] | dict[str, "Value"]
Location = tuple[str | int, ...]
"""The keys and list indexes that lead to a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A YAML mapping, and the line (1-based) of every key and list item in it."""

    path: Path
    data: dict[str, Value]
    lines: dict[Location, int]

    def refuse(self, location: Location, message: str, hint: str) -> DefinitionError:
        """Return the error that points at a location, or at the nearest place above it that has a line."""
        while location and location not in self.lines:
            location = location[:-1]
        return DefinitionError(message, hint=hint, path=self.path, line=self.lines.get(location, 1))


def read_document(path: Path, *, first: str = "name: <the folder's name>") -> Document:
    """Return the mapping in a YAML file; `first` is what one starts such a file with.

    Raises DefinitionError, with the line, for anything but one plain YAML mapping: other encodings, several
    documents, anchors, tags, keys given twice, values nested deeper than `MAX_DEPTH`.
    """
    text = _read_text(path)
    builder = _Builder(path, first)
    try:
        data = builder.build(yaml.parse(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        raise _explain_syntax(path, text, error) from None
    except yaml.YAMLError as error:
        raise DefinitionError(f"not valid YAML: {error}", hint="write plain YAML", path=path, line=1) from None
    return Document(path=path, data=data, lines=builder.lines)


def quote(text: str) -> str:
    """Return a value for a message: quoted, shortened, without credentials or characters that move the cursor."""
    shown = hide_credentials(text)
    shown = shown if shown.isprintable() else repr(shown)[1:-1]
    return f'"{shown}"' if len(shown) <= 60 else f'"{shown[:57]}…"'


def _read_text(path: Path) -> str:
    def refuse(message: str, hint: str, line: int | None = 1) -> DefinitionError:
        return DefinitionError(message, hint=hint, path=path, line=line)

    if not path.is_file():
        if path.is_dir():
            raise refuse("is a directory", "give the YAML file in it", None)
        if path.exists():
            raise refuse("is not a regular file", "give a YAML file", None)
        raise refuse("no such file", "write it, or correct its name", None)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise refuse(f"larger than {MAX_BYTES // 1024} KiB", "split it")
        raw = path.read_bytes()
    except OSError as error:
        raise refuse(f"cannot be read: {error.strerror}", "check its permissions", None) from None
    if raw.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise refuse("starts with a byte order mark", "save it as UTF-8 without one (BOM)")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise refuse(f"byte 0x{raw[error.start]:02x} is not UTF-8", "save the file as UTF-8", line) from None
    if found := Reader.NON_PRINTABLE.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise refuse(f"holds the control character {found[0]!a}: not a text file", "write plain YAML text", line)
    return text


def _explain_syntax(path: Path, text: str, error: yaml.MarkedYAMLError) -> DefinitionError:
    line = error.problem_mark.line + 1 if error.problem_mark else 1
    lines = text.splitlines()
    if line <= len(lines) and "\t" in lines[line - 1]:
        return DefinitionError("a tab stands where YAML wants spaces", hint="indent with spaces", path=path, line=line)
    problem = error.problem or "it ends too early"
    hint = "check the quotes, brackets and indentation here and in the line before"
    if error.context_mark and ("quoted" in str(error.context) or "flow" in str(error.context)):
        # A quote or bracket that is never closed is noticed much later; the place where it opens is what helps.
        problem, line = f"{error.context}, {problem} by line {line}", error.context_mark.line + 1
        hint = "close the quote or bracket that opens here"
    return DefinitionError(f"not valid YAML: {problem}", hint=hint, path=path, line=line)


class _Builder:
    """Turns the events of one file into values, and notes the line of each."""

    def __init__(self, path: Path, first: str) -> None:
        self.path = path
        self.first = first
        self.lines: dict[Location, int] = {}
        self.resolver = Resolver()

    def build(self, events: Iterator[yaml.Event]) -> dict[str, Value]:
        hint = f"start with  {self.first}"
        next(events)
        if isinstance(start := next(events), yaml.StreamEndEvent):
            raise self.refuse(start, "holds nothing", hint)
        root = next(events)
        if isinstance(root, yaml.ScalarEvent) and not root.value:
            raise self.refuse(root, "holds nothing", hint)
        if not isinstance(root, yaml.MappingStartEvent):
            raise self.refuse(root, "is not a mapping of keys to values", hint)
        self.lines[()] = _line_of(root)
        self.check_plain(root)
        value = self.build_mapping(events, ())
        next(events)
        if not isinstance(extra := next(events), yaml.StreamEndEvent):
            raise self.refuse(extra, "a second YAML document starts here", "keep one document in a file, without ---")
        return value

    def build_node(self, event: yaml.Event, events: Iterator[yaml.Event], location: Location) -> Value:
        self.lines.setdefault(location, _line_of(event))
        self.check_plain(event)
        if len(location) > MAX_DEPTH:
            hint = "write it with fewer levels"
            raise self.refuse(event, "lists or mappings are nested too deep", hint)
        match event:
            case yaml.ScalarEvent():
                return self.build_scalar(event)
            case yaml.SequenceStartEvent():
                return self.build_list(events, location)
            case _:
                return self.build_mapping(events, location)

    def build_scalar(self, event: yaml.ScalarEvent) -> Value:
        tag: str = self.resolver.resolve(yaml.ScalarNode, event.value, event.implicit)  # type: ignore[no-untyped-call]
        match tag.rpartition(":")[2]:
            case "str":
                return event.value
            case "null":
                return None
            case kind:
                return Unquoted(event.value, kind)

    def build_list(self, events: Iterator[yaml.Event], location: Location) -> list[Value]:
        values: list[Value] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            values.append(self.build_node(event, events, (*location, len(values))))
        return values

    def build_mapping(self, events: Iterator[yaml.Event], location: Location) -> dict[str, Value]:
        values: dict[str, Value] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key = self.build_key(event)
            if key in values:
                first = self.lines[(*location, key)]
                hint = "keep one of them"
                raise self.refuse(event, f"the key {quote(key)} is given twice (first in line {first})", hint)
            self.lines[(*location, key)] = _line_of(event)
            values[key] = self.build_node(next(events), events, (*location, key))
        return values

    def build_key(self, event: yaml.Event) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            raise self.refuse(event, "a list or mapping cannot be a key", "write  key: value")
        self.check_plain(event)
        match self.build_scalar(event):
            case str(key):
                return key
            case Unquoted(text=text, kind="merge"):
                hint = "write the keys out"
                raise self.refuse(event, f"the merge key {text} is not supported", hint)
            case _:
                raise self.refuse(event, f"the key {event.value} is not text to YAML", f'write "{event.value}":')

    def check_plain(self, event: yaml.Event) -> None:
        if getattr(event, "anchor", None):
            hint = "write the value out"
            raise self.refuse(event, "YAML anchors and aliases are not supported", hint)
        if tag := getattr(event, "tag", None):
            raise self.refuse(event, f"the YAML tag {quote(tag)} is not supported", "write the plain value")

    def refuse(self, event: yaml.Event, message: str, hint: str) -> DefinitionError:
        return DefinitionError(message, hint=hint, path=self.path, line=_line_of(event))


def _line_of(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1
