"""Pack images of an engine into one file, and bring them from there into another."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, BinaryIO

from builder.bundle.copying import copy_layout
from builder.bundle.layout import read_layout
from builder.errors import BundleError, EngineError, ImgbuildError
from builder.files import open_whole
from builder.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from builder.bundle.layout import Layout
    from builder.engine import Engine
    from builder.progress import Progress

_PIECE = 1 << 20
_PAUSE = 5.0
"""Seconds between two lines on how far it is."""


def pack_images(images: Mapping[str, str], path: Path, *, engine: Engine, progress: Progress) -> Layout:
    """Write images (ref → content digest) of an engine to a file, all of them or nothing; return what is in it.

    What was written is read again and verified before the file gets its name. Raises EngineError when the engine
    gives up, or a ref moved meanwhile, and ImgbuildError when the file cannot be written.
    """
    try:
        with open_whole(path) as file:
            with engine.save(sorted(images)) as chunks:
                copy_layout(chunks, file, _tell(progress, f"writing {path}"))
            layout = read_layout(file, _tell(progress, f"verifying {path}", total=file.tell()))
            _require_images(layout, images)
            return layout
    except BundleError as error:
        raise EngineError(f"the engine wrote what cannot be verified: {error.message}", hint="rerun it.") from error
    except OSError as error:
        raise ImgbuildError(f"cannot write {path}: {error.strerror or error}; nothing was kept") from error


def load_images(path: Path, *, engine: Engine, progress: Progress) -> tuple[str, ...]:
    """Bring the images of a file into an engine, and return their refs.

    The engine gets nothing before all of the file is verified. Raises BundleError when the file is damaged or no
    bundle, EngineError when the engine refuses or gives up, and ImgbuildError when the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            layout = read_layout(file, _tell(progress, f"verifying {path}", total=size))
            engine.load(_read(file, _tell(progress, f"loading {path}", total=size)))
    except BundleError as error:
        error.path = path
        raise
    except OSError as error:
        raise ImgbuildError(f"cannot read {path}: {error.strerror or error}") from error
    for image in layout.images:
        if engine.find_image(image.ref) not in image.ids:
            raise EngineError(f"the engine took the images, but {image.ref} is another", hint="rerun it.")
    return tuple(image.ref for image in layout.images)


def _require_images(layout: Layout, images: Mapping[str, str]) -> None:
    there = {image.ref: image.ids for image in layout.images}
    for ref in sorted(images.keys() | there.keys()):
        if images.get(ref) not in there.get(ref, ()):
            raise EngineError(f"{ref} became another image while it was packed", hint="rerun it.")


def _read(file: BinaryIO, report: Callable[[int], None]) -> Iterator[bytes]:
    file.seek(0)
    for piece in iter(lambda: file.read(_PIECE), b""):
        yield piece
        report(file.tell())


def _tell(progress: Progress, what: str, *, total: int = 0) -> Callable[[int], None]:
    """Return what says from time to time how many bytes are done."""
    progress.stage(what)
    told = time.monotonic()

    def report(count: int) -> None:
        nonlocal told
        if time.monotonic() - told >= _PAUSE:
            told = time.monotonic()
            progress.stage(f"{what}: {format_bytes(count)}{f' of {format_bytes(total)}' if total else ''}")

    return report
