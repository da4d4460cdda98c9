"""A value of a JSON document that knows where it stands, so that whatever is wrong with it can be told in one line."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import re
    from collections.abc import Collection

_LONGEST = 500  # characters of a name; a text may be longer
_LARGEST = 10**18
_KEPT = frozenset("\n\t")


class ValueFault(Exception):  # noqa: N818 - the error that a person sees is made of it
    """What is wrong with a value, after where it stands."""


@dataclass(frozen=True, slots=True)
class Value:
    """A JSON value and where it stands: `entries[3].digest`. Its methods raise ValueFault for other shapes."""

    data: Any
    where: str

    @property
    def is_missing(self) -> bool:
        """Whether it is null, or not there at all."""
        return self.data is None

    def fault(self, message: str) -> ValueFault:
        """Return the error that points here."""
        return ValueFault(f"{self.where}: {message}")

    def open(self, known: Collection[str]) -> Value:
        """Return this object when it has none but the known keys."""
        if not isinstance(self.data, dict):
            raise self.fault("is missing" if self.is_missing else "an object should stand here")
        for key in self.data:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                more = f"; did you mean {near[0]}?" if near else f": there are {', '.join(known)}"
                raise self.fault(f"unknown key {key[:_LONGEST]!r}{more}")
        return self

    def at(self, key: str) -> Value:
        """Return what a key of this object leads to."""
        return Value(self.data.get(key), f"{self.where}.{key}" if self.where != "the file" else key)

    def items(self) -> list[Value]:
        """Return the items of a list; a list that is missing is empty."""
        if self.is_missing:
            return []
        if not isinstance(self.data, list):
            raise self.fault("a list should stand here")
        return [Value(item, f"{self.where}[{number}]") for number, item in enumerate(self.data)]

    def name(self) -> str:
        """Return a text of one line that is not empty and has nothing in it that cannot be seen."""
        text = self._string()
        if not text.strip() or not text.isprintable() or len(text) > _LONGEST:
            raise self.fault(f"should be one line of 1 to {_LONGEST} printable characters, and is {text[:60]!r}")
        return text

    def text(self) -> str:
        """Return a text of any length and lines; what cannot be printed, such as a terminal's colours, is replaced."""
        kept = (it if it.isprintable() or it in _KEPT else "\N{REPLACEMENT CHARACTER}" for it in self._string())
        return "".join(kept)

    def match(self, pattern: re.Pattern[str], like: str) -> str:
        """Return a name that has a certain form; `like` shows it."""
        text = self.name()
        if not pattern.fullmatch(text):
            raise self.fault(f"should be like {like}, and is {text[:60]!r}")
        return text

    def whole(self) -> int:
        """Return a whole number that is not negative."""
        if isinstance(self.data, int) and not isinstance(self.data, bool) and 0 <= self.data < _LARGEST:
            return self.data
        raise self.fault("is missing" if self.is_missing else "should be a whole number, not negative")

    def _string(self) -> str:
        if not isinstance(self.data, str):
            raise self.fault("is missing" if self.is_missing else "a text should stand here")
        return self.data
