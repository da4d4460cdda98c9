"""The notations of a conda spec, and what they say of a version, a CUDA or a build. Pure.

Source: docs.conda.io, "Package match specifications".
"""

from __future__ import annotations

import re

_BRACKETS = re.compile(r"(?P<name>[^\s\[\]=<>!~]+)\s*(?P<version>[^\[\]]*)\[(?P<keys>[^\[\]]+)\]")
_KEY = re.compile(r"""\s*(version|build|channel)\s*=\s*(?:'([^']*)'|"([^"]*)"|([^\s,'"]+))\s*(?:,|$)""")
_OPERATOR = re.compile(r"\s*([,|]|[<>=!~]=?)\s*")
_CPU = re.compile(r"[= *_]cpu[_*]")
_CUDA = re.compile(r"cuda_?([0-9]{1,3})(?:\.([0-9]{1,2}))?(?![0-9])")


def write_plain(spec: str) -> str:
    """Return a spec with its brackets written out: `numpy[version=">=1.2"]` is `numpy >=1.2`.

    Unchanged where a key has no other notation.
    """
    found = _BRACKETS.fullmatch(spec)
    if not found or _KEY.sub("", found["keys"]).strip():
        return spec
    keys = {key: "".join(values) for key, *values in _KEY.findall(found["keys"])}
    channel, build = f"{keys['channel']}::" if "channel" in keys else "", keys.get("build", "")
    version = keys.get("version") or found["version"].strip()
    if build:
        version = re.sub(r"^=(?!=)(.*?)(?:\.?\*)?$", r"\1.*", version).removeprefix("==") or "*"
    return f"{channel}{found['name']} {version} {build}"


def find_minor(spec: str) -> str | None:
    """Return major and minor of a version that a spec pins: of `=3.10`, `==3.10.4` and `3.10.* build`."""
    found = re.fullmatch(r"(?:==?)?\s*([0-9]{1,2}\.[0-9]{1,2})(?:\.(?:[0-9]+|\*))*(?:[= ][^,|<>]*)?", spec)
    return found[1] if found else None


def find_variant(spec: str) -> str | None:
    """Return what a build of torch is for: `cpu`, a CUDA (`11.8` of `cuda118`, `12` of `cuda12*`), `rocm`, or None."""
    if _CPU.search(spec):
        return "cpu"
    if "rocm" in spec:
        return "rocm"
    if not (found := _CUDA.search(spec)):
        return None
    major, minor = found[1], found[2]
    if minor is None and len(major) > 2:
        major, minor = major[:-1], major[-1]
    return f"{major}.{minor}" if minor else major


def split_build(spec: str) -> str:
    """Return the version part of `>=1.2, <2 build*`, `=1.2=build` or `1.2 build`, without blanks."""
    version = re.sub(r"(?<=[\w*])=(?!=).*$", "", _tighten(spec).split(" ", 1)[0])
    return "*" if version in {"=*", "==*"} else version


def join_spec(rest: str) -> str:
    """Return the version part of a conda spec as a definition writes it: `=1.26`, ` >=1.2,<2`, ` 1.2|1.3`.

    A version without an operator is that one alone, so `1.26` is written `==1.26`.
    """
    if not rest or rest[0] == "[":
        return rest
    tight = _tighten(rest)
    if tight[0] in "<>!~":
        return f" {tight}"
    if tight[0] == "=":
        return tight
    version, _, build = tight.partition(" ")
    if "," in version or "|" in version:
        return f" {tight}"
    return f"={version}={build.strip()}" if build else f"{'=' if version.endswith('*') else '=='}{version}"


def _tighten(spec: str) -> str:
    return _OPERATOR.sub(r"\1", spec.strip())
