"""Read the tags of a registry that no cell of the project has, and judge them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from builder.definition_aliases import CELL_TAG
from builder.registry.content import ContentError
from builder.registry.image import try_image
from builder.registry.parallel import read_all
from builder.registry.place import name_repository
from builder.registry.token import DeniedError
from builder.render import LABEL
from builder.status import TagStatus, judge_tags, needs_reading

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from builder.definition import Definition
    from builder.registry.client import Registry
    from builder.registry.image import PublishedImage

Tagged = tuple[str, str]
"""A repository, and a tag in it."""

_IMAGE = f"{LABEL}.image"


def read_leftover(
    registry: Registry, path: str, definitions: Sequence[Definition], own: Mapping[Tagged, str | None]
) -> tuple[TagStatus, ...]:
    """Return the status of the tags, in the repositories of some definitions, that no cell has.

    `own` has the tags of the cells, and the digests that these mean. Raises RegistryError, and Cancelled.
    """
    repositories = [name_repository(path, definition.name) for definition in definitions]
    tags = read_all(registry, {name: partial(registry.list_tags, name) for name in repositories})
    left = [(name, tag) for name in repositories for tag in tags[name] if (name, tag) not in own]
    aliases = {(name_repository(path, it.name), alias) for it in definitions for alias, _ in it.aliases}
    images = _read_own(registry, [key for key in left if key in aliases or needs_reading(key[1])])
    known = {digest: tag for (_, tag), digest in own.items() if digest}
    groups = (
        judge_tags(
            name,
            (tag for repository, tag in left if repository == name),
            {tag: image for (repository, tag), image in images.items() if repository == name},
            known,
            registry.host,
        )
        for name in repositories
    )
    return tuple(tag for group in groups for tag in group)


def read_orphans(registry: Registry, path: str, images: Collection[str]) -> tuple[TagStatus, ...]:
    """Return the tags of images that no definition makes any more; `images` are those that one makes.

    They are looked for in all repositories beside those of the project; what this login may not read there, or is no
    image, is somebody else's. Raises RegistryError, also where the registry does not list its repositories, and
    Cancelled.
    """
    (names,) = read_all(registry, {path: registry.list_repositories}).values()
    known = {name_repository(path, image) for image in images}
    others = [name for name in names if name not in known and name == name_repository(path, name.rpartition("/")[2])]
    tags = read_all(registry, {name: partial(_try_tags, registry, name) for name in others})
    moving = [(name, tag) for name in others for tag in tags[name] if CELL_TAG.fullmatch(tag) or needs_reading(tag)]
    return tuple(
        TagStatus(
            ref=f"{registry.host}/{name}:{tag}", state="orphaned", text="no definition makes this image any more"
        )
        for (name, tag), image in _read_own(registry, moving).items()
        if image and image.labels[_IMAGE] == name.rpartition("/")[2]
    )


def _try_tags(registry: Registry, repository: str) -> tuple[str, ...]:
    try:
        return registry.list_tags(repository)
    except (ContentError, DeniedError):
        return ()


def _read_own(registry: Registry, places: Sequence[Tagged]) -> dict[Tagged, PublishedImage | None]:
    """Return the images of some tags, None for what is none of imgbuild's."""
    found = read_all(registry, {place: partial(try_image, registry, *place) for place in places})
    return {
        place: None if isinstance(it, ContentError) or it is None or _IMAGE not in it.labels else it
        for place, it in found.items()
    }
