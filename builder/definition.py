"""Image definitions and base images: images/<name>/image.yaml and images/bases.yaml as frozen values.

`extends` is resolved here, so that a `Definition` is complete by itself. Everything malformed is a DefinitionError
that names the file, the line and the correction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from builder.compat import ALL_SOURCES, TRIO, Source, name_pair
from builder.definition_packages import name_apt, name_conda, name_pip, needs_anaconda_terms
from builder.definition_schema import Base, ImageSchema, check_document
from builder.definition_values import AUTO, TorchRequest, suggest
from builder.definition_yaml import Document, quote, read_document
from builder.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from packaging.version import Version

__all__ = [
    "Base",
    "Definition",
    "TorchRequest",
    "find_base",
    "find_definitions",
    "load_bases",
    "load_definition",
]

FILE_NAME = "image.yaml"
CHECKS = "checks"

_REQUIRED = (
    ("base", (), "base: miniforge  (or another key of bases.yaml)"),
    ("python", ("matrix",), 'python: ["3.11"]  under matrix:'),
    ("cuda", ("matrix",), 'cuda: ["12.6", cpu]  under matrix:'),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """What a person asks of an image, with what it inherits. In `cuda`, None is the CPU variant.

    `command` is what a container runs unless told otherwise, `max_size` the bytes that the image may take unpacked,
    and `checks` the scripts of its own, which lie in `checks/` beside the definition. `aliases` are more tags of some
    cells (`latest` → `cu126-py311`), which are not inherited.
    """

    name: str
    path: Path
    base: str
    channels: tuple[str, ...] = ("conda-forge",)
    accept_anaconda_terms: bool = False
    python: tuple[Version, ...]
    cuda: tuple[Version | None, ...]
    torch: TorchRequest = AUTO
    torch_source: tuple[Source, ...] = ALL_SOURCES
    gpu_arches: tuple[str, ...] = ()
    conda: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()
    apt: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    command: tuple[str, ...] = ("python",)
    max_size: int | None = None
    checks: tuple[Path, ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()
    extends: str | None = None

    @property
    def has_trio(self) -> bool:
        """Whether torchvision or torchaudio is asked for, on every Python."""
        return not TRIO.isdisjoint({*map(name_conda, self.conda), *map(name_pip, self.pip)})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """One file as it was read, before anything is inherited."""

    document: Document
    schema: ImageSchema


def load_definition(path: Path) -> Definition:
    """Return the definition in an image.yaml; what it extends is read from the folders beside its own.

    Raises DefinitionError.
    """
    return _resolve(_read_draft(path), ())


def find_definitions(images_dir: Path) -> tuple[Path, ...]:
    """Return every `images_dir`/<name>/image.yaml, sorted by name. Raises DefinitionError when there is none."""
    if paths := sorted(images_dir.glob(f"*/{FILE_NAME}")):
        return tuple(paths)
    raise DefinitionError(f"no image definition in {images_dir}", hint=f"write {images_dir}/<name>/{FILE_NAME}")


def load_bases(path: Path) -> dict[str, Base]:
    """Return the base images of a bases.yaml by key. Raises DefinitionError."""
    document = read_document(path)
    return {key: check_document(Base, document, value, (key,), key=key) for key, value in document.data.items()}


def find_base(definition: Definition, bases: Mapping[str, Base]) -> Base:
    """Return the base image that a definition names. Raises DefinitionError when there is none by that key."""
    if definition.base in bases:
        return bases[definition.base]
    message = f"image {definition.name} is built on {definition.base}, which is not a key of bases.yaml"
    raise _find_origin(definition.path, "base").refuse(("base",), message, suggest(definition.base, bases))


def _find_origin(path: Path, key: str) -> Document:
    """Return the file that gives a definition's value of a key: its own, or the nearest that it extends."""
    document = read_document(path)
    while key not in document.data:
        document = read_document(path.parent.parent / str(document.data["extends"]) / FILE_NAME)
    return document


def _read_draft(path: Path) -> _Draft:
    document = read_document(path)
    draft = _Draft(document=document, schema=check_document(ImageSchema, document, document.data))
    folder = path.resolve().parent.name
    if draft.schema.name != folder:
        message = f"name: {draft.schema.name} is not the name of the folder, {folder}"
        raise document.refuse(("name",), message, f"write  name: {folder}  or rename the folder")
    return draft


