"""What a registry tells of published images besides the images: what is attached, and what their tags meant before.

What a tag meant before is attached to the image that replaced it. Of an image that has no such thing it is the newest
that is older by its labels, found by its tag that lasts.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from builder.attach import DOCUMENT, RETEST, UNPACKED
from builder.contents import read_bill
from builder.definition_aliases import LASTING_TAG
from builder.moving import find_replaced
from builder.registry.attached import list_attached, read_first
from builder.registry.content import ContentError, clean, parse_object
from builder.registry.image import read_image
from builder.registry.parallel import read_all
from builder.render import OCI
from builder.sbom.results import parse_results
from builder.site.entries import CheckResult, Previous
from builder.site.published import find_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from builder.registry.client import Registry
    from builder.registry.content import Descriptor
    from builder.registry.image import PublishedImage
    from builder.site.entries import Package
    from builder.site.published import Published

_CREATED = f"{OCI}.created"
_BYTES = re.compile(r"[0-9]{1,15}", re.ASCII)


def add_history(registry: Registry, published: Sequence[Published]) -> tuple[Published, ...]:
    """Return published images with what is attached to them, and with what their tags meant before.

    What is missing, or cannot be read, is left out. Raises RegistryError, and Cancelled.
    """
    repositories = {repository for repository, _ in map(partial(_split, registry), published)}
    tags = read_all(registry, {name: partial(registry.list_tags, name) for name in repositories})
    lasting = {it.ref: _list_lasting(registry, it, tags) for it in published}
    images = read_all(registry, {key: partial(_read, registry, *key) for keys in lasting.values() for key in keys})
    stories = {it.ref: partial(_tell, registry, it, [images[key] for key in lasting[it.ref]]) for it in published}
    return tuple(read_all(registry, stories)[it.ref] for it in published)


def choose_previous(image: PublishedImage, others: Iterable[PublishedImage]) -> PublishedImage | None:
    """Return the newest of other images that is older than an image, None where none is known to be."""
    made = find_time(image.labels.get(_CREATED))
    older = [
        (time, it.digest, it) for it in others if made and (time := find_time(it.labels.get(_CREATED))) and time < made
    ]
    return max(older, key=lambda it: it[:2])[2] if older else None


def _tell(registry: Registry, it: Published, others: Iterable[PublishedImage | None]) -> Published:
    repository, _ = _split(registry, it)
    attached = _try_attached(registry, repository, it.image)
    replaced = find_replaced(attached)
    before = _read(registry, repository, replaced) if replaced else choose_previous(it.image, filter(None, others))
    return replace(
        it,
        packages=_try_bill(registry, repository, it.image, attached),
        verdicts=_read_verdicts(registry, repository, attached),
        unpacked=_find_unpacked(attached),
        previous=_describe_previous(registry, repository, before) if before else None,
    )


def _describe_previous(registry: Registry, repository: str, image: PublishedImage) -> Previous:
    attached = _try_attached(registry, repository, image)
    return Previous(digest=image.digest, packages=_try_bill(registry, repository, image, attached))


def _split(registry: Registry, it: Published) -> tuple[str, str]:
    repository, _, tag = it.ref.removeprefix(f"{registry.host}/").rpartition(":")
    return repository, tag


def _list_lasting(registry: Registry, it: Published, tags: dict[str, tuple[str, ...]]) -> list[tuple[str, str]]:
    repository, own = _split(registry, it)
    return [(repository, tag) for tag in tags[repository] if tag.startswith(f"{own}-") and LASTING_TAG.fullmatch(tag)]


def _read(registry: Registry, repository: str, tag: str) -> PublishedImage | None:
    try:
        return read_image(registry, repository, tag)
    except ContentError:
        return None


def _try_attached(registry: Registry, repository: str, image: PublishedImage) -> tuple[Descriptor, ...]:
    try:
        return tuple(list_attached(registry, repository, image))
    except ContentError:
        return ()


def _try_bill(
    registry: Registry, repository: str, image: PublishedImage, attached: Iterable[Descriptor]
) -> tuple[Package, ...]:
    try:
        return read_bill(registry, repository, image, attached) or ()
    except ContentError:
        return ()


def _find_unpacked(attached: Iterable[Descriptor]) -> int | None:
    """Return the bytes of the image's files, None where the results of its checks do not tell them."""
    told = (dict(it.annotations).get(UNPACKED, "") for it in _choose(attached, "checks"))
    return next((int(text) for text in told if _BYTES.fullmatch(text)), None)


def _read_verdicts(registry: Registry, repository: str, attached: Iterable[Descriptor]) -> tuple[CheckResult, ...]:
    """Return what the checks found before publishing, and in a later test, which counts where it is another."""
    verdicts = _read_results(registry, repository, _choose(attached, "checks"))
    for name, word in _read_results(registry, repository, _choose(attached, RETEST)).items():
        if word != "skip" or name not in verdicts:
            verdicts[name] = word
    return tuple(CheckResult(check=clean(name), verdict=word, detail="") for name, word in verdicts.items())


def _read_results(
    registry: Registry, repository: str, attached: Iterable[Descriptor]
) -> dict[str, Literal["pass", "fail", "skip"]]:
    try:
        data = read_first(registry, repository, attached)
        return parse_results(parse_object(data, repository)) if data else {}
    except (ContentError, ValueError):
        return {}


def _choose(attached: Iterable[Descriptor], kind: str) -> Iterator[Descriptor]:
    return (it for it in attached if dict(it.annotations).get(DOCUMENT) == kind)
