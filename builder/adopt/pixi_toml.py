"""Read a pixi.toml, or a pyproject.toml with or without pixi's tables.

Sources: prefix-dev/pixi, docs/reference/pixi_manifest; packaging.python.org, "Declaring project metadata".
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any, TypeVar

from builder.adopt.place import Place
from builder.errors import DefinitionError

if TYPE_CHECKING:
    from pathlib import Path

    from builder.adopt.wishes import Wishes

Kind = TypeVar("Kind")

_PLATFORMS = ("unix", "linux", "linux-64")
"""The targets that hold on linux-64; a later one says more than those before it."""

_KINDS: dict[type, str] = {dict: "a table", list: "a list", str: "text"}
_READ = {"workspace", "project", "dependencies", "pypi-dependencies", "activation", "system-requirements", "target"}
_NO_PLACE = "a definition has no place for it"
_OWN_IMAGE = "make an image of its own for it, which extends this one"


def read_toml(path: Path, wishes: Wishes) -> None:
    """Add what the file asks for to `wishes`. Raises DefinitionError for what is no TOML, or of another type."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DefinitionError(f"is no TOML: {error}", path=path, hint="correct the file.") from error
    place = Place(path=path, line=1)
    if path.name != "pyproject.toml":
        _read_pixi(data, place, wishes)
        return
    _read_project(_take(data, "project", dict, place), place, wishes)
    _read_pixi(_take(_take(data, "tool", dict, place), "pixi", dict, place), place, wishes)
    for name in _take(data, "dependency-groups", dict, place):
        wishes.leave(place, f"dependency group {name}", _OWN_IMAGE)


def _read_project(project: dict[str, Any], place: Place, wishes: Wishes) -> None:
    if needed := _take(project, "requires-python", str, place):
        wishes.add_conda(f"python {needed}", place)
    for text in _take_texts(project, "dependencies", place):
        wishes.add_pip(text, place)
    for name in _take(project, "optional-dependencies", dict, place):
        wishes.leave(place, f"optional dependencies {name}", _OWN_IMAGE)


def _read_pixi(data: dict[str, Any], place: Place, wishes: Wishes) -> None:
    head = _take(data, "workspace", dict, place) or _take(data, "project", dict, place)
    for channel in _take(head, "channels", list, place):
        name = channel.get("channel") if isinstance(channel, dict) else channel
        wishes.add_channel(_require(name, "a channel", str, place), place)
    targets = _take(data, "target", dict, place)
    tables = [data, *(_take(targets, name, dict, place) for name in _PLATFORMS)]
    conda: dict[str, Any] = {}
    wheels: dict[str, Any] = {}
    for table in tables:
        conda |= _take(table, "dependencies", dict, place)
        wheels |= _take(table, "pypi-dependencies", dict, place)
        variables = _take(_take(table, "activation", dict, place), "env", dict, place)
        for name, value in variables.items():
            wishes.add_variable(name, str(value), place)
    for name, value in conda.items():
        _add_package(name, value, place, wishes)
    for name, value in wheels.items():
        _add_wheel(name, value, place, wishes)
    if cuda := _take(data, "system-requirements", dict, place).get("cuda"):
        asked = str(cuda) if isinstance(cuda, int | float) else cuda
        asked = _require(asked, "system-requirements.cuda", str, place)
        if not (wishes.cuda or wishes.cudas):
            wishes.ask_cuda(asked, place, f"cuda {asked}")
    _leave_rest(data, place, wishes)


def _leave_rest(data: dict[str, Any], place: Place, wishes: Wishes) -> None:
    for name in _take(data, "feature", dict, place):
        wishes.leave(place, f"feature {name}", _OWN_IMAGE)
    for name in _take(data, "tasks", dict, place):
        wishes.leave(place, f"task {name}", _NO_PLACE)
    for name in data.keys() - _READ - {"feature", "tasks", "environments"}:
        wishes.leave(place, f"[{name}]", _NO_PLACE)


def _add_package(name: str, value: Any, place: Place, wishes: Wishes) -> None:
    node = _read_node(name, value, place)
    if foreign := sorted(node.keys() - {"version", "build", "channel"}):
        wishes.leave(
            place, f"{name} ({', '.join(foreign)})", "a definition names a package by version, build, channel"
        )
        return
    words = {key: _require(text, f"{name}.{key}", str, place) for key, text in node.items()}
    channel = f"{words['channel']}::" if "channel" in words else ""
    build = words.get("build", "")
    version = words.get("version", "*") if build else _clean_star(words.get("version", ""))
    wishes.add_conda(f"{channel}{name} {version} {build}".strip(), place)


def _add_wheel(name: str, value: Any, place: Place, wishes: Wishes) -> None:
    node = _read_node(name, value, place)
    if node.keys() & {"path", "git", "url"}:
        wishes.leave(place, name, "a lock holds wheels of an index only: publish it as a wheel, or install it later")
        return
    if "index" in node:
        wishes.add_index(_require(node["index"], f"{name}.index", str, place), place)
    extras = _take_texts(node, "extras", place)
    listed = f"[{','.join(extras)}]" if extras else ""
    version = _clean_star(_require(node.get("version", "*"), f"{name}.version", str, place))
    wishes.add_pip(f"{name}{listed}{version}", place)


def _read_node(name: str, value: Any, place: Place) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    return {"version": _require(value, name, str, place)}


def _take(table: dict[str, Any], key: str, kind: type[Kind], place: Place) -> Kind:
    """Return the value of a key, an empty one where it is not given."""
    return _require(table[key], key, kind, place) if key in table else kind()


def _take_texts(table: dict[str, Any], key: str, place: Place) -> list[str]:
    return [_require(text, f"an item of {key}", str, place) for text in _take(table, key, list, place)]


def _require(value: Any, what: str, kind: type[Kind], place: Place) -> Kind:
    if isinstance(value, kind):
        return value
    raise DefinitionError(f"{what} is not {_KINDS[kind]}", path=place.path, hint="correct the file.")


def _clean_star(spec: str) -> str:
    return "" if spec == "*" else spec
