"""What a person may know of an own machine and wish, as questions; which images each answer leaves. Pure.

An answer is a page of its own and a choice in the filter of the first page, so that both list the same images.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.version import Version

from builder.compat import known_drivers, name_cuda
from builder.site.gpus import GPUS, find_served

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from builder.site.entries import Entry

BRANCHES = (450, 470, 510, 515, 525, 535, 550, 560, 565, 570, 575, 580)
"""Branches of NVIDIA's driver that machines have, whether or not a CUDA toolkit came with them. Source: the table and
its note in https://docs.nvidia.com/datacenter/tesla/drivers/supported-drivers-and-cuda-toolkit-versions.html."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer: its page's name without `.html`, how it is written in a choice, and the images that it leaves.

    `title` and `note` head its page.
    """

    slug: str
    label: str
    title: str
    entries: tuple[Entry, ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question, how to find out the answer, and the answers that leave any image that is not for the CPU."""

    key: str
    text: str
    hint: str
    answers: tuple[Answer, ...]


def sort_entries(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Return the entries by image, newest Python, CUDA and torch first, those for the CPU last; no two are equal."""
    found = sorted(entries, key=lambda entry: entry.ref)
    found.sort(key=lambda entry: (_rank(entry.cuda), _rank(entry.torch)), reverse=True)
    found.sort(key=lambda entry: entry.python, reverse=True)
    return tuple(sorted(found, key=lambda entry: entry.image))


def list_questions(entries: Sequence[Entry]) -> tuple[Question, ...]:
    """Return the questions about these entries, in the order in which they are asked; none that has no answer."""
    questions = (
        _ask_python(entries),
        _ask_driver(entries),
        _ask_gpu(entries),
        _ask_cuda(entries),
        _ask_torch(entries),
        _ask_image(entries),
    )
    return tuple(question for question in questions if question.answers)


def slug_texts(texts: Iterable[str]) -> dict[str, str]:
    """Return for each text a name for a file that every file system takes, and that no other text has."""
    plain = {text: re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")[:80] for text in dict.fromkeys(texts)}
    often = Counter(plain.values())
    return {
        text: slug if slug and often[slug] == 1 else f"{slug}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        for text, slug in plain.items()
    }


def runs_with(entry: Entry, branch: int) -> bool:
    """Return whether the newest driver of a branch is known to be enough for an image."""
    if entry.cuda is None:
        return True
    return entry.min_driver is not None and entry.min_driver.major <= branch


def _ask_python(entries: Sequence[Entry]) -> Question:
    answers = [
        Answer(
            slug=f"python-{version}",
            label=str(version),
            title=f"Images with Python {version}",
            entries=tuple(entry for entry in entries if entry.python == version),
        )
        for version in sorted({entry.python for entry in entries}, reverse=True)
    ]
    return Question(key="python", text="Python", hint="", answers=tuple(answers))


def _ask_driver(entries: Sequence[Entry]) -> Question:
    needed = [entry.min_driver.major for entry in entries if entry.min_driver]
    branches = sorted({*BRANCHES, *(driver.major for driver in known_drivers()), *needed})
    answers = [
        Answer(
            slug=f"driver-{it}",
            label=str(it),
            title=f"Images that run with NVIDIA driver {it}",
            entries=tuple(entry for entry in _put_cpu_last(entries) if runs_with(entry, it)),
            note=_note_driver(it, needed),
        )
        for it in branches
        if needed and it >= min(needed)
    ]
    hint = "nvidia-smi prints it in its first lines. Yours is not here? Take the next lower number."
    return Question(key="driver", text="NVIDIA driver", hint=hint, answers=tuple(answers))


def _note_driver(branch: int, needed: Sequence[int]) -> str:
    edge = f" Some need a later release of {branch} than its first: see “Driver, from”." if branch in needed else ""
    return f"A newer driver runs all of these too; those for the CPU need none.{edge}"


def _ask_gpu(entries: Sequence[Entry]) -> Question:
    served = {entry.ref: {gpu.arch for gpu in find_served(entry.arches)} for entry in entries}
    answers = [
        Answer(
            slug=f"gpu-{gpu.capability}",
            label=gpu.models,
            title=f"Images that run on {gpu.models}",
            entries=tuple(it for it in _put_cpu_last(entries) if it.cuda is None or gpu.arch in served[it.ref]),
            note=f"And on every other GPU of compute capability {gpu.capability}. Those for the CPU need none.",
        )
        for gpu in GPUS
        if any(gpu.arch in arches for arches in served.values())
    ]
    hint = "Yours is not here? One of the same compute capability will do."
    return Question(key="gpu", text="GPU", hint=hint, answers=tuple(answers))


def _ask_cuda(entries: Sequence[Entry]) -> Question:
    answers = [
        Answer(
            slug=f"cuda-{version or 'cpu'}",
            label=str(version or "CPU only"),
            title=f"Images for {name_cuda(version)}" if version else "Images for the CPU",
            entries=tuple(entry for entry in entries if entry.cuda == version),
        )
        for version in sorted({entry.cuda for entry in entries}, key=_rank, reverse=True)
    ]
    return Question(key="cuda", text="CUDA", hint="No GPU? Take CPU only: it is smaller.", answers=tuple(answers))


def _ask_torch(entries: Sequence[Entry]) -> Question:
    answers = [
        Answer(
            slug=f"torch-{version or 'none'}",
            label=str(version or "none"),
            title=f"Images with torch {version}" if version else "Images without torch",
            entries=tuple(entry for entry in entries if entry.torch == version),
        )
        for version in sorted({entry.torch for entry in entries}, key=_rank, reverse=True)
    ]
    return Question(key="torch", text="torch", hint="", answers=tuple(answers))


def _ask_image(entries: Sequence[Entry]) -> Question:
    answers = [
        Answer(
            slug=f"image-{slug}",
            label=name,
            title=f"Images called {name}",
            entries=tuple(entry for entry in entries if entry.image == name),
        )
        for name, slug in slug_texts(sorted(entry.image for entry in entries)).items()
    ]
    return Question(key="image", text="Image", hint="", answers=tuple(answers))


def _put_cpu_last(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries with those last that run there too, but are not what somebody with a GPU looks for."""
    return sorted(entries, key=lambda entry: entry.cuda is None)


def _rank(version: Version | None) -> Version:
    """Return a key to sort by, None before every version."""
    return version or Version("0")
