"""Read what people have: environment.yml, requirements.txt, and the TOML files that have readers of their own."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from builder.adopt.exported import drop_build, find_brought, name_exact
from builder.adopt.pixi_toml import read_pixi
from builder.adopt.place import Place
from builder.adopt.pyproject import read_pyproject
from builder.adopt.reasons import NO_PLACE
from builder.adopt.settling import settle
from builder.adopt.toml_table import read_table
from builder.adopt.wishes import TORCH, Wishes
from builder.definition_yaml import Document, Unquoted, Value, read_document
from builder.errors import DefinitionError

if TYPE_CHECKING:
    from pathlib import Path

_KINDS = "an environment.yml, a requirements.txt, a pixi.toml or a pyproject.toml"
_COMMENT = re.compile(r"(?:^|\s)#.*")
_OPTION = re.compile(r"(?P<option>--[\w-]+|-\w)(?:\s*=\s*|\s*)(?P<value>.*)")
_OF_CONDA = re.compile(r"@EXPLICIT|\w[\w.-]*=[0-9][^=\s]*=[^=\s]+")
_MAX_DEPTH = 20
_INDEXES = ("--index-url", "-i", "--extra-index-url", "--find-links", "-f")


def read_wishes(path: Path) -> Wishes:
    """Return what a file asks for; its name tells of which tool it is.

    Raises DefinitionError, with the line, for what cannot be read and for a file that asks for nothing.
    """
    wishes = Wishes()
    match path.suffix:
        case ".yml" | ".yaml":
            _read_environment(read_document(path, first="dependencies:"), wishes)
        case ".toml":
            read = read_pyproject if path.name == "pyproject.toml" else read_pixi
            read(read_table(path), wishes)
        case ".txt" | ".in":
            _read_requirements(path, wishes, ())
        case _:
            raise DefinitionError(f"{path.name} is of no tool that is known here", path=path, hint=f"give {_KINDS}.")
    settle(wishes)
    if wishes.is_empty:
        hint = f"list packages in it, or give another: {_KINDS}."
        left = "".join(f"\n  line {place.line}: {what}: {why}" for place, what, why in wishes.left[:5])
        raise DefinitionError(f"asks for nothing that a definition has a place for{left}", path=path, hint=hint)
    return wishes


def _read_environment(document: Document, wishes: Wishes) -> None:
    def place(*keys: str | int) -> Place:
        return Place(path=document.path, line=document.lines.get(keys, 1))

    for key, value in document.data.items():
        match key, value:
            case "channels", list():
                for number, item in enumerate(value):
                    wishes.add_channel(_take_text(document, item, (key, number)), place(key, number))
            case "dependencies", list():
                _read_dependencies(document, value, wishes)
            case "variables", dict():
                for name, text in value.items():
                    wishes.add_variable(name, _take_text(document, text, (key, name)), place(key, name))
            case (("channels" | "dependencies"), _) if value is not None:
                raise document.refuse((key,), f"{key} is not a list", "write  - item  lines")
            case (("name" | "prefix"), _) | (("dependencies" | "channels" | "variables"), None):
                pass
            case _:
                wishes.leave(place(key), key, NO_PLACE)


def _read_dependencies(document: Document, items: list[Value], wishes: Wishes) -> None:
    """Take the dependencies of an environment.yml; of an exported one, without what others of it bring."""
    specs = {
        number: _take_text(document, item, ("dependencies", number))
        for number, item in enumerate(items)
        if not isinstance(item, dict)
    }
    brought = find_brought(list(specs.values()))
    left: list[tuple[str, Place]] = []
    for number, item in enumerate(items):
        place = Place(path=document.path, line=document.lines.get(("dependencies", number), 1))
        if isinstance(item, dict):
            _read_pip_section(document, number, item, wishes)
        elif name_exact(specs[number]) in brought:
            left.append((name_exact(specs[number]), place))
        else:
            # A build is of one channel and of one Python; that of torch says which CUDA it is for.
            exact = brought and name_exact(specs[number]) not in TORCH
            wishes.add_conda(drop_build(specs[number]) if exact else specs[number], place)
    if left:
        names = ", ".join(name for name, _ in left)
        wishes.leave(left[0][1], names, "an exported environment lists them, and what is asked for brings its own")


def _read_pip_section(document: Document, number: int, section: dict[str, Value], wishes: Wishes) -> None:
    for key, parts in section.items():
        at = ("dependencies", number, key)
        place = Place(path=document.path, line=document.lines.get(at, 1))
        if key != "pip":
            wishes.leave(place, key, NO_PLACE)
            continue
        if not isinstance(parts, list):
            raise document.refuse(at, "pip is not a list", "write  - item  lines")
        for line, part in enumerate(parts):
            place = Place(path=document.path, line=document.lines.get((*at, line), place.line))
            text = _take_text(document, part, (*at, line))
            _read_option(_COMMENT.sub("", text), place, wishes, (document.path.resolve(),))


def _take_text(document: Document, value: Value, at: tuple[str | int, ...]) -> str:
    match value:
        case Unquoted(kind="null") | None | "":
            raise document.refuse(at, "is empty", "write a text, or remove the line")
        case Unquoted():
            return value.text
        case str():
            return value
    raise document.refuse(at, "is not a text", "write one line of text")


def _read_requirements(path: Path, wishes: Wishes, parents: tuple[Path, ...], asked: Place | None = None) -> None:
    """Take the lines of a file, which the line at `asked` has included."""
    at = asked or Place(path=path, line=1)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise DefinitionError(message, path=at.path, line=at.line, hint="correct its name.") from error
    except UnicodeDecodeError as error:
        hint = "save it as UTF-8; PowerShell's > writes UTF-16."
        raise DefinitionError("is not UTF-8", path=path, hint=hint) from error
    if path.resolve() in parents:
        raise DefinitionError("requirements include themselves", path=at.path, line=at.line, hint="remove the line.")
    if len(parents) > _MAX_DEPTH:
        message = f"requirements include one another more than {_MAX_DEPTH} deep"
        raise DefinitionError(message, path=at.path, line=at.line, hint="give fewer files with more lines.")
    first, joined = 0, ""
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        first = first if joined else number
        joined += _COMMENT.sub("", line).strip()
        if joined.endswith("\\"):
            joined = joined[:-1] + " "
            continue
        if _OF_CONDA.fullmatch(joined):
            hint = "give an environment.yml: `conda env export --from-history` writes one."
            raise DefinitionError("is a list of conda's packages, not of pip's", path=path, line=first, hint=hint)
        if joined.strip():
            _read_option(joined.strip(), Place(path=path, line=first), wishes, (*parents, path.resolve()))
        joined = ""


def _read_option(text: str, place: Place, wishes: Wishes, parents: tuple[Path, ...]) -> None:
    """Take one line of a requirements.txt: a requirement, or an option of pip."""
    found = _OPTION.fullmatch(text.strip())
    if not found:
        requirement, *options = re.split(r"\s+(?=--[a-z])", text.strip())
        wishes.add_pip(requirement, place)
        for option in options:
            if not option.startswith("--hash"):
                wishes.leave(place, re.split(r"[\s=]", option)[0], NO_PLACE)
        return
    try:
        option, value = found["option"], " ".join(shlex.split(found["value"]))
    except ValueError:
        wishes.leave(place, text, "a quote in it is never closed")
        return
    if option in _INDEXES:
        wishes.add_index(value, place)
    elif option in {"-r", "--requirement"} and "://" in value:
        wishes.leave(place, text, "it lies on a server: download it, and name the file")
    elif option in {"-r", "--requirement"}:
        _read_requirements(place.path.parent / value, wishes, parents, place)
    elif option in {"-e", "--editable"}:
        wishes.leave(place, text, "code under work is mounted with docker run, or installed by an image FROM this one")
    else:
        wishes.leave(place, option, NO_PLACE)
