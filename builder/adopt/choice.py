"""Choose the one Python, CUDA and torch of a definition among those that a file allows. Pure but for `wishes.left`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.version import Version

from builder.compat_table import load_builds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from builder.adopt.ranges import Range
    from builder.adopt.wishes import Wishes
    from builder.compat_table import TorchBuild

_USUAL = Version("12.6")
"""The CUDA of who asks for torch and not for a CUDA, where a torch of theirs has it; else the newest one's newest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What goes into the matrix; `cuda` is None for the CPU, `torch` is `auto`, `none` or a version."""

    python: Version
    cuda: Version | None
    torch: str


def choose_cell(wishes: Wishes) -> Choice:
    """Return the newest that fits; a range that nothing known fits is left out of the file, by name.

    What is pinned stays so, known or not: whether it exists is for the matrix to say.
    """
    builds = [it for it in load_builds() if it.known]
    pinned = Version(wishes.torch) if wishes.torch else None
    if any(it.torch == pinned for it in builds):
        builds = [it for it in builds if it.torch == pinned]
    if wishes.has_torch:
        builds = [it for it in builds if any(_may_have(wishes, python) for python in it.python)] or builds
    cuda = _choose_cuda(wishes, builds)
    if wishes.has_torch:
        builds = [it for it in builds if it.cuda == cuda] or builds
        builds = _narrow(builds, wishes.torches, lambda it, build: it.holds(build.torch), wishes)
    if wishes.python:
        python = Version(wishes.python)
    else:
        builds = _narrow(builds, wishes.pythons, lambda it, build: any(map(it.holds_minor, build.python)), wishes)
        pythons = {python for build in builds for python in build.python}
        python = max([it for it in pythons if all(asked.holds_minor(it) for asked in wishes.pythons)] or pythons)
    return Choice(python=python, cuda=cuda, torch=_choose_torch(wishes, builds, python, cuda))


def _may_have(wishes: Wishes, python: Version) -> bool:
    if wishes.python:
        return python == Version(wishes.python)
    return all(asked.holds_minor(python) for asked in wishes.pythons)


def _choose_cuda(wishes: Wishes, builds: list[TorchBuild]) -> Version | None:
    if wishes.cuda:
        return None if wishes.cuda == "cpu" else Version(wishes.cuda)
    if not (wishes.has_torch or wishes.cudas):
        return None
    usable = (
        [it for it in builds if all(asked.holds(it.torch) for asked in wishes.torches)] if wishes.has_torch else []
    )
    usable = [it for it in usable or builds if it.cuda]
    usable = _narrow(usable, wishes.cudas, lambda it, build: bool(build.cuda and it.holds_minor(build.cuda)), wishes)
    cudas = {it.cuda for it in usable if it.cuda}
    if wishes.cudas:
        return max(cudas)
    if _USUAL in cudas:
        return _USUAL
    newest = max(it.torch for it in usable)
    return max(it.cuda for it in usable if it.cuda and it.torch == newest)


def _choose_torch(wishes: Wishes, builds: list[TorchBuild], python: Version, cuda: Version | None) -> str:
    if not wishes.has_torch or wishes.torch:
        return wishes.torch or "none"
    known = [it for it in load_builds() if it.known]
    here = [it.torch for it in known if it.cuda == cuda and python in it.python] or [it.torch for it in known]
    fitting = [it.torch for it in builds if python in it.python]
    return str(max(fitting)) if fitting and max(fitting) != max(here) else "auto"


def _narrow(
    builds: list[TorchBuild], asked: Iterable[Range], fits: Callable[[Range, TorchBuild], bool], wishes: Wishes
) -> list[TorchBuild]:
    for it in asked:
        kept = [build for build in builds if fits(it, build)]
        if not kept:
            wishes.leave(it.place, it.text, "no torch that is known fits it and what else is asked for")
        builds = kept or builds
    return builds
