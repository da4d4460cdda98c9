"""Read a pyproject.toml: the project's own tables, uv's, and pixi's; what Poetry has is said.

Sources: packaging.python.org, "Declaring project metadata"; docs.astral.sh/uv, "Managing dependencies".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from packaging.markers import InvalidMarker, Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import NormalizedName, canonicalize_name

from builder.adopt.markers import holds
from builder.adopt.pixi_toml import read_pixi
from builder.adopt.reasons import NO_WHEEL, OWN_IMAGE
from builder.adopt.settling import find_python
from builder.adopt.wishes import Wishes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.adopt.toml_table import Table

_WORKED_OUT = "the project's build works it out: write it into a requirements.txt, and give that"
_EXPORT = "give a requirements.txt: `poetry export` writes one"


def read_pyproject(top: Table, wishes: Wishes) -> None:
    """Add what the file asks for to `wishes`. Raises DefinitionError for what is of another type."""
    project, tool = top.table("project"), top.table("tool")
    if needed := project.take("requires-python", str):
        wishes.add_conda(f"python {needed}", project.place("requires-python"))
    uv = tool.table("uv")
    indexes = list(uv.tables("index"))
    sources = {canonicalize_name(name): it for name, it in uv.take("sources", dict).items()}
    python = _find_python(top, wishes)
    chosen: list[Any] = []
    for text, place in project.texts("dependencies"):
        source = _find_source(sources, text, python)
        if source.keys() & {"path", "git", "workspace"}:
            wishes.leave(place, text, NO_WHEEL)
        elif url := source.get("url"):
            marker = Requirement(text).marker
            wishes.add_pip(f"{Requirement(text).name} @ {url}{f' ; {marker}' if marker else ''}", place)
        else:
            chosen.append(source.get("index"))
            wishes.add_pip(text, place)
    # What a package is asked of at a place of its own says more than what all are looked for at.
    for index in sorted(indexes, key=lambda it: it.data.get("name") not in chosen):
        if index.data.get("name") in chosen or not index.data.get("explicit"):
            wishes.add_index(index.take("url", str), index.place())
    for table in (uv, uv.table("pip")):
        _read_indexes(table, wishes)
    for name in project.take("optional-dependencies", dict):
        wishes.leave(project.place("optional-dependencies", name), f"optional dependencies {name}", OWN_IMAGE)
    for name in top.take("dependency-groups", dict):
        wishes.leave(top.place("dependency-groups", name), f"dependency group {name}", OWN_IMAGE)
    for name, place in project.texts("dynamic"):
        if name in {"dependencies", "optional-dependencies", "requires-python"}:
            wishes.leave(place, name, _WORKED_OUT)
    for key in ("dependencies", "group"):
        if key in tool.table("poetry").data:
            wishes.leave(tool.place("poetry", key), f"[tool.poetry.{key}]", _EXPORT)
    for key in ("constraint-dependencies", "override-dependencies", "dev-dependencies"):
        for text, place in uv.texts(key):
            wishes.leave(place, text, f"it is one of uv's {key}, for which a definition has no place")
    read_pixi(tool.table("pixi"), wishes)


def _find_python(top: Table, wishes: Wishes) -> str:
    """Return the Python that the markers of dependencies, and with them those of their sources, are judged for."""
    alike = Wishes(python=wishes.python, pythons=[*wishes.pythons])
    for text, place in top.table("project").texts("dependencies"):
        alike.add_pip(text, place)
    read_pixi(top.table("tool").table("pixi"), alike)
    return find_python(alike)


def _find_source(sources: Mapping[NormalizedName, Any], text: str, python: str) -> dict[str, Any]:
    """Return where uv takes a dependency from, without extras and groups; empty for an index like any other."""
    try:
        found = sources.get(canonicalize_name(Requirement(text).name), {})
    except InvalidRequirement:
        return {}
    for source in found if isinstance(found, list) else [found]:
        if (
            isinstance(source, dict)
            and not source.keys() & {"extra", "group"}
            and _holds(source.get("marker"), python)
        ):
            return source
    return {}


def _holds(marker: Any, python: str) -> bool:
    try:
        return not isinstance(marker, str) or holds(Marker(marker), python)
    except InvalidMarker:
        return True


def _read_indexes(table: Table, wishes: Wishes) -> None:
    if url := table.take("index-url", str):
        wishes.add_index(url, table.place("index-url"))
    for key in ("extra-index-url", "find-links"):
        for url, place in table.texts(key):
            wishes.add_index(url, place)
