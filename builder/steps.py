"""How one layer is installed: the package lists that its step mounts, and the commands that it runs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.artifacts import Kind, Need
from builder.channels import TORCH_WHEELS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from builder.artifacts import Artifact
    from builder.definition import Base
    from builder.layers import Layer

PREFIX = "/opt/env"
"""Where every cell's environment lives, in every image: a layer's bytes may not depend on which image it is in."""

NEUTRAL = f"{PREFIX}/lib/neutral"
"""Where wheels are unpacked that belong to no Python version."""

_ORDER = (Need.RUNTIME, Need.NONE, Need.PYTHON, Need.PYTHON_NEEDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One RUN: `lists` are the files of the folder that it mounts at /build, `mounts` its other mounts."""

    folder: str
    lists: tuple[tuple[str, bytes], ...]
    mounts: tuple[str, ...]
    commands: tuple[str, ...]


def make_step(layer: Layer, base: Base) -> Step:
    """Return the step that installs a layer on a base; the same layer gives the same text in every image."""
    lists = {
        "neutral.txt": _pip_list(_pick(layer, Kind.NEUTRAL)),
        "conda.txt": _conda_list(sort_by_dependency(_pick(layer, Kind.CONDA))),
        "pip.txt": _pip_list(_pick(layer, Kind.WHEEL)),
        "links.txt": "".join(f"{link.name}=={link.version}\n" for link in _pick(layer, Kind.LINK)).encode(),
    }
    present = {name: data for name, data in lists.items() if data}
    return Step(
        folder=f"layers/{layer.id}",
        lists=tuple(present.items()),
        mounts=tuple(_list_mounts(base)),
        commands=tuple(_list_commands(base, set(present))),
    )


def sort_by_dependency(packages: Iterable[Artifact]) -> tuple[Artifact, ...]:
    """Return conda packages with dependencies before dependents, by name where there is a choice.

    Conda's metadata has cycles (python asks for pip, pip for python): the edge that closes one is dropped.
    """
    first = sorted(packages, key=lambda artifact: (_ORDER.index(artifact.need), artifact.name))
    by_name = {artifact.name: artifact for artifact in first}
    ordered: dict[str, Artifact] = {}
    entered: set[str] = set()

    def visit(name: str) -> None:
        if name not in by_name or name in entered:
            return
        entered.add(name)
        for needed in sorted(by_name[name].needs):
            if (name, needed) != ("python", "pip"):
                visit(needed)
        ordered[name] = by_name[name]

    for name in by_name:
        visit(name)
    return tuple(ordered.values())


def _pick(layer: Layer, kind: Kind) -> list[Artifact]:
    return sorted((it for it in layer.artifacts if it.kind is kind), key=lambda artifact: artifact.name)


def _conda_list(packages: tuple[Artifact, ...]) -> bytes:
    if not packages:
        return b""
    lines = [f"{package.url}#{'sha256:' if len(package.digest) == 64 else ''}{package.digest}" for package in packages]
    return "\n".join(["@EXPLICIT", *lines, ""]).encode()


def _pip_list(wheels: list[Artifact]) -> bytes:
    if not wheels:
        return b""
    indexes = sorted({wheel.index for wheel in wheels if wheel.index})
    lines = [f"--extra-index-url {TORCH_WHEELS}/{index}" for index in indexes]
    lines += ["--only-binary :all:"]
    lines += [f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.digest}" for wheel in wheels]
    return "\n".join([*lines, ""]).encode()


def _list_mounts(base: Base) -> Iterator[str]:
    yield "type=cache,id=imgbuild-cache,target=/cache,sharing=shared"
    match base.installer:
        case "rattler":
            yield "type=bind,from=installer,source=/installer,target=/installer"
        case "conda":
            # Conda notes in a history when it did what; its package cache is for one process at a time.
            yield f"type=bind,source=host/history,target={PREFIX}/conda-meta/history,rw"
            yield f"type=cache,id=imgbuild-conda-{base.key},target={base.pkgs_dir},sharing=locked"


def _list_commands(base: Base, lists: set[str]) -> Iterator[str]:
    yield ". /host/begin"
    match base.installer:
        case "rattler":
            yield from _list_fast_commands(base, lists)
        case "conda":
            yield from _list_own_commands(base, lists)
    yield f"sh /host/end {PREFIX} {base.pkgs_dir}"


def _list_fast_commands(base: Base, lists: set[str]) -> Iterator[str]:
    uv = "uv_pip install --no-deps --require-hashes"
    if "neutral.txt" in lists:
        yield f'{uv} --target {NEUTRAL} --python {base.python} --requirement "$(mirrored /build/neutral.txt)"'
    if "conda.txt" in lists:
        run = f"PYTHONPATH=/installer {base.python} /host/install.py"
        yield f'{run} {PREFIX} "$(mirrored /build/conda.txt)" /cache/rattler'
    if "pip.txt" in lists:
        yield f'{uv} --python {PREFIX}/bin/python --requirement "$(mirrored /build/pip.txt)"'
    if "links.txt" in lists:
        yield f"{PREFIX}/bin/python /host/neutral.py {PREFIX} /build/links.txt"


def _list_own_commands(base: Base, lists: set[str]) -> Iterator[str]:
    if "conda.txt" in lists:
        if base.environment:
            yield "export " + " ".join(f"{key}={value}" for key, value in base.environment)
        arguments = base.install.format(prefix=PREFIX, file='"$(mirrored /build/conda.txt)"')
        yield f"{base.conda} {arguments}"
    if "pip.txt" in lists:
        yield (
            f"{PREFIX}/bin/python -m pip install --quiet --no-compile --no-deps "
            '--require-hashes --requirement "$(mirrored /build/pip.txt)"'
        )
    if "conda.txt" in lists:
        yield f"{base.conda} {base.clean}"
