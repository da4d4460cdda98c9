"""What only the whole of a file tells: which of its packages torch brings itself, and which Python markers are for."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from builder.adopt.choice import choose_cell
from builder.adopt.markers import holds, is_about_python
from builder.compat_table import load_builds

if TYPE_CHECKING:
    from builder.adopt.wishes import Wishes

_FOR_TORCH = {"pytorch-cuda", "cudatoolkit", "cuda-version"}
"""Conda packages that say which CUDA a torch is for (pytorch.org, "Previous versions"; conda-forge's cuda-version)."""

_OF_TORCH = re.compile(r"(?:.*/)?(?:pytorch|nvidia)(?:/label/[^/]+)?/?")
"""The channels that conda packages of torch are of."""


def settle(wishes: Wishes) -> None:
    """Take what was put off, and let go of what torch brings; call it once, after the last line."""
    _judge_markers(wishes)
    _follow_trio(wishes)
    for name, spec, place in wishes.runtimes:
        if name != "pytorch-cuda" and not (wishes.has_torch and name in _FOR_TORCH):
            wishes.take_conda(spec, place)
    for text, place in wishes.brought:
        if wishes.has_torch:
            wishes.leave(place, text, "torch brings the one that it needs")
        else:
            wishes.take_pip(text, place)
    if wishes.has_torch:
        for channel in [it for it in wishes.channels if _OF_TORCH.fullmatch(it)]:
            short = channel.rstrip("/").rpartition("/")[2]
            why = f"the matrix brings what torch needs of it; write {short}::NAME for another of its packages"
            wishes.leave(wishes.channels.pop(channel), f"channel {channel}", why)


def find_python(wishes: Wishes) -> str:
    """Return the Python (major.minor) that markers are judged for: the one asked for, or the newest that fits.

    It fits where torch's own markers hold and such a torch exists, and where any package is left: `poetry export`
    writes on each line for which Pythons the project is, and others write what an old Python lacks.
    """
    if wishes.python:
        return wishes.python
    known = sorted({python for build in load_builds() if build.known for python in build.python}, reverse=True)
    allowed = [it for it in known if all(asked.holds_minor(it) for asked in wishes.pythons)]
    return str(max(allowed or known, key=lambda it: (_has_torch(wishes, it), _has_any(wishes, str(it)))))


def _has_torch(wishes: Wishes, python: Version) -> bool:
    """Return whether the torch that is asked for on a Python exists for it; False where markers ask for none there."""
    there = replace(wishes, torches=[*wishes.torches], trio=[*wishes.trio], conda={}, pip={}, left=[])
    for requirement, place, text in wishes.marked:
        if holds(requirement.marker, str(python)):
            there.take_requirement(requirement, place, text)
    _follow_trio(there)
    if not there.has_torch:
        return not wishes.marked
    cuda = choose_cell(there).cuda
    return any(
        it.known
        and it.cuda == cuda
        and python in it.python
        and there.torch in {None, str(it.torch)}
        and all(asked.holds(it.torch) for asked in there.torches)
        for it in load_builds()
    )


def _has_any(wishes: Wishes, python: str) -> bool:
    return bool(wishes.conda) or any(holds(it.marker, python) for it in wishes.requirements)


def _judge_markers(wishes: Wishes) -> None:
    """Ask for the Python that markers are judged for, and take the requirements of torch whose markers hold there."""
    if not any(is_about_python(it.marker) for it in wishes.requirements):
        return
    if not wishes.python:
        wishes.python = find_python(wishes)
        for asked in wishes.pythons:
            if not asked.holds_minor(Version(wishes.python)):
                wishes.leave(asked.place, asked.text, f"no Python that is known fits it; {wishes.python} was taken")
    for requirement, place, text in wishes.marked:
        if holds(requirement.marker, wishes.python):
            wishes.take_requirement(requirement, place, text)
        else:
            wishes.leave(place, text, f"its marker does not hold for Python {wishes.python} on Linux")


def _follow_trio(wishes: Wishes) -> None:
    """Ask for the releases of torch that torchvision and torchaudio belong to, where none is asked for by itself."""
    if wishes.torch:
        return
    for name, asked in wishes.trio:
        fitting = {it.torch for it in load_builds() if it.known and asked.holds(getattr(it, name))}
        wishes.torches.append(replace(asked, either=tuple(SpecifierSet(f"=={it}") for it in fitting)))
