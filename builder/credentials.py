"""The credentials that an address carries, whatever file it stands in. Pure."""

from __future__ import annotations

import re

# User information, with a password whatever the scheme, even one with a slash that nobody escaped, which makes a port
# that is no number; conda's tokens (docs.anaconda.com, "Using tokens").
_LOGIN = re.compile(
    r"(?i:(?<=http://)|(?<=https://)|(?<=ftp://)|(?<=s3://))[^/\s]*@"
    r"|(?<=//)(?!\[)[^/\s@:]*:(?!\d*(?:[/?#,]|$))\S{0,300}@(?!sha256:)"
)
_TOKEN = re.compile(r"(/t/)[^/\s]+(?=/)|(://\S{0,300}/t/)tk-[^/\s]+")


def hide_credentials(text: str) -> str:
    """Return the text with the user, password or token of every URL in it replaced by stars."""
    return _TOKEN.sub(lambda found: f"{found[1] or found[2]}***", _LOGIN.sub("***@", text))


def has_credentials(text: str) -> bool:
    """Return whether a URL in the text carries a user, a password or a conda token."""
    return bool(_LOGIN.search(text) or _TOKEN.search(text))
