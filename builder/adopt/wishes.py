"""What a file of another tool asks for: what a definition has a place for, and what it has none for. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from builder.adopt.conda_spec import find_minor, find_variant, join_spec, split_build, write_plain
from builder.adopt.markers import LINUX, is_about_python, is_judgeable
from builder.adopt.merging import merge_conda, merge_pip
from builder.adopt.ranges import Range, read_range, write_public
from builder.adopt.reasons import NO_WHEEL
from builder.adopt.redaction import redact
from builder.adopt.torch_wheel import read_torch_wheel
from builder.compat import TRIO
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

TORCH = {"torch", "pytorch", "pytorch-gpu", "pytorch-cpu"}
_RUNTIMES = {"pytorch-cuda", "cudatoolkit", "cuda-version", "cuda-toolkit", "cuda"}
_BROUGHT = re.compile(
    r"triton|pytorch-triton|nvidia-(?:cublas|cuda-(?:cupti|nvrtc|runtime)|cudnn|cufft|cufile|curand|cusolver|cusparse"
    r"|cusparselt|nccl|nvjitlink|nvshmem|nvtx)(?:-cu\d+)?"
)
"""The wheels that torch's own depend on (their metadata, torch 1.13 to 2.9)."""

_TERMS = "it is under Anaconda's Terms of Service: who accepts them adds it, and  accept-anaconda-terms: true"
_ROCM = "imgbuild makes images for NVIDIA's GPUs and for the CPU"
_SPEC = re.compile(r"(?:(?P<channel>\S+)::)?(?P<name>[\w.-]+)\s*(?P<rest>.*)")
_WHOLE = re.compile(r"(?:==?)?\s*([0-9]{1,4}(?:\.[0-9]{1,4}){2})(?:\.\*)?(?:[= ][^,|<>]*)?$")
_FILE = re.compile(r"\.(?:whl|zip|tar\.\w+)$")
_LABEL = re.compile(r"/label/cuda-([0-9]{1,2}\.[0-9]{1,2})")
_INDEX = re.compile(
    r"/whl/(?:(?P<early>nightly|test)/)?(?:cu(?P<major>[0-9]{1,2})(?P<minor>[0-9])|(?P<cpu>cpu))(?:/|$)"
)
_LOCAL = re.compile(r"\+(?:cu(?P<major>[0-9]{1,2})(?P<minor>[0-9])|(?P<cpu>cpu)|(?P<rocm>rocm[\d.]*))(?:$|,)")


