"""Read the channels and package specs of a definition: conda, pip and apt each have their own notation."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from builder.credentials import has_credentials, hide_credentials
from builder.definition_values import BadValueError, read_text
from builder.definition_yaml import quote

if TYPE_CHECKING:
    from builder.definition_yaml import Value

_CONDA_SPEC = re.compile(
    r"(?:[A-Za-z0-9_./:-]+::)?(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]*)"
    r"(?: *[=<>!~]{1,3} *[\w*][=<>!~,|*+.\w -]*(?<=[\w*])| +[\d*][=<>!~,|*+.\w-]*(?: +[\w*.-]+)?|\[[^\[\]]+\])?"
)
_APT_SPEC = re.compile(r"(?P<name>[a-z0-9][a-z0-9+.-]+)(?::[a-z0-9-]+)?(?:=[A-Za-z0-9.+:~-]+)?(?:/[a-z0-9.-]+)?")
_RELEASE = r" *(?:[=!]=|[<>]=?) *[0-9]+(?:\.[0-9]+)*"
_PLAIN_PIP_SPEC = re.compile(rf"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?:{_RELEASE}(?: *,{_RELEASE})*)?")
_TORCH = {"torch", "pytorch", "libtorch", "pytorch-cpu", "pytorch-gpu", "pytorch-cuda", "pytorch-mutex", "cpuonly"}


def read_channel(value: Value) -> str:
    """Return a conda channel: a name, or a URL without credentials."""
    text = _read_public(value, "a channel")
    if text == "nodefaults":
        raise BadValueError("nodefaults is not a channel", "remove it: defaults is only used when it is listed")
    if not re.fullmatch(r"(?:(?:https?|file|s3|oci)://[^\s?#]+|[A-Za-z0-9][A-Za-z0-9._/-]*)", text):
        raise BadValueError(f"{quote(text)} is not a channel", "write a name such as conda-forge, or a URL")
    return text


def needs_anaconda_terms(spec: str) -> bool:
    """Return whether Anaconda's Terms of Service cover a channel, or the channel that a conda spec names."""
    channel = spec.rpartition("::")[0] or spec
    return channel == "defaults" or channel.startswith("pkgs/") or "//repo.anaconda.com/" in channel


def read_conda_spec(value: Value) -> str:
    """Return a conda package spec, such as `numpy`, `numpy>=1.26,<2` or `conda-forge::numpy=1.26`."""
    text = _read_public(value, "a package").strip()
    found = _CONDA_SPEC.fullmatch(text)
    if not found:
        raise BadValueError(f"{quote(text)} is not a conda package spec", 'write it like numpy, or "numpy>=1.26,<2"')
    if found["name"] != found["name"].lower():
        hint = f"write {text.replace(found['name'], found['name'].lower())}"
        raise BadValueError(f"{quote(text)}: conda's names are lower case", hint)
    _refuse_torch(found["name"])
    if found["name"] == "python":
        hint = "remove it; list versions under matrix.python"
        raise BadValueError("python is listed as a package: it comes from the matrix", hint)
    return text


def read_pip_spec(value: Value) -> str:
    """Return a PEP 508 requirement, without credentials."""
    text = _read_public(value, "a package").strip()
    if text.startswith("-"):
        hint = "list packages only; indexes are settings of the machine"
        raise BadValueError(f"{quote(text)} is an option of pip", hint)
    if "://" in text:
        # A build installs by name, version and hash from an index: only so can a mirror stand in for it.
        hint = "write name and version; a wheel of your own belongs on an index that the sources name"
        raise BadValueError(f"{quote(hide_credentials(text))} is an address, not a release", hint)
    try:
        name = name_pip(text).partition(";")[0]
        if re.search(r"===\s*(?:[,;)]|$)", text):  # packaging takes an empty version for one
            raise ValueError(text)
    except ValueError:
        raise BadValueError(f"{quote(text)} is not a pip requirement", 'write it like tqdm, or "tqdm>=4.66"') from None
    _refuse_torch(name)
    return text


def read_apt_spec(value: Value) -> str:
    """Return a Debian package, with an optional `:arch`, `=version` or `/release`."""
    text = read_text(value)
    if not _APT_SPEC.fullmatch(text):
        raise BadValueError(f"{quote(text)} is not a Debian package", "write it like git, or git=1:2.39.5-0+deb12u2")
    return text


def name_conda(spec: str) -> str:
    """Return the name in a conda spec."""
    return re.split(r"[ =<>!~\[]", spec.rpartition("::")[2], maxsplit=1)[0]


def name_pip(spec: str) -> str:
    """Return the normalized name in a pip requirement, with its marker: both sides of a marker may be listed.

    Raises ValueError when it is none. Plain requirements, most of all there are, are told without packaging's
    parser: to import it takes as long as everything else that reads a project.
    """
    if found := _PLAIN_PIP_SPEC.fullmatch(spec):
        return re.sub(r"[-_.]+", "-", found["name"]).lower()  # packaging.python.org, "Names and normalization"
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    requirement = Requirement(spec)
    return canonicalize_name(requirement.name) + (f";{requirement.marker}" if requirement.marker else "")


def name_apt(spec: str) -> str:
    """Return the name in an apt spec."""
    return re.split(r"[:=/]", spec, maxsplit=1)[0]


def _refuse_torch(name: str) -> None:
    if name in _TORCH:
        hint = "remove it; say  torch: auto  under matrix:"
        raise BadValueError(f"{name} is listed as a package: torch comes from the matrix", hint)


def _read_public(value: Value, what: str) -> str:
    text = read_text(value)
    if has_credentials(text):
        hint = "remove them; credentials are settings of the machine (netrc)"
        raise BadValueError(f"{what} carries credentials in its URL", hint)
    return text
