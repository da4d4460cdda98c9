"""What a file of another tool asks for: what a definition has a place for, and what it has none for. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from builder.adopt.merging import merge_conda, merge_pip
from builder.adopt.ranges import Range, read_range
from builder.adopt.redaction import redact
from builder.definition_env import read_env
from builder.definition_packages import (
    name_conda,
    name_pip,
    needs_anaconda_terms,
    read_channel,
    read_conda_spec,
    read_pip_spec,
)
from builder.definition_values import BadValueError, BadValuesError

if TYPE_CHECKING:
    from builder.adopt.place import Place

LINUX = {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64", "os_name": "posix"}
_TORCH = {"torch", "pytorch", "pytorch-gpu", "pytorch-cpu"}
_TRIO = {"torchvision", "torchaudio"}
_CUDA = {"pytorch-cuda", "cudatoolkit", "cuda-version", "cuda-toolkit", "cuda"}
_TERMS = "it is under Anaconda's Terms of Service: who accepts them adds it, and  accept-anaconda-terms: true"
_BRACKETS = re.compile(r"(?P<name>[^\s\[\]]+)\[(?P<keys>[^\[\]]+)\]")
_KEY = re.compile(r"""\s*(version|build|channel)\s*=\s*(?:'([^']*)'|"([^"]*)"|([^\s,'"]+))\s*(?:,|$)""")
_SPEC = re.compile(r"(?:(?P<channel>\S+)::)?(?P<name>[\w.-]+)\s*(?P<rest>.*)")
_WHOLE = re.compile(r"(?:==?)?\s*(\d+\.\d+\.\d+)(?:\.\*)?(?:[= ][^,|<>]*)?$")
_VARIANT = re.compile(r"cu(\d+)(\d)$")


