"""Read one value of a definition: a Python, a CUDA, a variable; or say what is wrong with it and what to write.

Every reader takes a value as it stands in the YAML file and raises `BadValueError`, whose hint is the correction;
a reader of a list or mapping raises `BadValuesError` with the faults of all its parts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from packaging.version import InvalidVersion, Version

from builder.compat import Source
from builder.definition_yaml import Location, Unquoted, Value, quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Key = TypeVar("Key", bound=str | int)
Item = TypeVar("Item")

_KINDS = {"float": "a number", "int": "a number", "bool": "true or false", "timestamp": "a date"}
_MINOR = r"3\.(?:0|[1-9][0-9]?)"
_CUDA = r"([0-9]{1,2})[.,](0|[1-9][0-9]?)(?:\.[0-9]+)?|([0-9]{2})([0-9])"
_RELEASE = r"[0-9]{1,4}(?:\.[0-9]{1,4}){2}"
# A component of a repository's path (github.com/distribution/reference), and room for a registry's and a team's: a
# path may have 255 characters in all.
_IMAGE_NAME = r"(?=.{1,100}$)[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"


class BadValuesError(ValueError):
    """Everything that is wrong with one value: a fault for each part of it that a definition cannot hold."""

    def __init__(self, faults: Iterable[BadValueError]) -> None:
        super().__init__()
        self.faults = tuple(faults)


class BadValueError(BadValuesError):
    """One fault; `at` leads from the value that was read to the part that is wrong."""

    def __init__(self, message: str, hint: str, at: Location = ()) -> None:
        super().__init__([self])
        self.message = message
        self.hint = hint
        self.at = at


class BadKeyError(BadValueError):
    """A fault of a key, whatever its value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchRequest:
    """Which torch a definition asks for: none at all, the newest that a cell allows, or versions of its choice."""

    wanted: bool = True
    version: Version | None = None
    per_cuda: tuple[tuple[Version | None, Version | None], ...] = ()

    def version_for(self, cuda: Version | None) -> Version | None:
        """Return the version asked for on a CUDA (None: CPU), or None for the newest that exists."""
        return dict(self.per_cuda).get(cuda, self.version)


AUTO = TorchRequest()
"""The newest torch that each cell allows."""


def read_text(value: Value) -> str:
    """Return text that was written as text."""
    match value:
        case str() if value.strip():
            return value
        case Unquoted(text=text, kind=kind):
            meaning = f"the number {float(text)}" if re.fullmatch(r"[0-9]+\.[0-9]+", text) else _KINDS.get(kind, kind)
            raise BadValueError(f"{text} without quotes is {meaning} to YAML", f'quote it: "{text}"')
        case None | str():
            raise BadValueError("has no value", "write one, or remove the line")
        case list():
            raise BadValueError("is a list where one value belongs", "write one value")
        case _:
            hint = "write one value; quote it when it holds a colon"
            raise BadValueError("is a mapping where one value belongs", hint)


def read_each(read: Callable[[Key, Value], Item], parts: Iterable[tuple[Key, Value]]) -> tuple[Item, ...]:
    """Return what `read` makes of every part of a value. Raises BadValuesError with the faults of all parts."""
    items, faults = [], []
    for key, part in parts:
        try:
            items.append(read(key, part))
        except BadValuesError as error:
            for fault in error.faults:
                fault.at = (key, *fault.at)
                faults.append(fault)
    if faults:
        raise BadValuesError(faults)
    return tuple(items)


def read_items(
    read: Callable[[Value], Item], name: Callable[[Item], str] = str
) -> Callable[[Value], tuple[Item, ...]]:
    """Return a reader of a list with something in it, no two items of which have the same name."""

    def read_list(value: Value) -> tuple[Item, ...]:
        items = read_each(lambda _, item: read(item), enumerate(_check_list(value)))
        seen: dict[str, int] = {}
        for index, item in enumerate(items):
            if seen.setdefault(name(item), index) != index:
                raise BadValueError(f"{quote(str(item or 'cpu'))} is listed twice", "keep one of the two", (index,))
        return items

    return read_list


def read_words(value: Value) -> tuple[str, ...]:
    """Return the words of a command."""
    text = value.text if isinstance(value, Unquoted) else value
    if isinstance(text, str) and text.strip():
        raise BadValueError("is one text where words belong", f"write [{', '.join(map(quote, text.split()))}]")
    return read_items(read_text)(value)


def _check_list(value: Value) -> list[Value]:
    match value:
        case [_, *_]:
            return value
        case [] | None:
            raise BadValueError("is an empty list", "list something, or remove the line")
        case dict():
            raise BadValueError("is a mapping where a list belongs", "write  - item  lines, or [item, item]")
        case Unquoted(text=text):
            raise BadValueError("is one value where a list belongs", f'write ["{text}"]')
        case _:
            raise BadValueError("is one value where a list belongs", f"write [{quote(str(value))}]")


def read_flag(value: Value) -> bool:
    """Return true or false."""
    if isinstance(value, Unquoted) and value.kind == "bool":
        return value.text.lower() in {"true", "yes", "on"}
    raise BadValueError("is neither true nor false", "write true or false, without quotes")


def read_name(value: Value) -> str:
    """Return an image's name, which becomes part of a ref."""
    text = read_text(value)
    if not re.fullmatch(_IMAGE_NAME, text):
        hint = "use at most 100 of a-z and 0-9, with one . or _ or some - between them"
        raise BadValueError(f"{quote(text)} cannot name an image", hint)
    return text