def _resolve(draft: _Draft, children: tuple[Path, ...]) -> Definition:
    """Return a draft's definition on top of what it extends; `children` are the files that extend this one."""
    document, schema = draft.document, draft.schema
    axes = schema.matrix
    own = {
        "base": schema.base,
        "channels": schema.channels,
        "accept_anaconda_terms": schema.accept_anaconda_terms,
        "python": axes.python,
        "cuda": axes.cuda,
        "torch": axes.torch,
        "torch_source": schema.torch_source,
        "gpu_arches": schema.arches,
        "command": schema.command,
        "max_size": schema.max_size,
    }
    given: dict[str, Any] = {field: value for field, value in own.items() if value is not None}
    given |= {"name": schema.name, "path": document.path, "extends": schema.extends, "aliases": schema.aliases}
    lists: dict[str, Any] = {"conda": schema.conda, "pip": schema.pip, "apt": schema.apt, "env": schema.env}
    lists["checks"] = _list_checks(document.path)
    if schema.extends is not None:
        parent = _load_parent(draft, (*children, document.path))
        lists = {
            "conda": _merge(parent.conda, schema.conda, name_conda),
            "pip": _merge(parent.pip, schema.pip, name_pip),
            "apt": _merge(parent.apt, schema.apt, name_apt),
            "env": tuple(sorted((dict(parent.env) | dict(schema.env)).items())),
            "checks": tuple({path.name: path for path in (*parent.checks, *lists["checks"])}.values()),
        }
        definition = replace(parent, **given, **lists)
    else:
        for field, place, example in _REQUIRED:
            if field not in given:
                raise document.refuse(place, f"{'.'.join((*place, field))}: is missing", f"add  {example}")
        definition = Definition(**given, **lists)
    _check_terms(definition, draft)
    _check_torch(definition, draft)
    _check_aliases(definition, draft)
    return definition


def _load_parent(draft: _Draft, chain: tuple[Path, ...]) -> Definition:
    """Return what a draft extends; `chain` are the files from the first one asked to this draft."""
    document, name = draft.document, str(draft.schema.extends)
    images_dir = document.path.parent.parent
    path = images_dir / name / FILE_NAME
    if path in chain:
        message = f"extends: {' → '.join(map(str, (*chain, path)))} is a circle"
        raise document.refuse(("extends",), message, "remove one of the extends: lines")
    if not path.is_file():
        images = [file.parent.name for file in images_dir.glob(f"*/{FILE_NAME}") if file not in chain]
        raise document.refuse(("extends",), f"extends: {name} has no {path}", suggest(name, images))
    return _resolve(_read_draft(path), chain)


def _list_checks(path: Path) -> tuple[Path, ...]:
    return tuple(sorted((path.parent / CHECKS).glob("*.py")))


def _merge(parent: tuple[str, ...], child: tuple[str, ...], name: Callable[[str], str]) -> tuple[str, ...]:
    """Return the parent's specs, replaced where the child names the same package, and then the child's others."""
    return tuple(({name(spec): spec for spec in parent} | {name(spec): spec for spec in child}).values())


def _check_terms(definition: Definition, draft: _Draft) -> None:
    """Refuse Anaconda's channels unless the definition accepts its terms: that is the user's decision, not ours."""
    if definition.accept_anaconda_terms:
        return
    qualified = [spec for spec in definition.conda if "::" in spec]
    for field, values in (("channels", definition.channels), ("conda", qualified)):
        for value in filter(needs_anaconda_terms, values):
            items = getattr(draft.schema, field) or ()
            location = (field, items.index(value)) if value in items else ("accept-anaconda-terms",)
            message = f"{field}: {value} is under Anaconda's Terms of Service, which only you can accept"
            hint = "use conda-forge, or read anaconda.com/legal and add  accept-anaconda-terms: true"
            raise draft.document.refuse(location, message, hint)


def _check_torch(definition: Definition, draft: _Draft) -> None:
    """Refuse a torch for a CUDA that the matrix does not have: it would never be used."""
    for cuda, _ in definition.torch.per_cuda:
        if cuda not in definition.cuda:
            key = str(cuda or "cpu")
            hint = f"add {key if cuda is None else quote(key)} to matrix.cuda, or remove the line"
            message = f"matrix.torch: {key} is not in matrix.cuda"
            raise draft.document.refuse(("matrix", "torch", key), message, hint)


def _check_aliases(definition: Definition, draft: _Draft) -> None:
    """Refuse an alias of a cell that the matrix does not have, or that is the tag of another."""
    pairs = [name_pair(python, cuda) for python in definition.python for cuda in definition.cuda]
    for alias, cell in definition.aliases:
        if cell not in pairs:
            message = f"aliases: {alias} is to be {cell}, which is not in the matrix"
            raise draft.document.refuse(("aliases", alias), message, suggest(cell, pairs))
        if alias in pairs and alias != cell:
            message = f"aliases: {alias} is to be {cell}, and reads as another cell"
            hint = f"write  {alias}: {alias}  or choose another word"
            raise draft.document.refuse(("aliases", alias), message, hint)
