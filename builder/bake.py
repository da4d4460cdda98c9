"""Locked cells → a folder that `docker buildx bake` builds with any BuildKit: their contexts, and a file naming them.

The file says of each cell what a build here says to the engine, so that steps and layers are the same ones. It holds
nothing of this machine: settings reach a step as the same secret, from a file that a variable of bake's names.
Keys and variables: docs.docker.com/build/bake/reference.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from builder.context import write_context
from builder.engine import EXPORT
from builder.errors import ImgbuildError
from builder.files import write_whole
from builder.hostenv import SECRET
from builder.pipeline import image_ref, render_cell
from builder.render import find_epoch
from builder.tags import tag_waiting

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from builder.context import Context
    from builder.locked import LockedCell
    from builder.project import Project

FILE_NAME = "docker-bake.json"
"""One of the names that bake looks for by itself."""

SETTINGS = "IMGBUILD_SETTINGS"
"""The variable that names a file with the settings of a machine, as `hostenv.render_settings` returns them."""

NETWORK = "IMGBUILD_NETWORK"
"""The variable that names the network of build steps: buildx 0.29 takes the value of `--set *.network` for empty."""

_HEAD = {"//": "made by imgbuild bake"}  # what HCL's JSON syntax has for comments
_EVERYTHING = "default"
_PLATFORM = "linux/amd64"

# A secret that is empty would hide the context's neutral settings, so without a file there is none.
_SECRETS = f'${{{SETTINGS} == "" ? [] : ["id={SECRET},src=${{{SETTINGS}}}"]}}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a bake file says of one cell; `created` is in seconds since 1970. The cell's folder has the cell's name.

    `ref` is what an engine calls the image, `waiting` the tag under which it waits in a registry for its test.
    """

    cell: str
    image: str
    ref: str
    waiting: str
    created: int


def write_bake(project: Project, cells: Sequence[LockedCell], folder: Path, *, registry: str | None) -> Path:
    """Write the context of each cell to FOLDER/CELL and then a bake file beside them; return the file's path.

    Raises ImgbuildError when a file or folder there is not imgbuild's, or cannot be written.
    """
    path = folder / FILE_NAME
    contexts = {locked.id: render_cell(project, locked) for locked in cells}
    text = render_bake([_make_target(locked, contexts[locked.id]) for locked in cells], registry=registry)
    _require_own(path)
    for name, context in contexts.items():
        write_context(context, folder / name)
    try:
        write_whole(path, text)
    except OSError as error:
        raise ImgbuildError(f"cannot write {path}: {error.strerror}") from error
    return path


def render_bake(targets: Sequence[Target], *, registry: str | None) -> str:
    """Return a bake file: a target for each cell, a group for each image, and one, `default`, of all cells.

    With a registry (`host/path`) the images are pushed there, under tags that nobody uses, as nothing has checked
    them; without one, an engine that builds them keeps them.
    The same targets give the same text. Raises ImgbuildError where two names would be one.
    """
    images = tuple(dict.fromkeys(target.image for target in targets))
    names = _name_all([_EVERYTHING, *images, *(target.cell for target in targets)])
    groups = {_EVERYTHING: targets} | {image: [it for it in targets if it.image == image] for image in images}
    document = _HEAD | {
        "variable": {SETTINGS: {"default": ""}, NETWORK: {"default": "default"}},
        "group": {names[group]: {"targets": [names[it.cell] for it in own]} for group, own in groups.items()},
        "target": {names[target.cell]: _describe(target, registry) for target in targets},
    }
    return json.dumps(document, indent=1) + "\n"


def _make_target(locked: LockedCell, context: Context) -> Target:
    job = locked.job
    return Target(
        cell=locked.id,
        image=job.cell.image,
        ref=image_ref(job),
        waiting=tag_waiting(job, context),
        created=find_epoch(locked.environment),
    )


def _describe(target: Target, registry: str | None) -> dict[str, Any]:
    attributes = {"type": "image", **EXPORT} | ({"push": "true"} if registry else {})
    return {
        "context": target.cell,
        "args": {"SOURCE_DATE_EPOCH": str(target.created)},
        "platforms": [_PLATFORM],
        "network": f"${{{NETWORK}}}",
        "secret": _SECRETS,
        # It would name the base's mirror and put an index around each image, with a time in it.
        "attest": ["type=provenance,disabled=true"],
        "tags": [f"{registry}/{target.image}:{target.waiting}" if registry else target.ref],
        "output": [",".join(f"{key}={value}" for key, value in attributes.items())],
    }


def _name_all(names: Iterable[str]) -> dict[str, str]:
    """Return what bake calls groups and targets, all in one namespace: its names have no dots."""
    found: dict[str, str] = {}
    for name in names:
        plain = name.replace(".", "_")
        if other := next((key for key, value in found.items() if value == plain), None):
            message = f"{other} and {name} would both be called {plain} in a bake file"
            raise ImgbuildError(message, hint="give an image another name, or bake them one by one.")
        found[name] = plain
    return found


def _require_own(path: Path) -> None:
    try:
        own = _HEAD.items() <= json.loads(path.read_bytes()).items()
    except FileNotFoundError:
        return
    except (OSError, ValueError, AttributeError):
        own = False
    if not own:
        raise ImgbuildError(f"{path} is there and was not made by imgbuild", hint="choose another --output.")
