"""The image.yaml that does what a file of another tool asks for."""

from __future__ import annotations

import json
import re
from math import inf
from typing import TYPE_CHECKING

import yaml

from builder.adopt.choice import choose_cell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.adopt.wishes import Wishes

_PLAIN = re.compile(r"[A-Za-z0-9][\w.+-]*(?:[<>=!~ ]*[\w.*+,<>=!~-]+)?")


def write_definition(name: str, wishes: Wishes, *, base: str, origin: str) -> str:
    """Return the text of a definition; `origin` is the name of the file that it was made from."""
    return "\n".join(_list_lines(name, wishes, base, origin)) + "\n"


def _list_lines(name: str, wishes: Wishes, base: str, origin: str) -> Iterator[str]:
    choice = choose_cell(wishes)
    yield f"# Made by `imgbuild init` from {origin}."
    yield f"name: {name}"
    yield f"base: {base}"
    yield "matrix:"
    yield f'  python: ["{choice.python}"]'
    yield f"  cuda: [{json.dumps(str(choice.cuda)) if choice.cuda else 'cpu'}]"
    yield f"  torch: {choice.torch if choice.torch in {'auto', 'none'} else json.dumps(choice.torch)}"
    yield f"channels: [{', '.join(map(_quote, _list_channels(wishes)))}]"
    for key, specs in (("conda", wishes.conda), ("pip", wishes.pip)):
        if specs:
            yield f"{key}:"
            yield from (f"  - {_quote(spec)}" for spec in specs.values())
    if wishes.env:
        yield "env:"
        yield from (f"  {key}: {_write_quoted(value)}" for key, value in sorted(wishes.env.items()))


def _list_channels(wishes: Wishes) -> list[str]:
    """Return the channels of the file, and conda-forge after them where none of them has Python."""
    channels = list(wishes.channels)
    own = any("://" in it and not it.startswith("https://conda.anaconda.org/") for it in channels)
    return channels if own or wishes.channel_names & {"conda-forge", "anaconda"} else [*channels, "conda-forge"]


def _quote(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else _write_quoted(text)


def _write_quoted(text: str) -> str:
    return str(yaml.safe_dump(text, default_style='"', allow_unicode=True, width=inf)).rstrip("\n")