@dataclass(slots=True, kw_only=True)
class Wishes:
    """What is asked for, while a file is read; packages by name. `left` tells what a definition has no place for.

    `requirements`, `marked`, `runtimes`, `brought` and `trio` are what only the whole file tells the meaning of: all
    pip requirements, those of torch with a marker on Python, conda packages of CUDA, wheels that torch depends on, and
    the versions of torchvision and torchaudio. `has_anaconda` tells that channels of Anaconda's own are among what is
    left.
    """

    channels: dict[str, Place] = field(default_factory=dict)
    has_anaconda: bool = False
    conda: dict[str, str] = field(default_factory=dict)
    pip: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    python: str | None = None
    pythons: list[Range] = field(default_factory=list)
    torch: str | None = None
    has_torch: bool = False
    torches: list[Range] = field(default_factory=list)
    cuda: str | None = None
    cudas: list[Range] = field(default_factory=list)
    requirements: list[Requirement] = field(default_factory=list)
    marked: list[tuple[Requirement, Place, str]] = field(default_factory=list)
    runtimes: list[tuple[str, str, Place]] = field(default_factory=list)
    brought: list[tuple[str, Place]] = field(default_factory=list)
    trio: list[tuple[str, Range]] = field(default_factory=list)
    left: list[tuple[Place, str, str]] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was found that a definition has a place for."""
        return not (
            self.conda
            or self.pip
            or self.python
            or self.pythons
            or self.has_torch
            or self.cuda
            or self.cudas
            or self.env
        )

    @property
    def base(self) -> str:
        """The base whose conda has the channels that the file names, as far as it has only those.

        Miniconda's has Anaconda's own (github.com/anaconda/docker-images), Miniforge's has conda-forge
        (github.com/conda-forge/miniforge), which is also where a definition's packages come from unless it says more.
        """
        return "miniconda" if self.has_anaconda and "conda-forge" not in self.channel_names else "miniforge"

    @property
    def channel_names(self) -> set[str]:
        """The channels' names, which for an address is its last part."""
        return {channel.rstrip("/").rpartition("/")[2] for channel in self.channels}

    def leave(self, place: Place, text: str, why: str) -> None:
        """Note what is left out, on one line and without the credentials in it: what is noted is shown."""
        self.left.append((place, redact(" ".join(text.split())), redact(why)))

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
            self.channels.setdefault(channel, place)

    def add_conda(self, spec: str, place: Place) -> None:
        """Take a conda spec: `numpy`, `numpy=1.26`, `pytorch::pytorch=2.1`, `python >=3.10,<3.13`."""
        found = _SPEC.fullmatch(write_plain(spec.split(" #", 1)[0].strip()))
        if not found:
            self.leave(place, spec, "it is no conda spec")
            return
        name, rest, channel = found["name"].lower(), found["rest"].strip(), found["channel"] or ""
        if name == "python":
            self._ask_python(rest, place, spec)
        elif name in TORCH:
            self._ask_torch(rest, place, spec)
            self._ask_variant("cpu" if name == "pytorch-cpu" else find_variant(rest), place, spec)
        elif name in TRIO:
            self.leave(place, spec, "imgbuild takes the one that belongs to the torch of each cell")
            self._take_trio(name, rest, place, spec)
        elif name in {"cpuonly", "pip", "pytorch-mutex"}:
            if name == "cpuonly":
                self._set_cuda("cpu", place, spec)
            elif name == "pip" and rest:
                self.leave(place, spec, "each Python brings its pip")
        else:
            if needs_anaconda_terms(f"{channel}::"):
                self.leave(place, f"the channel of {spec}", _TERMS)
                channel = ""
            whole = f"{channel}::{name}{join_spec(rest)}" if channel else f"{name}{join_spec(rest)}"
            if name in _RUNTIMES:
                label = _LABEL.search(f"/{channel}")
                self.ask_cuda(rest or (label[1] if label else ""), place, spec)
                self.runtimes.append((name, whole, place))
            else:
                self.take_conda(whole, place)

    def add_pip(self, text: str, place: Place) -> None:
        """Take a pip requirement; its marker is judged for Linux."""
        wheel = read_torch_wheel(text)
        try:
            requirement = Requirement(wheel.requirement if wheel else text)
        except (ValueError, RecursionError):  # packaging reads brackets in brackets by recursion
            self.leave(
                place, text, "a definition has only names and versions: publish it as a wheel, or install it later"
            )
            return
        if requirement.url or _FILE.search(requirement.name):
            self.leave(place, text, NO_WHEEL)
            return
        marker, name = requirement.marker, canonicalize_name(requirement.name)
        if not is_judgeable(marker):
            self.leave(place, text, "its marker cannot be judged: correct it")
            return
        self.requirements.append(requirement)
        if is_about_python(marker):
            if name in TRIO | {"torch"}:
                self.marked.append((requirement, place, text))
                return
        elif marker and not marker.evaluate(LINUX):
            self.leave(place, text, "its marker does not hold on Linux")
            return
        if wheel:
            self.leave(place, text, "its version is taken, of an index: a lock holds no other wheels")
            if wheel.python:
                self._ask_python(f"={wheel.python}", place, text)
        self.take_requirement(requirement, place, text)

    def take_requirement(self, requirement: Requirement, place: Place, text: str) -> None:
        """Take a requirement whose marker holds, or is to be judged in the image."""
        name, specifier = canonicalize_name(requirement.name), str(requirement.specifier)
        if found := _LOCAL.search(specifier):
            if found["rocm"]:
                self.leave(place, text, _ROCM)
            else:
                self._set_cuda(found["cpu"] or f"{found['major']}.{found['minor']}", place, text)
        if requirement.extras and name in TRIO | {"torch"}:
            self.leave(place, text, "its extras are not taken: ask for their packages by name")
        if name == "torch":
            self._ask_torch(write_public(specifier), place, text)
        elif name in TRIO:
            if specifier:
                self.leave(place, text, "imgbuild takes the version that belongs to the torch of each cell")
            self._take_trio(name, write_public(specifier), place, text)
        elif _BROUGHT.fullmatch(name):
            self.brought.append((str(requirement), place))
        else:
            self.take_pip(re.sub(r"\s+", " ", str(requirement)), place)

    def add_variable(self, name: str, value: str, place: Place) -> None:
        """Take a variable; of one that a definition refuses, the name alone is told."""
        try:
            self.env |= read_env({name: value})
        except BadValuesError as error:
            fault = error.faults[0]
            self.leave(place, name, f"{fault.message}: {fault.hint}")

    def add_index(self, url: str, place: Place) -> None:
        """Take the address of a pip index: PyTorch's own names a CUDA, any other is the machine's business."""
        found = _INDEX.search(url)
        if found:
            self._set_cuda(found["cpu"] or f"{found['major']}.{found['minor']}", place, url)
        if not found:
            self.leave(place, url, "an index is a matter of the machine: name it in a --sources file")
        elif found["early"]:
            self.leave(place, url, "imgbuild takes torch as it was released")

    def take_conda(self, spec: str, place: Place) -> None:
        """Take a spec as a definition writes it; one of a package that is there already joins its."""
        try:
            name = name_conda(read_conda_spec(spec))
        except BadValueError as error:
            self.leave(place, spec, f"{error.message}: {error.hint}")
            return
        other = self.conda.get(name)
        if merged := merge_conda(other, spec) if other else spec:
            self.conda[name] = merged
        else:
            self.leave(place, spec, f"{other} is asked for as well, and no spec says both")

    def take_pip(self, text: str, place: Place) -> None:
        """Take a requirement as a definition writes it; one of a package that is there already joins its."""
        try:
            name = name_pip(read_pip_spec(text))
        except BadValueError as error:
            self.leave(place, text, f"{error.message}: {error.hint}")
            return
        self.pip[name] = merge_pip(self.pip[name], text) if name in self.pip else text

    def ask_cuda(self, spec: str, place: Place, text: str) -> None:
        """Take a CUDA (`12.6`) or a range of them (`12`, `>=12.1,<13`); `text` is how it stands in the file."""
        if minor := find_minor(spec):
            self._set_cuda(minor, place, text)
        else:
            self._ask(self.cudas, spec, place, text, parts=2)

    def _ask_variant(self, variant: str | None, place: Place, text: str) -> None:
        if variant == "cpu":
            self._set_cuda("cpu", place, text)
        elif variant == "rocm":
            self.leave(place, text, _ROCM)
        elif variant:
            self.ask_cuda(variant, place, text)

    def _set_cuda(self, cuda: str, place: Place, text: str) -> None:
        if self.cuda not in {None, cuda}:
            self._tell_other(f"CUDA {self.cuda}" if self.cuda != "cpu" else "the CPU", place, text)
        self.cuda = self.cuda or cuda

    def _take_trio(self, name: str, spec: str, place: Place, text: str) -> None:
        self.has_torch = True
        ranges: list[Range] = []
        self._ask(ranges, spec, place, text, parts=3)
        self.trio += [(name, it) for it in ranges]
        self.take_pip(name, place)

    def _ask_python(self, spec: str, place: Place, text: str) -> None:
        minor = find_minor(spec)
        if minor and self.python not in {None, minor}:
            self._tell_other(f"Python {self.python}", place, text)
            return
        self.python = minor or self.python
        self._ask(self.pythons, spec, place, text, parts=2)

    def _ask_torch(self, spec: str, place: Place, text: str) -> None:
        self.has_torch = True
        if not (found := _WHOLE.match(spec)):
            self._ask(self.torches, spec, place, text, parts=3)
        elif self.torch not in {None, found[1]}:
            self._tell_other(f"torch {self.torch}", place, text)
        else:
            self.torch = found[1]

    def _tell_other(self, taken: str, place: Place, text: str) -> None:
        self.leave(place, text, f"{taken} is asked for as well, and was taken: an image is of one")

    def _ask(self, ranges: list[Range], spec: str, place: Place, text: str, *, parts: int) -> None:
        version = split_build(spec)
        if version in {"", "*"}:
            return
        try:
            ranges.append(read_range(version, place, text, parts=parts))
        except ValueError:
            self.leave(place, text, "it is no version range that is known here")
