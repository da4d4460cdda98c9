"""Take what may be a credential out of a line of another tool's file before anybody is shown it."""

from __future__ import annotations

import re

# RFC 3986, 3.2: user information ends at the last @ of the authority. A password with a slash that nobody escaped
# makes a port that is no number; a proxy needs no scheme.
_USER = re.compile(r"(?<=://)(?:[^/\s]*@|[^/\s@:]+:(?!\d*(?:/|$))\S*@)|(?<![^\s=])[^\s/@:=]+:(?!//)[^\s@]+@")
_PATH = re.compile(r"(?P<host>://[^/?#\s]*)[/?#]\S+")


def redact(text: str) -> str:
    """Return the text with no more than the host of every address in it: package servers take tokens in the path."""
    return _PATH.sub(r"\g<host>/…", _USER.sub("", text))