@dataclass(slots=True, kw_only=True)
class Wishes:
    """What is asked for, while a file is read. `left` tells what has no place in a definition, and why.

    `has_anaconda` tells that channels of Anaconda's own are among what is left.
    """

    channels: list[str] = field(default_factory=list)
    has_anaconda: bool = False
    conda: list[str] = field(default_factory=list)
    pip: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    python: str | None = None
    pythons: list[Range] = field(default_factory=list)
    torch: str | None = None
    has_torch: bool = False
    torches: list[Range] = field(default_factory=list)
    cuda: str | None = None
    cudas: list[Range] = field(default_factory=list)
    left: list[tuple[Place, str, str]] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was found in the file, not even what is left out."""
        return not (
            self.conda
            or self.pip
            or self.python
            or self.pythons
            or self.has_torch
            or self.cuda
            or self.cudas
            or self.env
            or self.left
        )

    @property
    def base(self) -> str:
        """The base whose conda has the channels that the file names, as far as it has only those.

        Miniconda's has Anaconda's own (github.com/anaconda/docker-images), Miniforge's has conda-forge
        (github.com/conda-forge/miniforge), which is also where a definition's packages come from unless it says more.
        """
        named = {channel.rstrip("/").rpartition("/")[2] for channel in self.channels}
        return "miniconda" if self.has_anaconda and "conda-forge" not in named else "miniforge"

    def leave(self, place: Place, text: str, why: str) -> None:
        """Note what is left out, without the credentials in it: what is noted is shown."""
        self.left.append((place, redact(text), why))

    def add_channel(self, channel: str, place: Place) -> None:
        """Take a conda channel: a name or a URL. `nodefaults` says what a definition does anyway."""
        if channel == "nodefaults":
            return
        try:
            read_channel(channel)
        except BadValueError as error:
            self.leave(place, f"channel {channel}", f"{error.message}: {error.hint}")
            return
        if needs_anaconda_terms(channel):
            self.leave(place, f"channel {channel}", _TERMS)
            self.has_anaconda = True
        else:
            self.channels.append(channel)

    def add_conda(self, spec: str, place: Place) -> None:
        """Take a conda spec: `numpy`, `numpy=1.26`, `pytorch::pytorch=2.1`, `python >=3.10,<3.13`."""
        found = _SPEC.fullmatch(_write_plain(spec.split(" #", 1)[0].strip()))
        if not found:
            self.leave(place, spec, "it is no conda spec")
            return
        name, rest = found["name"].lower(), found["rest"].strip()
        if name == "python":
            self.python = _find_minor(rest) or self.python
            self._ask(self.pythons, rest, place, spec, parts=2)
        elif name in _TORCH:
            self._ask_torch(rest, place, spec)
            variant = re.search(r"cuda(\d+\.\d+)|cuda(\d+)(\d)(?!\d)", rest)
            if name == "pytorch-cpu" or re.search(r"[= *_]cpu[_*]", rest):
                self.cuda = "cpu"
            elif variant:
                self.cuda = variant[1] or f"{variant[2]}.{variant[3]}"
        elif name in _CUDA:
            self.ask_cuda(rest, place, spec)
        elif name in _TRIO:
            self.leave(place, spec, "imgbuild takes the one that belongs to the torch of each cell")
            self._take_pip(name, place)
        elif name in {"cpuonly", "pip", "pytorch-mutex"}:
            self.cuda = "cpu" if name == "cpuonly" else self.cuda
        else:
            channel = f"{found['channel']}::" if found["channel"] else ""
            if needs_anaconda_terms(channel):
                self.leave(place, f"the channel of {spec}", _TERMS)
                channel = ""
            self._take_conda(f"{channel}{name}{_join_spec(rest)}", place)

    def add_pip(self, text: str, place: Place) -> None:
        """Take a pip requirement; its marker is judged for Linux."""
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            self.leave(
                place, text, "a definition has only names and versions: publish it as a wheel, or install it later"
            )
            return
        if requirement.url:
            self.leave(place, text, "a lock holds wheels of an index only: publish it as a wheel, or install it later")
            return
        marker = requirement.marker
        if marker and "python_" not in str(marker) and not marker.evaluate(LINUX):
            self.leave(place, text, "its marker does not hold on Linux")
            return
        name = canonicalize_name(requirement.name)
        pinned = next((it.version for it in requirement.specifier if it.operator in {"==", "==="}), None)
        local = Version(pinned).local if pinned and "*" not in pinned else None
        if local and (found := _VARIANT.fullmatch(local)):
            self.cuda = f"{found[1]}.{found[2]}"
        elif local == "cpu":
            self.cuda = "cpu"
        if name == "torch":
            self._ask_torch(re.sub(r"===?", "==", re.sub(r"\+[\w.]+", "", str(requirement.specifier))), place, text)
        elif name in _TRIO:
            if pinned:
                self.leave(place, text, "imgbuild takes the version that belongs to the torch of each cell")
            self._take_pip(name, place)
        elif name.startswith("nvidia-") or name in {"triton", "pytorch-triton"}:
            self.leave(place, text, "torch brings the one that it needs")
        else:
            self._take_pip(re.sub(r"\s+", " ", str(requirement)), place)

    def add_variable(self, name: str, value: str, place: Place) -> None:
        """Take a variable; of one that a definition refuses, the name alone is told."""
        try:
            self.env |= read_env({name: value})
        except BadValuesError as error:
            fault = error.faults[0]
            self.leave(place, name, f"{fault.message}: {fault.hint}")

    def add_index(self, url: str, place: Place) -> None:
        """Take the address of a pip index: PyTorch's own names a CUDA, any other is the machine's business."""
        found = re.search(r"/whl/(?:cu(\d+)(\d)|(cpu))/?$", url)
        if found:
            self.cuda = found[3] or f"{found[1]}.{found[2]}"
        else:
            where = "an index is a matter of the machine: name it in a --sources file"
            self.leave(place, url, where)

    def _take_conda(self, spec: str, place: Place) -> None:
        try:
            name = name_conda(read_conda_spec(spec))
        except BadValueError as error:
            self.leave(place, spec, f"{error.message}: {error.hint}")
            return
        at = next((number for number, it in enumerate(self.conda) if name_conda(it) == name), None)
        if at is None:
            self.conda.append(spec)
        elif merged := merge_conda(self.conda[at], spec):
            self.conda[at] = merged
        else:
            self.leave(place, spec, f"{self.conda[at]} is asked for as well, and no spec says both")

    def _take_pip(self, text: str, place: Place) -> None:
        try:
            name = name_pip(read_pip_spec(text))
        except BadValueError as error:
            self.leave(place, text, f"{error.message}: {error.hint}")
            return
        at = next((number for number, it in enumerate(self.pip) if name_pip(it) == name), None)
        if at is None:
            self.pip.append(text)
        else:
            self.pip[at] = merge_pip(self.pip[at], text)

    def ask_cuda(self, spec: str, place: Place, text: str) -> None:
        """Take a CUDA (`12.6`) or a range of them (`12`, `>=12.1,<13`); `text` is how it stands in the file."""
        if minor := _find_minor(spec):
            self.cuda = minor
        else:
            self._ask(self.cudas, spec, place, text, parts=2)

    def _ask_torch(self, spec: str, place: Place, text: str) -> None:
        self.has_torch = True
        if found := _WHOLE.match(spec):
            self.torch = found[1]
        else:
            self._ask(self.torches, spec, place, text, parts=3)

    def _ask(self, ranges: list[Range], spec: str, place: Place, text: str, *, parts: int) -> None:
        version = _split_build(spec)
        if version in {"", "*"}:
            return
        try:
            ranges.append(read_range(version, place, text, parts=parts))
        except ValueError:
            self.leave(place, text, "it is no version range that is known here")


def _write_plain(spec: str) -> str:
    """Return a spec with its brackets written out: `numpy[version=">=1.2"]` is `numpy >=1.2`.

    Unchanged where a key has no other notation (docs.conda.io, "Package match specifications").
    """
    found = _BRACKETS.fullmatch(spec)
    if not found or _KEY.sub("", found["keys"]).strip():
        return spec
    keys = {key: "".join(values) for key, *values in _KEY.findall(found["keys"])}
    channel = f"{keys['channel']}::" if "channel" in keys else ""
    return f"{channel}{found['name']} {keys.get('version', '*' if 'build' in keys else '')} {keys.get('build', '')}"


def _find_minor(spec: str) -> str | None:
    """Return major and minor of a version that a spec pins: of `=3.10`, `==3.10.4` and `3.10.* build`."""
    found = re.fullmatch(r"(?:==?)?\s*(\d+\.\d+)(?:\.(?:\d+|\*))*(?:[= ][^,|<>]*)?", spec)
    return found[1] if found else None


def _split_build(spec: str) -> str:
    """Return the version part of `>=1.2, <2 build*`, `=1.2=build` or `1.2 build`, without blanks."""
    tight = re.sub(r"\s*([,|]|[<>=!~]=?)\s*", r"\1", spec.strip())
    return re.sub(r"(?<=[\w*])=(?!=).*$", "", tight.split(" ", 1)[0])


def _join_spec(rest: str) -> str:
    """Return the version part of a conda spec as a definition writes it: `=1.26`, ` >=1.2,<2`."""
    if not rest:
        return ""
    if rest[0] == "[":
        return rest
    if rest[0] in "<>!~":
        return " " + re.sub(r"\s*,\s*", ",", rest)
    return rest if rest[0] == "=" else f"={'='.join(rest.split())}"
