"""Text that others wrote, as it may be shown: nothing in it moves the cursor, or is a command to GitHub's runner."""

from __future__ import annotations

import os
import re

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def show(text: str) -> str:
    """Return a text of any number of lines with a sign for each character that cannot be seen.

    In a job of GitHub Actions nothing in it is a command.
    """
    plain = _COLOUR.sub("", text)
    shown = "".join(it if it.isprintable() or it in "\n\t\xa0" else "\N{REPLACEMENT CHARACTER}" for it in plain)
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return shown
    from builder.workflow_commands import defuse

    return defuse(shown)
