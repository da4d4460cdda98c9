"""Every way imgbuild can refuse or fail: a class, its exit code, a hint on what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class ImgbuildError(Exception):
    """A failure that is told to a person: what happened, where, and what to do.

    `message` says what is wrong, `hint` what to do about it; `path` and `line` (1-based) say where, when a file
    is at fault. `str(error)` is the whole text as it is printed, without a traceback.
    """

    exit_code = 1

    def __init__(
        self, message: str, *, hint: str | None = None, path: Path | None = None, line: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.path = path
        self.line = line

    def __str__(self) -> str:
        where = ""
        if self.path is not None:
            where = f"{self.path}:{self.line}: " if self.line is not None else f"{self.path}: "
        text = f"{where}{self.message}"
        return f"{text}\n  → {self.hint}" if self.hint else text


class DefinitionError(ImgbuildError):
    """An image definition, `bases.yaml` or a sources file is malformed."""

    exit_code = 3


class CellError(ImgbuildError):
    """The cell that was asked for does not exist, or nothing matches the selection."""

    exit_code = 4


class LockError(ImgbuildError):
    """A lock, or the plan of the layers, is missing, stale or unreadable."""

    exit_code = 5


class SolveError(ImgbuildError):
    """The conda or pip solver found no solution, or one that breaks the cell's promise."""

    exit_code = 6


class EngineError(ImgbuildError):
    """There is no container engine, it is too old, or it refused to work (disk full, stopped)."""

    exit_code = 7


class BuildError(ImgbuildError):
    """A step of the build failed inside the engine."""

    exit_code = 8


class CheckError(ImgbuildError):
    """The image was built but does not hold what its lock promises; it gets no tag."""

    exit_code = 9


class RegistryError(ImgbuildError):
    """The registry cannot be reached, refuses, or answers what cannot be right."""

    exit_code = 10


class PushError(RegistryError):
    """The registry did not take an image; what it has under the ref is what it had before."""


class SlowerError(ImgbuildError):
    """An image is slower than its baseline, beyond what the measurements differ by."""

    exit_code = 11


class DriftError(ImgbuildError):
    """A registry does not have what the definitions and locks say."""

    exit_code = 12


class BundleError(ImgbuildError):
    """A bundle of images is damaged, incomplete, or none; no engine was given anything of it."""

    exit_code = 13


class VerifyError(ImgbuildError):
    """An image is not signed by a key, or what is attached to it is not."""

    exit_code = 14


class SigningError(ImgbuildError):
    """An identity cannot be proven, or Sigstore refuses or cannot be asked."""

    exit_code = 15


class Cancelled(ImgbuildError):  # noqa: N818 - no error of anybody's
    """It was told to stop, and did; the exit code is that of a process that SIGINT ended."""

    exit_code = 130
