"""Export the lower layers of an image while the upper ones are still installed.

An engine packs and unpacks the layers of an image after its last step, and where two exports meet, each unpacks what
both have (moby/buildkit exporter/containerimage/export.go: unpackImage). An image of the lower layers alone is done
earlier, and what was exported for it is there for every image that stands on the same layers.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Self

from builder.errors import ImgbuildError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from builder.locked import LockedCell

LEAST = 500_000_000
"""Bytes of packages that are worth an export of their own: seconds of packing, for half a second of a build more."""


def list_lower(locked: LockedCell) -> Iterator[LockedCell]:
    """Yield the cells of lower layers alone, each of `LEAST` bytes more than the one before it; none has all layers.

    Their environment is empty, so that no label of their images claims the packages of the whole cell.
    """
    environment = replace(locked.environment, conda=(), pip=())
    size = 0
    for count, layer in enumerate(locked.layers[:-1], start=1):
        size += layer.size
        if size >= LEAST:
            yield replace(locked, environment=environment, layers=locked.layers[:count])
            size = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyImages:
    """Images of lower layers alone: built in the background, each once, and removed at the end. A context manager.

    `build` returns the content digest of the image of a lower cell, the first argument, for the sake of the second.
    What it raises for the user to see, the cell's own build raises too.
    """

    build: Callable[[LockedCell, LockedCell], str]
    remove: Callable[[str], None]
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: dict[tuple[str, ...], threading.Thread] = field(default_factory=dict)
    _built: list[str] = field(default_factory=list)
    _done: set[str] = field(default_factory=set)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads.values():
            thread.join()
        for image_id in self._built:
            with contextlib.suppress(ImgbuildError):
                self.remove(image_id)

    @contextlib.contextmanager
    def beside(self, locked: LockedCell) -> Iterator[None]:
        """Build the images of a cell's lower layers while the block builds the cell; wait for none of them."""
        below: threading.Thread | None = None
        for lower in list_lower(locked):
            key = (*lower.job.definition.apt, *(layer.id for layer in lower.layers))
            with self._lock:
                if key not in self._threads:
                    task = partial(self._build, lower, locked, below)
                    self._threads[key] = threading.Thread(target=task, daemon=True, name="imgbuild-early")
                    self._threads[key].start()
                below = self._threads[key]
        try:
            yield
        finally:
            self._done.add(locked.id)

    def _build(self, lower: LockedCell, locked: LockedCell, below: threading.Thread | None) -> None:
        if below:
            below.join()
        if locked.id not in self._done:
            with contextlib.suppress(ImgbuildError):
                self._built.append(self.build(lower, locked))
