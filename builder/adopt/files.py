"""Read what people have: environment.yml, requirements.txt, and what `pixi_toml` reads."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from builder.adopt.exported import drop_build, find_brought, name_exact
from builder.adopt.pixi_toml import read_toml
from builder.adopt.place import Place
from builder.adopt.wishes import Wishes
from builder.definition_yaml import Document, Unquoted, Value, read_document
from builder.errors import DefinitionError

if TYPE_CHECKING:
    from pathlib import Path

_HINT = "give an environment.yml, a requirements.txt or a pixi.toml."
_INDEXES = ("--index-url", "-i", "--extra-index-url", "--find-links", "-f")


def read_wishes(path: Path) -> Wishes:
    """Return what a file asks for; its name tells of which tool it is.

    Raises DefinitionError, with the line, for what cannot be read and for a file that asks for nothing.
    """
    wishes = Wishes()
    match path.suffix:
        case ".yml" | ".yaml":
            _read_environment(read_document(path), wishes)
        case ".toml":
            read_toml(path, wishes)
        case ".txt" | ".in":
            _read_requirements(path, wishes, ())
        case _:
            raise DefinitionError(f"{path.name} is of no tool that is known here", path=path, hint=_HINT)
    if wishes.is_empty:
        hint = "list packages in it, or give another: an environment.yml, a requirements.txt or a pixi.toml."
        raise DefinitionError("asks for no package and no Python", path=path, hint=hint)
    return wishes


def _read_environment(document: Document, wishes: Wishes) -> None:
    def place(*keys: str | int) -> Place:
        return Place(path=document.path, line=document.lines.get(keys, 1))

    for key, value in document.data.items():
        match key, value:
            case "channels", list():
                for number, item in enumerate(value):
                    wishes.add_channel(_to_text(item), place(key, number))
            case "dependencies", list():
                _read_dependencies(document, value, wishes)
            case "variables", dict():
                for name, text in value.items():
                    wishes.add_variable(name, _to_text(text), place(key, name))
            case (("channels" | "dependencies"), _) if value is not None:
                raise document.refuse((key,), f"{key} is not a list", "write  - item  lines")
            case (("name" | "prefix"), _):
                pass
            case _:
                wishes.leave(place(key), key, "a definition has no place for it")


def _read_dependencies(document: Document, items: list[Value], wishes: Wishes) -> None:
    """Take the dependencies of an environment.yml; of an exported one, without what others of it bring."""
    brought = find_brought([_to_text(item) for item in items if not isinstance(item, dict)])
    left: list[tuple[str, Place]] = []
    for number, item in enumerate(items):
        place = Place(path=document.path, line=document.lines.get(("dependencies", number), 1))
        if isinstance(item, dict):
            _read_pip_section(document, number, item, wishes)
        elif name_exact(_to_text(item)) in brought:
            left.append((name_exact(_to_text(item)), place))
        else:
            wishes.add_conda(drop_build(_to_text(item)) if brought else _to_text(item), place)
    if left:
        names = ", ".join(name for name, _ in left)
        wishes.leave(left[0][1], names, "an exported environment lists them, and what is asked for brings its own")


def _read_pip_section(document: Document, number: int, section: dict[str, Value], wishes: Wishes) -> None:
    for key, parts in section.items():
        at = ("dependencies", number, key)
        place = Place(path=document.path, line=document.lines.get(at, 1))
        if key != "pip":
            wishes.leave(place, key, "a definition has no place for it")
            continue
        if not isinstance(parts, list):
            raise document.refuse(at, "pip is not a list", "write  - item  lines")
        for line, part in enumerate(parts):
            place = Place(path=document.path, line=document.lines.get((*at, line), place.line))
            _read_option(_to_text(part), place, wishes, (document.path.resolve(),))


def _to_text(value: Any) -> str:
    return value.text if isinstance(value, Unquoted) else str(value)


def _read_requirements(path: Path, wishes: Wishes, parents: tuple[Path, ...]) -> None:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DefinitionError(f"cannot be read: {error}", path=path, hint="see -r lines, and the file.") from error
    if path.resolve() in parents:
        raise DefinitionError("requirements include themselves", path=path, hint="remove one of the -r lines.")
    first, joined = 0, ""
    for number, line in enumerate(text.splitlines(), start=1):
        first = first if joined else number
        joined += line.split(" #", 1)[0].strip() if not line.lstrip().startswith("#") else ""
        if joined.endswith("\\"):
            joined = joined[:-1] + " "
            continue
        if joined.strip():
            _read_option(joined.strip(), Place(path=path, line=first), wishes, (*parents, path.resolve()))
        joined = ""


def _read_option(text: str, place: Place, wishes: Wishes, parents: tuple[Path, ...]) -> None:
    """Take one line of a requirements.txt: a requirement, or an option of pip."""
    if not text.startswith("-"):
        wishes.add_pip(text.partition(" --hash")[0].strip(), place)
        return
    try:
        words = shlex.split(text.replace("=", " ", 1) if text.startswith("--") else text, comments=True)
    except ValueError:
        wishes.leave(place, text, "a quote in it is never closed")
        return
    short = text[1:2] != "-" and len(words[0]) > 2  # -rother.txt
    option, value = (words[0][:2], words[0][2:]) if short else (words[0], " ".join(words[1:]))
    if option in _INDEXES:
        wishes.add_index(value, place)
    elif option in {"-r", "--requirement"} and "://" in value:
        wishes.leave(place, text, "it lies on a server: download it, and name the file")
    elif option in {"-r", "--requirement"}:
        _read_requirements(place.path.parent / value, wishes, parents)
    elif option in {"-e", "--editable"}:
        wishes.leave(place, text, "code under work is mounted with docker run, or installed by an image FROM this one")
    else:
        wishes.leave(place, text, "a definition has no place for it")
