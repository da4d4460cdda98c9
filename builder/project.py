"""Find the project on disk: its definitions, bases, locks and templates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from builder.definition import Base, Definition, find_base, find_definitions, load_bases, load_definition
from builder.errors import DefinitionError
from builder.lock import FILE_NAME

_PACKAGE = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """An image whose definition, or one that it extends, is malformed: how, and where."""

    path: Path
    error: DefinitionError

    @property
    def image(self) -> str:
        """The image's name, which is that of its folder."""
        return self.path.resolve().parent.name

    @property
    def is_locked(self) -> bool:
        """Whether it has a lock, so that it would have a part in the plan of the layers."""
        return self.path.with_name(FILE_NAME).exists()


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """The folder that holds `images/`, with everything in it parsed that can be."""

    root: Path
    definitions: tuple[Definition, ...]
    bases: dict[str, Base]
    unread: tuple[Unread, ...] = ()

    def definition(self, image: str) -> Definition:
        """Return the definition of an image that is known to exist."""
        return next(definition for definition in self.definitions if definition.name == image)

    def base(self, image: str) -> Base:
        """Return the base that an image is built on. Raises DefinitionError for one that bases.yaml lacks."""
        return find_base(self.definition(image), self.bases)

    def lock_path(self, image: str) -> Path:
        """Return where the lock of an image lies, beside its definition."""
        return self.definition(image).path.with_name(FILE_NAME)

    def list_sources(self, image: str) -> tuple[Path, ...]:
        """Return the files that describe an image: its definition, those that it extends, its lock."""
        chain = [self.definition(image)]
        while chain[-1].extends:
            chain.append(self.definition(chain[-1].extends))
        return (*(it.path for it in chain), self.lock_path(image))


def has_project() -> bool:
    """Return whether the working directory, or a folder above it, has an `images/` folder."""
    return (_find_root(Path.cwd()) / "images").is_dir()


def load_project(folder: Path | None) -> Project:
    """Return the project in a folder, as `read_project` does, with all that it has.

    Raises DefinitionError for the first definition that is malformed, too.
    """
    project = read_project(folder)
    for unread in project.unread:
        raise unread.error
    return project


def read_project(folder: Path | None) -> Project:
    """Return the project in a folder; without one, that of the working directory or the nearest folder above it.

    A definition that is malformed, or whose base nobody has, is `unread`. Raises DefinitionError when there is no
    `images/` folder or nothing in it, or bases.yaml is malformed.
    """
    root = folder or _find_root(Path.cwd())
    images = root / "images"
    if not images.is_dir():
        hint = "run imgbuild where images/ is, or name it with --project."
        raise DefinitionError(f"there is no images/ folder in {root.absolute()}", hint=hint)
    bases = list_bases(images)
    definitions, unread = [], []
    for path in find_definitions(images):
        try:
            definition = load_definition(path)
            find_base(definition, bases)
            definitions.append(definition)
        except DefinitionError as error:
            unread.append(Unread(path=path, error=error))
    return Project(root=root, definitions=tuple(definitions), bases=bases, unread=tuple(unread))


def list_bases(images: Path) -> dict[str, Base]:
    """Return the shipped bases by key, with those that a project's images folder has of its own.

    Raises DefinitionError when its bases.yaml is malformed.
    """
    shipped = next(
        path
        for path in (_PACKAGE / "data" / "bases.yaml", _PACKAGE.parent / "images" / "bases.yaml")
        if path.is_file()
    )
    own = images / "bases.yaml"
    return load_bases(shipped) | (load_bases(own) if own.is_file() else {})


def _find_root(start: Path) -> Path:
    here = Path()  # so that messages name files as a person would there
    if (here / "images").is_dir():
        return here
    return next((folder for folder in start.parents if (folder / "images").is_dir()), here)
