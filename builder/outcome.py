"""What became of a cell: its image, and how that is told."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.errors import Cancelled
from builder.progress_text import shorten
from builder.schedule import Outcome
from builder.work import Ended

if TYPE_CHECKING:
    from collections.abc import Callable

    from builder.checks import Verdict
    from builder.sbom.inventory import Inventory
    from builder.work import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the checks found in an image, and which files it has, where they just ran and documents are to tell it."""

    verdicts: tuple[Verdict, ...]
    inventory: Inventory | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image that passed its checks: its ref and content digest; `fresh` unless it was there before.

    `found` is what the checks found in it, now or when it was built; None where it was not even asked, as it is up to
    date.
    """

    ref: str
    image_id: str
    fresh: bool
    found: Found | None = None


def describe_end(outcome: Outcome[Image], redact: Callable[[str], str]) -> Ended:
    """Return how a cell ended, without credentials in what an error says."""
    match outcome:
        case Outcome(value=Image() as image):
            return Ended(
                cell=outcome.name,
                state="built" if image.fresh else "up to date",
                text=_describe_image(image),
                seconds=outcome.seconds,
                ref=image.ref,
            )
        case Outcome(error=Cancelled()):
            state: State = "cancelled" if outcome.began else "not started"
            text = ""
        case _:
            state = "failed"
            text = shorten(redact(str(outcome.error).removeprefix(f"{outcome.name}: ")))
    return Ended(cell=outcome.name, state=state, text=text, seconds=outcome.seconds, error=outcome.error)


def _describe_image(image: Image) -> str:
    if not image.fresh:
        return f"{image.ref} is up to date"
    verdicts = image.found.verdicts if image.found else ()
    passed = sum(verdict.verdict == "pass" for verdict in verdicts)
    skipped: dict[str, list[str]] = defaultdict(list)
    for verdict in verdicts:
        if verdict.verdict == "skip":
            skipped[verdict.detail].append(verdict.check)
    reasons = [f"{', '.join(checks)} ({why})" for why, checks in skipped.items()]
    return f"{image.ref}: {passed} checks passed" + (f", skipped: {'; '.join(reasons)}" if reasons else "")