def read_python(value: Value) -> Version:
    """Return a Python minor version."""
    text = read_text(value)
    if re.fullmatch(_MINOR, text):
        return Version(text)
    if found := re.fullmatch(rf"({_MINOR})t", text):
        raise BadValueError(f"free-threaded Python {text} is not supported", f'write "{found[1]}"')
    if found := re.fullmatch(rf"(?:python *={{0,2}})?({_MINOR})(?:\.[0-9]+)?", text):
        raise BadValueError(f"{quote(text)} is more than a minor version", f'write "{found[1]}"')
    if re.search(r"[<>=!~,*x -]", text):
        raise BadValueError(f"{quote(text)} is a range", 'list the minor versions, such as ["3.10", "3.11"]')
    raise BadValueError(f"{quote(text)} is not a Python minor version", 'write one such as "3.10"')


def read_cuda(value: Value) -> Version | None:
    """Return a CUDA major.minor version, or None for cpu."""
    if value is None:
        raise BadValueError("has an empty item", 'write cpu, or a CUDA version such as "11.8"')
    text = read_text(value)
    if text == "cpu":
        return None
    if re.fullmatch(r"[0-9]{1,2}\.(?:0|[1-9][0-9]?)", text):
        return Version(text)
    if text.lower() in {"cpu", "none", "no", "cpuonly"}:
        raise BadValueError(f"{quote(text)} is not a CUDA version", "write cpu for images without CUDA")
    if found := re.fullmatch(rf"(?:cuda|cu)?[ =-]*(?:{_CUDA})", text.lower()):
        minor = ".".join(part for part in found.groups() if part)
        raise BadValueError(f"{quote(text)} is not a CUDA version", f'write "{minor}"')
    if re.search(r"[<>=!~,*x -]", text):
        raise BadValueError(f"{quote(text)} is a range", 'list the versions, such as ["11.8", "12.6"]')
    raise BadValueError(f"{quote(text)} is not a CUDA version", 'write major.minor such as "11.8", or cpu')


def read_torch(value: Value) -> TorchRequest:
    """Return what `torch:` asks for: auto, none, a release, or a mapping from CUDA to auto or a release."""
    if not isinstance(value, dict):
        return TorchRequest(wanted=value != "none", version=None if value == "none" else _read_release(value))
    if not value:
        raise BadValueError("is an empty mapping", "write auto, none, or a release such as 2.7.1 in quotes")
    return TorchRequest(per_cuda=read_each(_read_pin, value.items()))


def _read_pin(key: str, value: Value) -> tuple[Version | None, Version | None]:
    try:
        cuda = read_cuda(key)
    except BadValueError as error:
        raise BadKeyError(error.message, error.hint) from None
    return cuda, _read_release(value)


def _read_release(value: Value) -> Version | None:
    if value is None:
        raise BadValueError("has no value", 'write auto, none, or a release such as "2.7.1"')
    text = read_text(value)
    if text == "auto":
        return None
    if re.fullmatch(_RELEASE, text):
        return Version(text)
    if found := re.match(rf"({_RELEASE})(?![0-9])", text):
        hint = f'write "{found[1]}"; matrix.cuda says the rest'
        raise BadValueError(f"{quote(text)} is not a plain release of torch", hint)
    hint = 'write all three numbers, such as "2.7.1", or auto'
    if text.lower() in {"auto", "latest", "newest", "*"}:
        hint = "write auto for the newest that each cell allows"
    elif text.lower() in {"none", "false", "no"}:
        hint = "write none for an image without torch"
    raise BadValueError(f"{quote(text)} is not a release of torch", hint)


def read_source(value: Value) -> Source:
    """Return one of the places that torch can come from."""
    text = read_text(value)
    try:
        return Source(text)
    except ValueError:
        raise BadValueError(f"{quote(text)} is not a source of torch", suggest(text, Source)) from None


def suggest(text: str, names: Iterable[str]) -> str:
    """Return a hint that names the nearest of the possible words, or all of them."""
    from difflib import get_close_matches  # only a refusal needs it

    names = sorted(names)
    close = get_close_matches(text, names, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else f"there is {', '.join(names) or 'none to choose from'}"


def read_arch(value: Value) -> str:
    """Return a GPU architecture such as `sm_80`."""
    text = read_text(value)
    if re.fullmatch(r"sm_[0-9]{2,3}[af]?", text):
        return text
    found = re.fullmatch(r"(?:sm|compute)?[ _-]?([0-9]{1,2})\.?([0-9])", text.lower())
    hint = f"write sm_{found[1]}{found[2]}" if found else "write one such as sm_80"
    raise BadValueError(f"{quote(text)} is not a GPU architecture", hint)


def read_size(value: Value) -> int:
    """Return a number of bytes from `9 GB`."""
    text = value.text if isinstance(value, Unquoted) else read_text(value)
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?) ?([MG])B", text, re.ASCII)
    size = int(float(found[1]) * {"M": 1e6, "G": 1e9}[found[2]]) if found else 0
    if not size:
        raise BadValueError(f"{quote(text)} is not a size", "write one such as 900 MB or 9 GB")
    return size


def read_digest(value: Value) -> str:
    """Return an image digest."""
    text = read_text(value)
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", text):
        raise BadValueError(f"{quote(text)} is not a digest", "write sha256: and 64 hex digits, or remove the line")
    return text


def read_version(value: Value) -> Version:
    """Return any version."""
    text = read_text(value)
    try:
        return Version(text)
    except InvalidVersion:
        raise BadValueError(f"{quote(text)} is not a version", 'write one such as "2.41"') from None


def read_command(value: Value) -> str:
    """Return the arguments that make conda install a list of packages into a prefix."""
    text = read_text(value)
    for field in ("{prefix}", "{file}"):
        if field not in text:
            raise BadValueError(f"lacks {field}", "write it like  install --yes --prefix {prefix} --file {file}")
    return text
