"""The image.yaml that does what a file of another tool asks for."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from packaging.version import Version

from builder.compat_table import load_builds
from builder.definition_packages import name_conda, name_pip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.adopt.wishes import Wishes

_PLAIN = re.compile(r"[A-Za-z0-9][\w.+-]*(?:[<>=!~ ]*[\w.*+,<>=!~-]+)?")


def write_definition(name: str, wishes: Wishes, *, base: str, origin: str) -> str:
    """Return the text of a definition; `origin` is the name of the file that it was made from."""
    return "\n".join(_list_lines(name, wishes, base, origin)) + "\n"


def _list_lines(name: str, wishes: Wishes, base: str, origin: str) -> Iterator[str]:
    python, cuda = wishes.python, wishes.cuda or ("12.6" if wishes.has_torch else "cpu")
    yield f"# Made by `imgbuild init` from {origin}."
    yield f"name: {name}"
    yield f"base: {base}"
    yield "matrix:"
    yield f'  python: ["{python or _find_newest_python(wishes, cuda)}"]'
    yield f"  cuda: [{cuda if cuda == 'cpu' else json.dumps(cuda)}]"
    torch = json.dumps(wishes.torch) if wishes.torch else ("auto" if wishes.has_torch else "none")
    yield f"  torch: {torch}"
    channels = [channel for channel in dict.fromkeys(wishes.channels) if channel not in {"pytorch", "nvidia"}]
    yield f"channels: [{', '.join(map(_quote, channels or ['conda-forge']))}]"
    for key, specs, name_of in (("conda", wishes.conda, name_conda), ("pip", wishes.pip, name_pip)):
        unique = {name_of(spec): spec for spec in specs}
        if unique:
            yield f"{key}:"
            yield from (f"  - {_quote(spec)}" for spec in unique.values())
    if wishes.env:
        yield "env:"
        yield from (f"  {key}: {json.dumps(value)}" for key, value in sorted(wishes.env.items()))


def _find_newest_python(wishes: Wishes, cuda: str) -> Version:
    """Return the newest Python that a torch for the CUDA exists for; that of any torch where none is wanted."""
    wanted = None if cuda == "cpu" else Version(cuda)
    builds = [it for it in load_builds() if it.known and (not wishes.has_torch or it.cuda == wanted)]
    fitting = [it for it in builds if wishes.torch is None or it.torch == Version(wishes.torch)] or builds
    return max(python for build in fitting or load_builds() for python in build.python)


def _quote(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else json.dumps(text)
