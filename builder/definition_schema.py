"""What a definition and a base may say in YAML: one frozen dataclass each, whose fields know how their value is read.

A field that may be left out (an image can inherit it) has a default; a key without a value is an error all the same.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, dataclass, field, fields
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform

from builder.definition_aliases import read_aliases
from builder.definition_env import read_conda_env, read_env
from builder.definition_packages import (
    name_apt,
    name_conda,
    name_pip,
    read_apt_spec,
    read_channel,
    read_conda_spec,
    read_pip_spec,
)
from builder.definition_values import (
    BadKeyError,
    BadValueError,
    BadValuesError,
    TorchRequest,
    read_arch,
    read_command,
    read_cuda,
    read_digest,
    read_each,
    read_flag,
    read_items,
    read_name,
    read_python,
    read_size,
    read_source,
    read_text,
    read_torch,
    read_version,
    read_words,
    suggest,
)
from builder.definition_yaml import Document, Location, Value, quote
from builder.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from packaging.version import Version

    from builder.compat import Source

MAX_LISTED = 6
"""How many errors of one file are told at once: they and their hints should fit on a screen."""

INSTALLERS = ("conda", "rattler")

Schema = TypeVar("Schema")
Read = TypeVar("Read")
Default = TypeVar("Default")


def required(read: Callable[[Value], Read]) -> Read:
    """Return a field whose key must be there."""
    value: Read = field(metadata={"read": read})
    return value


def optional(
    read: Callable[[Value], Read], *, default: Default, key: str | None = None, null: bool = False
) -> Read | Default:
    """Return a field whose key may be left out; `key` is its name in YAML, `null` lets it have no value."""
    return field(default=default, metadata={"read": read, "key": key, "null": null})


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(required, optional))
def schema(cls: type[Schema]) -> type[Schema]:
    """Return the class as a frozen dataclass; its fields without a reader are not in YAML, the caller gives them."""
    return dataclass(frozen=True, slots=True, kw_only=True)(cls)


def _read_mapping(cls: type[Schema], value: Value, **given: str) -> Schema:
    """Return a mapping as a schema. Raises BadValuesError."""
    if not isinstance(value, dict):
        raise BadValueError("is not a mapping", "write  key: value  lines under it")
    known = _list_keys(cls)
    absent = [key for key, at in known.items() if key not in value and at.default is MISSING]

    def read_key(key: str, part: Value) -> tuple[str, Any]:
        if key in absent:
            raise BadValueError("is missing", f"add  {key}: …")
        if key not in known:
            raise BadKeyError(f"unknown key {quote(key)}", _suggest_key(cls, key))
        if part is not None:
            return known[key].name, known[key].metadata["read"](part)
        if not known[key].metadata.get("null"):
            raise BadValueError("has no value", "write one, or remove the line")
        return known[key].name, None

    return cls(**given, **dict(read_each(read_key, (value | dict.fromkeys(absent)).items())))


def _list_keys(cls: type) -> dict[str, Field[Any]]:
    """Return the fields that YAML may have here, by key."""
    return {at.metadata.get("key") or at.name: at for at in fields(cls) if at.metadata}


@schema
class MatrixSchema:
    """The axes: every cell of the image is one Python on one CUDA, with the torch that fits."""

    python: tuple[Version, ...] | None = optional(read_items(read_python), default=None)
    cuda: tuple[Version | None, ...] | None = optional(read_items(read_cuda), default=None)
    torch: TorchRequest | None = optional(read_torch, default=None)


@schema
class ImageSchema:
    """images/<name>/image.yaml."""

    name: str = required(read_name)
    extends: str | None = optional(read_name, default=None)
    base: str | None = optional(read_text, default=None)
    matrix: MatrixSchema = optional(partial(_read_mapping, MatrixSchema), default=MatrixSchema())
    channels: tuple[str, ...] | None = optional(read_items(read_channel), default=None)
    accept_anaconda_terms: bool | None = optional(read_flag, default=None, key="accept-anaconda-terms")
    torch_source: tuple[Source, ...] | None = optional(read_items(read_source), default=None, key="torch-source")
    arches: tuple[str, ...] | None = optional(read_items(read_arch), default=None)
    conda: tuple[str, ...] = optional(read_items(read_conda_spec, name_conda), default=())
    pip: tuple[str, ...] = optional(read_items(read_pip_spec, name_pip), default=())
    apt: tuple[str, ...] = optional(read_items(read_apt_spec, name_apt), default=())
    env: tuple[tuple[str, str], ...] = optional(read_env, default=())
    command: tuple[str, ...] | None = optional(read_words, default=None)
    max_size: int | None = optional(read_size, default=None, key="max-size")
    aliases: tuple[tuple[str, str], ...] = optional(read_aliases, default=())


def _read_installer(value: Value) -> str:
    """Return what installs an image's packages: the base's own conda, or rattler."""
    text = read_text(value)
    if text not in INSTALLERS:
        raise BadValueError(f"{quote(text)} is not an installer", suggest(text, INSTALLERS))
    return text


@schema
class Base:
    """A base image of images/bases.yaml, and how to use the conda in it.

    `conda` is the command; `install` and `clean` are its arguments in a RUN instruction, the first with the
    fields `{prefix}` and `{file}`, and `environment` the variables it runs with; `glibc` is what its system has.
    `python` is an interpreter in it that has pip. With `installer` rattler, py-rattler and uv install the packages,
    from a stage of the build that this Python makes.
    """

    key: str
    ref: str = required(read_text)
    digest: str | None = optional(read_digest, default=None, null=True)
    conda: str = required(read_text)
    install: str = required(read_command)
    clean: str = required(read_text)
    environment: tuple[tuple[str, str], ...] = optional(read_conda_env, default=())
    pkgs_dir: str = required(read_text)
    python: str | None = optional(read_text, default=None)
    installer: str = optional(_read_installer, default="conda")
    glibc: Version = required(read_version)

    def __post_init__(self) -> None:
        if self.installer == "rattler" and not self.python:
            hint = "add  python: /path/to/one/with/pip  or remove this line"
            raise BadValueError("rattler needs a Python in the base", hint, at=("installer",))


def check_document(
    cls: type[Schema], document: Document, value: Value, location: Location = (), **given: str
) -> Schema:
    """Return the value at a location of a document as a schema. Raises DefinitionError with every fault in it."""
    try:
        return _read_mapping(cls, value, **given)
    except BadValuesError as error:
        raise join_errors([_locate(document, location, fault) for fault in error.faults]) from None


def join_errors(errors: list[DefinitionError]) -> DefinitionError:
    """Return one error that tells them all, in the order of their lines; of many, the first `MAX_LISTED`."""
    first, *others = sorted(errors, key=lambda error: error.line or 0)
    if not others:
        return first
    told = [first, *others[: MAX_LISTED - 1]]
    rest = [f"and {len(errors) - len(told)} more below"] if len(errors) > len(told) else []
    *blocks, last = told
    text = "\n".join([*map(str, blocks), *rest, f"{last.path}:{last.line}: {last.message}"])
    where = f"{first.path}:{first.line}: "
    return DefinitionError(text.removeprefix(where), hint=last.hint, path=first.path, line=first.line)


def _locate(document: Document, start: Location, fault: BadValueError) -> DefinitionError:
    """Return a fault with its line and the keys that lead to its place: `matrix.python: …`."""
    location = start + fault.at
    place = location[:-1] if isinstance(fault, BadKeyError) else location
    keys = ".".join(key for key in place if isinstance(key, str))
    return document.refuse(location, f"{keys}: {fault.message}" if keys else fault.message, fault.hint)


def _suggest_key(cls: type, key: str) -> str:
    """Return a hint for an unknown key: where it belongs if another level has it, else the nearest known key."""
    if cls is ImageSchema and key in _list_keys(MatrixSchema):
        return f"{key}: belongs under matrix:"
    if cls is MatrixSchema and key in _list_keys(ImageSchema):
        return f"{key}: belongs at the top level, not under matrix:"
    return suggest(key, _list_keys(cls))
