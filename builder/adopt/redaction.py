"""Take the credentials out of a line of another tool's file before anybody is shown it."""

from __future__ import annotations

import re

# RFC 3986, 3.2: user information ends at the last @ of the authority. A password with a slash that nobody escaped
# makes a port that is no number; pip's --proxy needs no scheme.
_USER = re.compile(r"(?<=://)(?:[^/\s]*@|[^/\s@:]+:(?!\d*(?:/|$))\S*@)|(?<![^\s=])[^\s/@:=]+:(?!//)[^\s@]+@")
_TOKEN = re.compile(r"(?<=/t/)[^/\s]+")  # docs.anaconda.com, "Using tokens": a channel's token is part of its path
_QUERY = re.compile(r"(?<=\?)\S+")
_KEEP = r"(?:egg|subdirectory|sha256)="
_FRAGMENT = re.compile(rf"(?<=\S#)(?!{_KEEP})\S+|(?<=&)(?!{_KEEP})\S+")


def redact(text: str) -> str:
    """Return the text with an ellipsis for the user, password, token and query of every address in it."""
    shown = _TOKEN.sub("…", _USER.sub("…@", text))
    if "://" in shown or "#" in shown:
        shown = _QUERY.sub("…", shown)
    return _FRAGMENT.sub("…", shown)
