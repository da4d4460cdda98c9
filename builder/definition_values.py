"""Read one value of a definition: a Python, a CUDA, a variable; or say what is wrong with it and what to write.

Every reader takes a value as it stands in the YAML file and raises `BadValueError`, whose hint is the correction.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

from builder.compat import Source
from builder.definition_yaml import Location, Unquoted, has_credentials, quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_KINDS = {"float": "a number", "int": "a number", "bool": "true or false", "timestamp": "a date"}
_MINOR = r"3\.(?:0|[1-9]\d?)"
_CUDA = r"(\d{1,2})[.,]?(\d)"
_SECRET = re.compile(
    r"(?:^|_)(?:TOKENS?|PASSWORDS?|PASSWD|PASSPHRASE|SECRETS?|CREDENTIALS?|(?:API|ACCESS|PRIVATE)_?KEYS?)(?:_|$)", re.I
)


class BadValueError(ValueError):
    """A value that a definition cannot hold; `at` leads from the value that was read to the part that is wrong."""

    def __init__(self, message: str, hint: str, at: Location = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.at = at


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


def read_text(value: object) -> str:
    """Return text that was written as text."""
    match value:
        case str() if value.strip():
            return value
        case Unquoted(text=text, kind=kind):
            meaning = f"the number {float(text)}" if re.fullmatch(r"\d+\.\d+", text) else _KINDS.get(kind, kind)
            raise BadValueError(f"{text} without quotes is {meaning} to YAML", f'quote it: "{text}"')
        case None | str():
            raise BadValueError("has no value", "write one, or remove the line")
        case list():
            raise BadValueError("is a list where one value belongs", "write one value")
        case _:
            raise BadValueError(
                "is a mapping where one value belongs", "write one value; quote it when it holds a colon"
            )


def read_list(value: object) -> object:
    """Return a list with something in it; its items are not read."""
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


def read_flag(value: object) -> bool:
    """Return true or false."""
    if isinstance(value, Unquoted) and value.kind == "bool":
        return value.text.lower() in {"true", "yes", "on"}
    raise BadValueError("is neither true nor false", "write true or false, without quotes")


def read_name(value: object) -> str:
    """Return an image's name, which becomes part of a ref."""
    text = read_text(value)
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", text):
        raise BadValueError(
            f"{quote(text)} cannot name an image", "use a-z, 0-9 and . _ - after a first letter or digit"
        )
    return text


def read_python(value: object) -> Version:
    """Return a Python minor version."""
    text = read_text(value)
    if re.fullmatch(_MINOR, text):
        return Version(text)
    if found := re.fullmatch(rf"({_MINOR})t", text):
        raise BadValueError(f"free-threaded Python {text} is not supported", f'write "{found[1]}"')
    if found := re.fullmatch(rf"(?:python *={{0,2}})?({_MINOR})(?:\.\d+)?", text):
        raise BadValueError(f"{quote(text)} is more than a minor version", f'write "{found[1]}"')
    if re.search(r"[<>=!~,*x -]", text):
        raise BadValueError(f"{quote(text)} is a range", 'list the minor versions, such as ["3.10", "3.11"]')
    raise BadValueError(f"{quote(text)} is not a Python minor version", 'write one such as "3.10"')


def read_cuda(value: object) -> Version | None:
    """Return a CUDA major.minor version, or None for cpu."""
    if value is None:
        raise BadValueError("has an empty item", 'write cpu, or a CUDA version such as "11.8"')
    text = read_text(value)
    if text == "cpu":
        return None
    if re.fullmatch(r"\d{1,2}\.(?:0|[1-9]\d?)", text):
        return Version(text)
    if text.lower() in {"cpu", "none", "no", "cpuonly"}:
        raise BadValueError(f"{quote(text)} is not a CUDA version", "write cpu for images without CUDA")
    if found := re.fullmatch(rf"(?:cuda|cu)?[ =-]*{_CUDA}(?:\.\d+)?", text.lower()):
        raise BadValueError(f"{quote(text)} is not a CUDA version", f'write "{found[1]}.{found[2]}"')
    if re.search(r"[<>=!~,*x -]", text):
        raise BadValueError(f"{quote(text)} is a range", 'list the versions, such as ["11.8", "12.6"]')
    raise BadValueError(f"{quote(text)} is not a CUDA version", 'write major.minor such as "11.8", or cpu')


def read_torch(value: object) -> TorchRequest:
    """Return what `torch:` asks for: auto, none, a release, or a mapping from CUDA to auto or a release."""
    if not isinstance(value, dict):
        return TorchRequest(wanted=value != "none", version=None if value == "none" else _read_release(value))
    if not value:
        raise BadValueError("is an empty mapping", "write auto, none, or a release such as 2.7.1 in quotes")
    per_cuda = []
    for key, release in value.items():
        try:
            per_cuda.append((read_cuda(key), _read_release(release)))
        except BadValueError as error:
            raise BadValueError(error.message, error.hint, (key,)) from None
    return TorchRequest(per_cuda=tuple(per_cuda))


