"""Which torch exists for a Python and a CUDA, where it comes from, and which driver and GPUs it needs.

A build that nobody verified is *unknown*: it is never chosen by itself, always said, and taken when its version is
asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.version import Version

from builder.compat_table import ALL_SOURCES, Driver, Source, TorchBuild, driver_for, load_builds, load_drivers

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

__all__ = [
    "ALL_SOURCES",
    "TRIO",
    "Driver",
    "Source",
    "TorchBuild",
    "driver_for",
    "find_builds",
    "has_kernels",
    "known_drivers",
    "measure_distance",
    "name_cuda",
    "name_driver",
    "name_pair",
    "nearest",
    "never_released",
    "runs_on",
    "why_not",
]


TRIO = frozenset({"torchvision", "torchaudio"})
"""What is released for one torch each."""


def find_builds(
    *,
    python: Version,
    cuda: Version | None,
    torch: Version | None = None,
    sources: Collection[Source] = ALL_SOURCES,
    arches: Collection[str] = (),
    trio: bool = False,
) -> tuple[TorchBuild, ...]:
    """Return the builds for a Python and a CUDA (None: CPU), newest torch first, then in the order of `Source`.

    Unknown builds are among them, after the known ones, only when `torch` asks for their version. `arches` keeps the
    builds that are known to run on all of those GPUs, `trio` those that torchvision and torchaudio go with.
    """
    found = [
        build
        for build in load_builds()
        if build.cuda == cuda
        and python in build.python
        and build.source in sources
        and (build.known if torch is None else build.torch == torch)
        and all(runs_on(build, arch) for arch in arches)
        and (not trio or _has_trio(build, python))
    ]
    return tuple(sorted(found, key=lambda build: not build.known))


def why_not(
    *,
    python: Version,
    cuda: Version | None,
    torch: Version | None = None,
    sources: Collection[Source] = ALL_SOURCES,
    arches: Collection[str] = (),
    trio: bool = False,
) -> str | None:
    """Return why there is no such build, naming the axis that rules it out, or None when there is one."""
    if find_builds(python=python, cuda=cuda, torch=torch, sources=sources, arches=arches, trio=trio):
        return None
    if never_released(cuda):
        return f"{name_cuda(cuda)} was never released"
    builds = [build for build in load_builds() if build.known or torch is not None]
    if torch is not None:
        if reason := _miss_torch(torch, cuda, builds):
            return reason
        builds = [build for build in builds if build.torch == torch]
    on_cuda = [build for build in builds if build.cuda == cuda]
    if not on_cuda:
        return f"no torch is known for {name_cuda(cuda)}: there is {_list_cudas(builds)}{_say_unknown(python, cuda)}"
    usable = [build for build in on_cuda if python in build.python]
    if not usable:
        return _miss_python(python, cuda, torch, on_cuda)
    paired = [build for build in usable if not trio or _has_trio(build, python)]
    if not paired:
        versions = ", ".join(sorted({f"torch {build.torch}" for build in usable}))
        return f"there is no torchvision and torchaudio for {versions}, {name_cuda(cuda)} and Python {python}"
    offered = [build for build in paired if build.source in sources]
    if not offered:
        places = ", ".join(sorted({build.source for build in paired}, key=ALL_SOURCES.index))
        return f"torch for {name_cuda(cuda)} and Python {python} comes from {places}, not from {', '.join(sources)}"
    missing = [arch for arch in arches if not any(runs_on(build, arch) for build in offered)] or arches
    return f"no torch for {name_cuda(cuda)} and Python {python} is known to run on {' and '.join(missing)}"


def nearest(
    *,
    python: Version,
    cuda: Version | None,
    torch: Version | None = None,
    sources: Collection[Source] = ALL_SOURCES,
) -> tuple[tuple[Version, Version | None], ...]:
    """Return the (Python, CUDA) pairs for which a known build exists, the nearest to the pair that was asked first."""
    pairs = {
        (candidate, build.cuda)
        for build in load_builds()
        if build.known and build.source in sources and torch in (None, build.torch)
        for candidate in build.python
    }
    return tuple(sorted(pairs, key=lambda pair: measure_distance((python, cuda), pair)))


def measure_distance(
    asked: tuple[Version, Version | None], other: tuple[Version, Version | None]
) -> tuple[bool, int, int, int]:
    """Return a sort key that grows with how much changes between two (Python, CUDA) pairs.

    A GPU image never stands in for a CPU one or the reverse, another CUDA major needs another driver family, and of
    two that are equally far the one with more recent versions comes first.
    """
    (asked_python, asked_cuda), (python, cuda) = asked, other
    steps = abs(asked_python.minor - python.minor)
    if asked_cuda is not None and cuda is not None:
        majors = abs(asked_cuda.major - cuda.major)
        steps += 10 * majors if majors else abs(asked_cuda.minor - cuda.minor)
    newness = 0 if cuda is None else 100 * cuda.major + cuda.minor
    return ((asked_cuda is None) != (cuda is None), steps, -newness, -python.minor)


def runs_on(build: TorchBuild, arch: str) -> bool | None:
    """Return whether the build has kernels, or PTX to make them from, for a GPU such as `sm_86`; None when unknown.

    A kernel runs on GPUs of its own major version and the same or a later minor one; PTX on every later GPU. What was
    made for the features of one architecture (`sm_90a`) runs on that alone, for those of a family (`sm_100f`) on the
    same or a later minor version, PTX or not: https://docs.nvidia.com/cuda/cuda-programming-guide/ (compute
    capabilities).
    """
    return None if build.arches is None else has_kernels(build.arches, arch)


def has_kernels(arches: Iterable[str], arch: str) -> bool:
    """Return whether kernels (`sm_80`) or PTX (`compute_120`) for these arches run on a GPU; see `runs_on`.

    Of the GPU's own name a suffix is not regarded: an H100 is `sm_90`, and `sm_90a` to those who use all of it.
    """
    major, minor, _ = _split_arch(arch)
    for offered in arches:
        offered_major, offered_minor, features = _split_arch(offered)
        if offered_major == major and (offered_minor == minor if features == "a" else offered_minor <= minor):
            return True
        if offered.startswith("compute_") and not features and offered_major < major:
            return True
    return False


def name_driver(driver: Version) -> str:
    """Return a driver version as NVIDIA writes it (`450.80.02`): a Version drops the leading zeros."""
    major, *rest = driver.release
    return ".".join([str(major), *(f"{part:02d}" for part in rest)])


def name_cuda(cuda: Version | None) -> str:
    """Return how a CUDA version is called in a sentence: `CUDA 11.8`, or `CPU`."""
    return "CPU" if cuda is None else f"CUDA {cuda}"


def name_variant(cuda: Version | None) -> str:
    """Return a CUDA as PyTorch's wheel indexes name it: `cu118`, or `cpu`."""
    return f"cu{cuda.major}{cuda.minor}" if cuda else "cpu"


