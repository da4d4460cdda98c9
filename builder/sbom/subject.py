"""The image that a document is about: its name, its digest where it has one, its base and its locked packages."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from packageurl import PackageURL

from builder.errors import ImgbuildError

if TYPE_CHECKING:
    from builder.lock import Environment

EPOCH_VARIABLE = "SOURCE_DATE_EPOCH"
"""Environment variable with the seconds since 1970 that count as now (reproducible-builds.org, SOURCE_DATE_EPOCH)."""

_EPOCH = re.compile(r"[0-9]{1,11}", re.ASCII)
_REGISTRY = re.compile(r".*[.:].*|localhost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One image of one cell.

    `ref` is its name for people, as it was published: it and `base_ref` go into documents as they are, so they have to
    be canonical. `digest` and `base_digest` are those of manifests (`sha256:…`), None where nothing pins the image.
    `created` is in UTC.
    """

    cell: str
    ref: str
    digest: str | None = None
    base_ref: str
    base_digest: str | None = None
    environment: Environment
    created: datetime

    @property
    def purl(self) -> str:
        """The image's package URL."""
        return image_purl(self.ref, self.digest)

    @property
    def base_purl(self) -> str:
        """The package URL of its base."""
        return image_purl(self.base_ref, self.base_digest)


def find_created(epoch: int) -> datetime:
    """Return the time that documents carry: SOURCE_DATE_EPOCH if it is set, or else `epoch`, in seconds since 1970.

    Raises ImgbuildError when the variable is no such number.
    """
    told = os.environ.get(EPOCH_VARIABLE)
    if not told:
        return datetime.fromtimestamp(epoch, UTC)
    if not _EPOCH.fullmatch(told):
        raise ImgbuildError(f"{EPOCH_VARIABLE} is {told!r}", hint="give whole seconds since 1970, or unset it.")
    return datetime.fromtimestamp(int(told), UTC)


def split_tag(ref: str) -> tuple[str, str | None]:
    """Return the repository of an image ref, and its tag if it has one. A digest in the ref is neither."""
    name = ref.partition("@")[0]
    repository, colon, tag = name.rpartition(":")
    return (repository, tag) if colon and "/" not in tag else (name, None)


def image_purl(ref: str, digest: str | None) -> str:
    """Return the package URL of an image, which identifies it only with a digest.

    A repository is named only where the ref says which registry it is in. Source: packageurl.org, type oci.
    """
    repository, tag = split_tag(ref)
    registry, slash, _ = repository.partition("/")
    told = {"repository_url": repository if slash and _REGISTRY.fullmatch(registry) else None, "tag": tag}
    qualifiers = {key: value for key, value in told.items() if value}
    name = repository.rpartition("/")[2].lower()
    return PackageURL("oci", name=name, version=digest, qualifiers=qualifiers).to_string()
