"""What is in an image that was not in the one its tag meant before. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from builder.site.entries import Package


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A package that is not as it was: `before` is None when it was added, `now` when it was removed."""

    name: str
    kind: str
    before: str | None
    now: str | None


def list_changes(before: Iterable[Package], now: Iterable[Package]) -> tuple[Change, ...]:
    """Return what has changed, by name and then kind. What moved from conda to pip was removed and added."""
    old = {(package.name, package.kind): package.version for package in before}
    new = {(package.name, package.kind): package.version for package in now}
    return tuple(
        Change(name=name, kind=kind, before=old.get((name, kind)), now=new.get((name, kind)))
        for name, kind in sorted(old.keys() | new.keys())
        if old.get((name, kind)) != new.get((name, kind))
    )
