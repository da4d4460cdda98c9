"""The words of progress: steps, times and the last lines of what failed, short enough for one line each."""

from __future__ import annotations

_TAIL = 12
_STEP = 100
_LINE = 140
"""Characters of a step's name, and of a line that ends with what came of the step."""


def headline(name: str) -> str:
    """Return a step's name in one short line: `[2/3] RUN conda create …` without the mounts."""
    prefix, _, rest = name.partition("RUN ")
    if rest:
        words = [word for word in rest.split() if not word.startswith("--mount") and word != "\\"]
        text = " ".join(words).removeprefix(". /host/settings").lstrip(" &")
        name = f"{prefix}RUN {text}"
    return shorten(name, _STEP)


def shorten(text: str, width: int = _LINE) -> str:
    """Return the first line of a text, cut where it is longer than `width` characters."""
    line = text.partition("\n")[0]
    return line if len(line) <= width else f"{line[: width - 1]}…"


def tail(lines: list[str]) -> str:
    """Return the last lines that a failed step wrote, as they are shown under its error."""
    return "\n".join(f"    {line}" for line in lines[-_TAIL:])


def format_seconds(seconds: float) -> str:
    """Return a duration as a person reads it: `4.2 s`, `3:05`, `1:02:03`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def is_internal(name: str) -> bool:
    """Return whether a step is BuildKit's own bookkeeping, which nobody wants to read."""
    return name.startswith("[internal]") or name == "copy /context /"
