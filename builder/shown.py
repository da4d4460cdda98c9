"""Text that others wrote, as it may be shown: nothing in it moves the cursor, or is a command to GitHub's runner."""

from __future__ import annotations

import os
import re
import unicodedata

from builder.workflow_commands import defuse

# Colours, what erases a line, the cursor hidden or not; the first half of a Windows line end.
_EFFECT = re.compile(r"\x1b\[[0-9;?]*[mKhl]|\r(?=\n)")
_JOINERS = "\u200c\u200d"


def show(text: str) -> str:
    """Return a text of any number of lines with a sign for each character that cannot be seen.

    In a job of GitHub Actions nothing in it is a command.
    """
    plain = _EFFECT.sub("", text).replace("\r", "\n")  # else one line would hide another
    shown = "".join(char if _is_harmless(char) else "\N{REPLACEMENT CHARACTER}" for char in plain)
    return defuse(shown) if os.environ.get("GITHUB_ACTIONS") == "true" else shown


def _is_harmless(char: str) -> bool:
    return char.isprintable() or char in f"\n\t{_JOINERS}" or unicodedata.category(char) == "Zs"
