"""Read the variables of an image or of a base's conda; or say which have no place there, and why."""

from __future__ import annotations

import re
from functools import partial

from builder.credentials import has_credentials
from builder.definition_values import BadKeyError, BadValueError, read_each
from builder.definition_yaml import Unquoted, Value, quote

_SECRET = re.compile(
    r"(?:^|_)(?:TOKENS?|(?:PG)?PASSWORDS?|PASSWD|PASSPHRASE|(?:SSH)?PASS|PAT|SECRETS?|CREDENTIALS?"
    r"|(?:API|ACCESS|PRIVATE)_?KEYS?)(?:_|$)|_PWD$|(?<!GPG)_KEY$",
    re.IGNORECASE,
)
_HARMLESS = re.compile(r"\d{0,5}|true|false|yes|no|on|off", re.IGNORECASE)
"""No secret, whatever its name; `logs_in` of builder/checks/scripts/leftovers.py says so too."""
_FOREIGN = (  # what an image sets itself, and what belongs to the machine that builds it
    r"PATH|HOME|CONDA_PREFIX|PYTHON(?:HOME|PATH|OPTIMIZE)|LD_PRELOAD|PIP_.*|(?:.*_)?(?:proxy|PROXY)"
    r"|SSL_CERT_(?:FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|AWS_CA_BUNDLE|NODE_EXTRA_CA_CERTS|GIT_SSL_.*"
    r"|UV_(?:(?:DEFAULT_|EXTRA_)?INDEX(?!_STRATEGY).*|FIND_LINKS)|CONDARC|NETRC"
)


def read_env(value: Value) -> tuple[tuple[str, str], ...]:
    """Return an image's variables, sorted by name; a secret has no place in it, nor have conda's settings."""
    return _read_variables(value, re.compile(rf"{_FOREIGN}|(?:CONDA|MAMBA)_.*"))


def read_conda_env(value: Value) -> tuple[tuple[str, str], ...]:
    """Return the variables that a base's conda runs with, sorted by name; its own settings among them."""
    return _read_variables(value, re.compile(_FOREIGN))


def _read_variables(value: Value, refused: re.Pattern[str]) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict) or not value:
        raise BadValueError("is not a mapping of names to values", "write  NAME: value  lines")
    return tuple(sorted(read_each(partial(_read_variable, refused), value.items())))


def _is_secret(name: str, text: str) -> bool:
    return bool(_SECRET.search(name)) and not (
        _HARMLESS.fullmatch(text) or (text.isdigit() and "TOKENS" in name.upper())
    )


def _read_variable(refused: re.Pattern[str], name: str, value: Value) -> tuple[str, str]:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise BadKeyError(f"{quote(name)} cannot name a variable", "use letters, digits and _")
    text = value.text if isinstance(value, Unquoted) else value
    if isinstance(text, str) and (has_credentials(text) or _is_secret(name, text)):
        hint = "remove it: everyone who pulls the image could read it; pass it to docker run --env"
        raise BadKeyError(f"{name} looks like a secret", hint)
    if refused.fullmatch(name):
        hint = "remove it: the image sets it itself, or it belongs to a machine; docker run --env sets it for one run"
        raise BadKeyError(f"{name} is not for a definition to set", hint)
    if not isinstance(text, str) or "\n" in text:
        raise BadValueError("is not one line of text", 'write one line; for an empty value, ""')
    return name, text
