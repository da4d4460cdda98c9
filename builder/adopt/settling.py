"""What only the whole of a file tells: which of its packages torch brings itself, and which Python markers are for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from packaging.version import Version

from builder.adopt.choice import choose_cell
from builder.adopt.wishes import LINUX, Wishes
from builder.compat_table import load_builds

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_FOR_TORCH = {"pytorch-cuda", "cudatoolkit", "cuda-version"}
"""Conda packages that say which CUDA a torch is for (pytorch.org, "Previous versions"; conda-forge's cuda-version)."""

_OF_TORCH = re.compile(r"(?:.*/)?(?:pytorch|nvidia)(?:/label/[^/]+)?/?")
"""The channels that conda packages of torch are of."""


def settle(wishes: Wishes) -> None:
    """Take what was put off, and let go of what torch brings; call it once, after the last line."""
    _judge_marked(wishes)
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
            why = f"the matrix brings what torch needs of it; write {channel}::NAME for another of its packages"
            wishes.leave(wishes.channels.pop(channel), f"channel {channel}", why)


def describe_python(wishes: Wishes) -> dict[str, str]:
    """Return the environment of markers: Linux, and the Python that is asked for, or the newest that has a torch."""
    python = wishes.python or str(choose_cell(Wishes(pythons=wishes.pythons, has_torch=True)).python)
    return {**LINUX, "python_version": python, "python_full_version": f"{python}.0"}


def _judge_marked(wishes: Wishes) -> None:
    """Take the requirements of torch whose markers hold for the Python of the image, or the newest that has one."""
    if not wishes.marked:
        return
    about = describe_python(wishes)
    for requirement, place, text in wishes.marked:
        if _holds(requirement, about):
            wishes.take_requirement(requirement, place, text)
        else:
            wishes.leave(place, text, f"its marker does not hold for Python {about['python_version']} on Linux")


def _holds(requirement: Requirement, about: dict[str, str]) -> bool:
    return requirement.marker is None or requirement.marker.evaluate(about)


def _follow_trio(wishes: Wishes) -> None:
    """Ask for torch where only what stands on it is asked for, in the release that this belongs to."""
    if wishes.has_torch or not wishes.trio:
        return
    wishes.has_torch = True
    for name, pinned in wishes.trio.items():
        fitting = {it.torch for it in load_builds() if pinned and getattr(it, name) == Version(pinned)}
        wishes.torch = str(max(fitting)) if fitting else wishes.torch