def name_pair(python: Version, cuda: Version | None) -> str:
    """Return what names a Python on a CUDA in a tag: `cu118-py310`."""
    return f"{name_variant(cuda)}-py{python.major}{python.minor}"


def known_drivers() -> tuple[Version, ...]:
    """Return the drivers that came with a CUDA toolkit, or are the oldest for a major version of it; oldest first."""
    table = load_drivers()
    return tuple(sorted({*table.families.values(), *table.toolkits.values()}))


def never_released(cuda: Version | None) -> bool:
    """Return whether NVIDIA skipped that CUDA version."""
    return cuda in load_drivers().never_released


def _has_trio(build: TorchBuild, python: Version) -> bool:
    return build.python_trio is None or python in build.python_trio


def _miss_torch(torch: Version, cuda: Version | None, builds: list[TorchBuild]) -> str | None:
    """Return why a torch version has no build at all for a CUDA version, or None when it has one."""
    own = [build for build in builds if build.torch == torch]
    if not own:
        alike = sorted({build.torch for build in builds if build.torch.release[:2] == torch.release[:2]})
        known = ", ".join(map(str, alike)) if alike else f"{builds[-1].torch} to {builds[0].torch}"
        return f"torch {torch} is not in the compatibility table, which has {known}"
    if any(build.cuda == cuda for build in own):
        return None
    last = next((build.torch for build in builds if build.cuda == cuda and build.known), None)
    story = f"dropped {name_cuda(cuda)} after {last}" if last and last < torch else f"has no {name_cuda(cuda)}"
    return f"torch {torch} {story}: it has {_list_cudas(own)}"


def _miss_python(python: Version, cuda: Version | None, torch: Version | None, on_cuda: list[TorchBuild]) -> str:
    """Return why none of the builds for a CUDA version has that Python."""
    newest = on_cuda[0].torch
    pythons = _list_pythons(build for build in on_cuda if build.torch == newest)
    if torch is not None:
        return f"torch {torch} for {name_cuda(cuda)} has {pythons}, not {python}"
    return (
        f"no torch for {name_cuda(cuda)} has Python {python}: the last with {name_cuda(cuda)} is {newest}, "
        f"which has {pythons}{_say_unknown(python, cuda)}"
    )


def _say_unknown(python: Version, cuda: Version | None) -> str:
    unknown = [build for build in load_builds() if build.cuda == cuda and python in build.python and not build.known]
    return f"; torch {unknown[0].torch} for it is unknown: nobody verified it" if unknown else ""


def _list_cudas(builds: Iterable[TorchBuild]) -> str:
    cudas = {build.cuda for build in builds}
    return ", ".join([str(cuda) for cuda in sorted(filter(None, cudas))] + (["cpu"] if None in cudas else []))


def _list_pythons(builds: Iterable[TorchBuild]) -> str:
    pythons = frozenset[Version]().union(*(build.python for build in builds))
    first, last = min(pythons), max(pythons)
    return f"Python {first}" if first == last else f"Python {first}\N{EN DASH}{last}"


def _split_arch(arch: str) -> tuple[int, int, str]:
    """Return (major, minor, features) of `sm_86` or `compute_90a`."""
    version = arch.rpartition("_")[2]
    digits = version.rstrip("af")
    return int(digits[:-1]), int(digits[-1]), version[len(digits) :]
