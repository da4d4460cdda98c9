"""What GitHub's runner takes for a command in the log of a job: write those that are meant, defuse all others.

The commands are those of docs.github.com, "Workflow commands for GitHub Actions". The runner looks at each line of a
step's output: `::error::` counts at its beginning, behind spaces too, and the older `##[error]` anywhere in it
(github.com/actions/runner, src/Runner.Common/ActionCommand.cs). For .NET, a lone carriage return ends a line.
"""

from __future__ import annotations

import re

_COMMAND = re.compile(r"(?:\A|(?<=[\r\n]))([^\w\r\n]*?)::")
_OLDER = re.compile(r"##(?=\[)")


def write_command(name: str, text: str, *, title: str = "") -> str:
    """Return a command as one line, whatever is in its text and its title."""
    properties = f" title={_escape_property(title)}" if title else ""
    return f"::{name}{properties}::{_escape(text)}"


def defuse(text: str) -> str:
    r"""Return a text of any number of lines in which nothing is a command: `\::error::`, `#\#[error]`."""
    return _COMMAND.sub(r"\1\\::", _OLDER.sub(r"#\\#", text))


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")
