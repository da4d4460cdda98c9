"""A cell and its layers → a build context: one standalone Dockerfile and the package lists that its steps mount.

Pure given the templates: no engine, no network, no settings of this machine. The same cell gives the same bytes.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from builder.channels import TORCH_WHEELS
from builder.context import Context, ContextFile
from builder.errors import ImgbuildError
from builder.layers import Layer, plan_layers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builder.definition import Base, Definition
    from builder.lock import CondaPackage, Environment, PipPackage
    from builder.matrix import Cell

PREFIX = "/opt/env"
"""Where every cell's environment lives, in every image: a layer's bytes may not depend on which image it is in."""

LABEL = "dev.imgbuild"


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


def render_context(
    cell: Cell,
    definition: Definition,
    base: Base,
    environment: Environment,
    *,
    templates: jinja2.Environment,
    checks: str,
) -> Context:
    """Return the build context of one cell; `checks` is the digest of the checks that the image has to pass.

    Raises ImgbuildError when a template of the project is broken.
    """
    layers = plan_layers(environment)
    values: dict[str, Any] = {
        "cell": cell,
        "origin": f"images/{definition.name}/image.yaml",
        "base": {"key": base.key, "image": f"{base.ref}@{base.digest}" if base.digest else base.ref},
        "apt": definition.apt,
        "layers": [_layer_values(layer, base, first=layer is layers[0]) for layer in layers],
        "prefix": PREFIX,
        "env": [(key, _quote(value)) for key, value in _variables(cell, definition)],
        "labels": [(key, _quote(value)) for key, value in _labels(cell, environment, checks)],
    }
    try:
        dockerfile = templates.get_template("Dockerfile.j2").render(values)
        host = {name: _source(templates, f"host/{name}") for name in ("finish", "settings")}
    except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        where = f" line {error.lineno}" if isinstance(error, jinja2.TemplateSyntaxError) else ""
        raise ImgbuildError(
            f"template {error!r}{where}", hint="correct it in templates/, or remove it there."
        ) from error
    files = [ContextFile(path="Dockerfile", data=dockerfile.encode())]
    files += [ContextFile(path=f"host/{name}", data=text.encode()) for name, text in host.items()]
    for layer in layers:
        files += [ContextFile(path=f"{layer.name}/{name}", data=data) for name, data in _lists(layer, cell).items()]
    return Context(files=tuple(sorted(files, key=lambda file: file.path)))


def digest_packages(environment: Environment) -> str:
    """Return the digest (`sha256:…`) of exactly what the environment installs."""
    hashes = sorted([package.sha256 for package in environment.conda] + [wheel.sha256 for wheel in environment.pip])
    return "sha256:" + hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def _source(templates: jinja2.Environment, name: str) -> str:
    loader = templates.loader
    return loader.get_source(templates, name)[0] if loader else ""


def _quote(value: str) -> str:
    # Inside double quotes a Dockerfile knows three special characters; a line is never continued there.
    return '"' + re.sub(r'(["$\\])', r"\\\1", value) + '"'


def _layer_values(layer: Layer, base: Base, *, first: bool) -> Mapping[str, Any]:
    caches = {f"conda-{base.key}": base.pkgs_dir}
    action = base.create if first else base.install
    commands = [". /host/settings"]
    if layer.conda:
        variables = " ".join(f"{key}={value}" for key, value in base.environment)
        commands += [f"export {variables}"] if variables else []
        arguments = action.format(prefix=PREFIX, file='"$(mirrored /build/conda.txt)"')
        commands.append(f"{base.conda} {arguments}")
    if layer.pip:
        caches["pip"] = "/root/.cache/pip"
        commands.append(
            f"{PREFIX}/bin/python -m pip install --quiet --root-user-action=ignore --no-deps --require-hashes "
            '--requirement "$(mirrored /build/pip.txt)"'
        )
    if layer.conda:
        commands.append(f"{base.conda} {base.clean}")
    commands.append(f"sh /host/finish {PREFIX} {base.pkgs_dir}")
    parts = [f"{len(layer.conda)} conda"] if layer.conda else []
    parts += [f"{len(layer.pip)} pip"] if layer.pip else []
    return {
        "name": layer.name,
        "title": layer.title,
        "summary": f"{' and '.join(parts)} packages, {_megabytes(layer.size)}",
        "caches": caches,
        "commands": commands,
    }


def _megabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _lists(layer: Layer, cell: Cell) -> Mapping[str, bytes]:
    lists = {"conda.txt": _conda_list(layer.conda)} if layer.conda else {}
    return lists | ({"pip.txt": _pip_list(layer.pip, cell)} if layer.pip else {})


def _conda_list(packages: Sequence[CondaPackage]) -> bytes:
    return "\n".join(["@EXPLICIT", *(f"{package.url}#sha256:{package.sha256}" for package in packages), ""]).encode()


def _pip_list(packages: Sequence[PipPackage], cell: Cell) -> bytes:
    index = cell.build.wheel_index if cell.build else None
    lines = [f"--extra-index-url {TORCH_WHEELS}/{index}"] if index else []
    lines += ["--only-binary :all:"]
    lines += [f"{package.name}=={package.version} --hash=sha256:{package.sha256}" for package in packages]
    return "\n".join([*lines, ""]).encode()


def _variables(cell: Cell, definition: Definition) -> list[tuple[str, str]]:
    # What NVIDIA's container toolkit reads from an image that is not based on nvidia/cuda:
    # https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html
    gpu = [("NVIDIA_VISIBLE_DEVICES", "all"), ("NVIDIA_DRIVER_CAPABILITIES", "compute,utility")]
    return [*(gpu if cell.cuda else []), *definition.env]


def _labels(cell: Cell, environment: Environment, checks: str) -> list[tuple[str, str]]:
    facts = [("image", cell.image), ("python", str(cell.python)), ("cuda", str(cell.cuda or "cpu"))]
    facts += [("torch", str(cell.torch))] if cell.torch else []
    facts += [("packages", digest_packages(environment)), ("checks", checks)]
    return [("org.opencontainers.image.title", cell.id), *((f"{LABEL}.{key}", value) for key, value in facts)]
