"""A cell and its layers → a build context: one standalone Dockerfile and the package lists that its steps mount.

Pure given the templates: no engine, no network, no settings of this machine. The same cell gives the same bytes.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import jinja2

from builder.compat import driver_for, name_driver
from builder.context import Context, ContextFile
from builder.errors import ImgbuildError
from builder.pins import list_pins
from builder.steps import PREFIX, make_step
from builder.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from builder.inputs import Job
    from builder.lock import Environment
    from builder.locked import LockedCell

LABEL = "dev.imgbuild"
_YEAR_10000 = 253_402_300_800
OCI = "org.opencontainers.image"
CONSTRAINTS = "/etc/imgbuild/constraints.txt"


@functools.lru_cache(maxsize=1)
def load_templates(project: Path) -> jinja2.Environment:
    """Return the templates: the project's own `templates/` first, then the ones that imgbuild ships."""
    package = Path(__file__).parent
    folders = [project / "templates", package / "templates", package.parent / "templates"]
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader([str(folder) for folder in folders if folder.is_dir()]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 (Dockerfiles, not HTML)
    )


def render_context(locked: LockedCell, *, templates: jinja2.Environment, checks: str) -> Context:
    """Return the build context of one cell; `checks` is the digest of the checks that the image has to pass.

    Raises ImgbuildError when a template of the project is broken.
    """
    job, definition, base = locked.job, locked.job.definition, locked.job.base
    steps = [make_step(layer, base) for layer in locked.layers]
    values: dict[str, Any] = {
        "cell": job.cell,
        "origin": f"images/{definition.name}/image.yaml",
        "base": base,
        "image": f"{base.ref}@{base.digest}" if base.digest else base.ref,
        "apt": definition.apt,
        "layers": [
            {"title": f"{locked.titles[layer.id]} ({format_bytes(layer.size)})", "step": step}
            for layer, step in zip(locked.layers, steps, strict=True)
        ],
        "prefix": PREFIX,
        "command": json.dumps(definition.command),
        "env": [(key, _quote(value)) for key, value in _variables(job)],
        "labels": [(key, _quote(value)) for key, value in list_labels(job, locked.environment, checks).items()],
    }
    files = [ContextFile(path=path, data=text.encode()) for path, text in _render(templates, values)]
    files += [ContextFile(path=f"{step.folder}/{name}", data=data) for step in steps for name, data in step.lists]
    files.append(ContextFile(path="cell/constraints.txt", data=_render_pins(locked.environment)))
    return Context(files=tuple(sorted(files, key=lambda file: file.path)))


def list_labels(job: Job, environment: Environment, checks: str) -> dict[str, str]:
    """Return the labels of a cell's image, in order; `checks` is the digest of the checks that it has to pass.

    They are what can be read before a pull. Keys: github.com/opencontainers/image-spec, annotations.md.
    """
    cell, base = job.cell, job.base
    labels = {
        f"{OCI}.title": cell.id,
        f"{OCI}.created": datetime.fromtimestamp(find_epoch(environment), UTC).isoformat(),
        f"{OCI}.base.name": base.ref,
        f"{OCI}.base.digest": base.digest,
    }
    facts = {"image": cell.image, "python": cell.python, "cuda": cell.cuda or "cpu", "torch": cell.torch}
    if cell.cuda and (driver := driver_for(cell.cuda).minimum):
        facts["driver"] = name_driver(driver)
    facts |= {"arches": " ".join(job.arches), "packages": digest_packages(environment), "checks": checks}
    labels |= {f"{LABEL}.{key}": str(value) for key, value in facts.items() if value}
    return {key: value for key, value in labels.items() if value}


def digest_packages(environment: Environment) -> str:
    """Return the digest (`sha256:…`) of exactly what the environment installs."""
    conda = [package.sha256 or package.md5 for package in environment.conda]
    hashes = sorted(conda + [wheel.sha256 for wheel in environment.pip])
    return "sha256:" + hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def find_epoch(environment: Environment) -> int:
    """Return when an image was created, in seconds since 1970: when its newest conda package was made.

    Not when it was built, so that the same lock gives the same image. 1980 where no package tells a time that is one.
    """
    told = [(package.timestamp or 0) // 1000 for package in environment.conda]
    return max((it for it in told if 0 < it < _YEAR_10000), default=315_532_800)


def _render(templates: jinja2.Environment, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    try:
        yield "Dockerfile", templates.get_template("Dockerfile.j2").render(values)
        for name in templates.list_templates():
            if PurePath(name).parent == PurePath("host") or name.startswith("image/"):  # not what Python leaves
                yield name, _source(templates, name)
    except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        where = f" line {error.lineno}" if isinstance(error, jinja2.TemplateSyntaxError) else ""
        raise ImgbuildError(
            f"template {error!r}{where}", hint="correct it in templates/, or remove it there."
        ) from error


def _source(templates: jinja2.Environment, name: str) -> str:
    loader = templates.loader
    return loader.get_source(templates, name)[0] if loader else ""


def _quote(value: str) -> str:
    # Inside double quotes a Dockerfile knows three special characters; a line is never continued there.
    return '"' + re.sub(r'(["$\\])', r"\\\1", value) + '"'


def _render_pins(environment: Environment) -> bytes:
    head = "# What `pip install` may not replace here: torch and its libraries, and what conda installed."
    return "".join(f"{line}\n" for line in (head, *list_pins(environment))).encode()


def _variables(job: Job) -> list[tuple[str, str]]:
    variables = [("PIP_CONSTRAINT", CONSTRAINTS), ("UV_CONSTRAINT", CONSTRAINTS)]
    if job.cell.cuda:
        # What NVIDIA's container toolkit reads from an image that is not based on nvidia/cuda:
        # https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html
        variables += [("NVIDIA_VISIBLE_DEVICES", "all"), ("NVIDIA_DRIVER_CAPABILITIES", "compute,utility")]
        # What the entrypoint says when the machine cannot serve the image.
        variables += [("IMGBUILD_CUDA", str(job.cell.cuda))]
        if driver := driver_for(job.cell.cuda).minimum:
            variables += [("IMGBUILD_DRIVER", name_driver(driver))]
    return [*variables, *job.definition.env]
