"""Export the lower layers of an image while the upper ones are still installed.

An engine packs and unpacks the layers of an image after its last step, and where two exports meet, each unpacks what
both have (moby/buildkit exporter/containerimage/export.go: unpackImage). An image of the lower layers alone is done
earlier, and what was exported for it is there for every image that stands on the same layers.
"""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import Future, wait
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Self

from builder.context import Context, ContextFile
from builder.errors import Cancelled, ImgbuildError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from builder.engine import Engine
    from builder.locked import LockedCell

    Build = Callable[[Engine, Context], str]

LEAST = 500_000_000
"""Bytes of downloads that are worth an export of their own: seconds of packing, for half a second of a build more."""

_DOCKERFILE = "Dockerfile"
_PATIENCE = 10
"""Seconds that builds have to end when they are told to."""


def list_lower(locked: LockedCell, context: Context) -> Iterator[Context]:
    """Yield the contexts of lower layers alone, each with `LEAST` bytes more than the one before it.

    Their Dockerfiles are the cell's own up to a layer, so the steps are the same, and nothing is in the image but what
    they install. A project's template that has other steps for layers has none of them.
    """
    size = 0
    for layer, above in pairwise(locked.layers):
        size += layer.size
        if size >= LEAST and (lower := _cut(context, above.id)):
            yield lower
            size = 0


def list_steps(context: Context) -> tuple[bytes, ...]:
    """Return the lines of a context's Dockerfile that are no comments: cells with the same have the same image."""
    (dockerfile,) = (file.data for file in context.files if file.path == _DOCKERFILE)
    return tuple(line for line in dockerfile.splitlines() if not line.startswith(b"#"))


class EarlyImages:
    """Images of lower layers alone: built in the background, each once, and removed at the end. A context manager.

    They have a connection of their own, from `connect`: the end stops what is still being built. What a build raises
    for the user to see, the cell's own build raises as well; a defect is raised at the end.
    """

    def __init__(self, connect: Callable[[], Engine]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._closed = False
        self._builds: dict[tuple[bytes, ...], Future[str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._lock:
            self._closed = True
            builds = tuple(self._builds.values())
        if self._engine is None:
            return
        with self._engine as engine:
            engine.cancel()
            if kind is KeyboardInterrupt:
                return
            wait(builds, timeout=_PATIENCE)
            ended = [build for build in builds if build.done()]
            with contextlib.suppress(ImgbuildError):
                for build in ended:
                    if build.exception() is None:
                        engine.remove(build.result())
        defects = [error for build in ended if not isinstance(error := build.exception(), ImgbuildError | None)]
        if defects and kind is None:
            raise defects[0]

    @contextlib.contextmanager
    def beside(self, locked: LockedCell, context: Context, build: Build) -> Iterator[None]:
        """Have the images of a cell's lower layers built while the block builds the cell; wait for none of them.

        `build` returns the content digest of the image that an engine makes of a context.
        """
        ended = threading.Event()
        below: Future[str] | None = None
        for lower in list_lower(locked, context):
            below = self._begin(lower, partial(self._build, lower, build, below, ended))
        try:
            yield
        finally:
            ended.set()

    def _begin(self, lower: Context, build: Callable[[], str]) -> Future[str]:
        steps = list_steps(lower)
        with self._lock:
            if steps not in self._builds:
                self._builds[steps] = future = Future[str]()
                threading.Thread(target=_settle, args=(future, build), daemon=True, name="imgbuild-early").start()
            return self._builds[steps]

    def _build(self, lower: Context, build: Build, below: Future[str] | None, ended: threading.Event) -> str:
        if below:
            below.result()  # a step that failed there would only fail again
        if ended.is_set():
            raise Cancelled("the cell was built before")
        return build(self._open(), lower)

    def _open(self) -> Engine:
        with self._lock:
            if self._closed:
                raise Cancelled("cancelled")
            if self._engine is None:
                self._engine = self._connect()
            return self._engine


def _settle(future: Future[str], build: Callable[[], str]) -> None:
    try:
        future.set_result(build())
    except BaseException as error:
        future.set_exception(error)


def _cut(context: Context, layer: str) -> Context | None:
    """Return the context of the steps below a layer's, None where the Dockerfile has no such step."""
    files = []
    for file in context.files:
        if file.path == _DOCKERFILE:
            below, step, _ = file.data.partition(f"\nRUN --mount=type=bind,source=layers/{layer},".encode())
            if not step:
                return None
            files.append(ContextFile(path=_DOCKERFILE, data=below + b"\n"))
        else:
            files.append(file)
    return Context(files=tuple(files))