def _read_release(value: object) -> Version | None:
    if value is None:
        raise BadValueError("has no value", 'write auto, none, or a release such as "2.7.1"')
    text = read_text(value)
    if text == "auto":
        return None
    if re.fullmatch(r"\d+\.\d+\.\d+", text):
        return Version(text)
    if found := re.match(r"(\d+\.\d+\.\d+)", text):
        raise BadValueError(
            f"{quote(text)} is not a plain release of torch", f'write "{found[1]}"; matrix.cuda says the rest'
        )
    if text.lower() in {"auto", "latest", "newest", "*"}:
        raise BadValueError(
            f"{quote(text)} is not a release of torch", "write auto for the newest that each cell allows"
        )
    if text.lower() in {"none", "false", "no"}:
        raise BadValueError(f"{quote(text)} is not a release of torch", "write none for an image without torch")
    raise BadValueError(
        f"{quote(text)} is not a release of torch", 'write all three numbers, such as "2.7.1", or auto'
    )


def read_source(value: object) -> Source:
    """Return one of the places that torch can come from."""
    return Source(read_choice(read_text(value), tuple(Source), "a source of torch"))


def read_choice(text: str, choices: Iterable[str], what: str) -> str:
    """Return the text when it is one of the choices; what it should be (`what`) is part of the message."""
    names = sorted(choices)
    if text in names:
        return text
    raise BadValueError(f"{quote(text)} is not {what}", suggest(text, names))


def suggest(text: str, names: Iterable[str]) -> str:
    """Return a hint that names the nearest of the possible words, or all of them."""
    names = sorted(names)
    close = get_close_matches(text, names, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else f"there is {', '.join(names) or 'none'}"


def refuse_repeats(name: Callable[[object], object]) -> Callable[[tuple[object, ...]], tuple[object, ...]]:
    """Return a reader that lets a list through when no two items have the same name."""

    def read(items: tuple[object, ...]) -> tuple[object, ...]:
        seen: dict[object, int] = {}
        for index, item in enumerate(items):
            if seen.setdefault(name(item), index) != index:
                raise BadValueError(f"{quote(str(item or 'cpu'))} is listed twice", "keep one of the two", (index,))
        return items

    return read


def read_env(value: object) -> tuple[tuple[str, str], ...]:
    """Return plain environment variables, sorted by name; a secret has no place in an image."""
    if not isinstance(value, dict) or not value:
        raise BadValueError("is not a mapping of names to values", "write  NAME: value  lines")
    pairs = []
    for key, item in value.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
            raise BadValueError(f"{quote(key)} cannot name a variable", "use letters, digits and _", (key,))
        text = item.text if isinstance(item, Unquoted) else item
        if _SECRET.search(key) or (isinstance(text, str) and has_credentials(text)):
            hint = "remove it: everyone who pulls the image could read it; pass it to docker run --env"
            raise BadValueError(f"{key} looks like a secret", hint, (key,))
        if not isinstance(text, str) or "\n" in text:
            raise BadValueError(f"{key} is not one line of text", 'write one line; for an empty value, ""', (key,))
        pairs.append((key, text))
    return tuple(sorted(pairs))


def read_arch(value: object) -> str:
    """Return a GPU architecture such as `sm_80`."""
    text = read_text(value)
    if re.fullmatch(r"sm_\d{2,3}[af]?", text):
        return text
    found = re.fullmatch(r"(?:sm|compute)?[ _-]?(\d{1,2})\.?(\d)", text.lower())
    hint = f"write sm_{found[1]}{found[2]}" if found else "write one such as sm_80"
    raise BadValueError(f"{quote(text)} is not a GPU architecture", hint)


def read_digest(value: object) -> str:
    """Return an image digest."""
    text = read_text(value)
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", text):
        raise BadValueError(f"{quote(text)} is not a digest", "write sha256: and 64 hex digits, or remove the line")
    return text


def read_version(value: object) -> Version:
    """Return any version."""
    text = read_text(value)
    try:
        return Version(text)
    except InvalidVersion:
        raise BadValueError(f"{quote(text)} is not a version", 'write one such as "2.41"') from None


def read_command(value: object) -> str:
    """Return the arguments that make conda install a list of packages into a prefix."""
    text = read_text(value)
    for field in ("{prefix}", "{file}"):
        if field not in text:
            raise BadValueError(f"lacks {field}", "write it like  create --yes --prefix {prefix} --file {file}")
    return text
