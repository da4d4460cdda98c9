"""Read a pixi.toml, or pixi's tables in a pyproject.toml: what its default environment is on linux-64.

Source: prefix-dev/pixi, docs/reference/pixi_manifest.
"""

from __future__ import annotations

import re
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from builder.adopt.reasons import NO_PLACE, NO_WHEEL, OWN_IMAGE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from builder.adopt.place import Place
    from builder.adopt.toml_table import Table
    from builder.adopt.wishes import Wishes

_PLATFORMS = ("unix", "linux", "linux-64")
"""The targets that hold on linux-64; a later one says more than those before it."""

_OF_FEATURE = {"dependencies", "pypi-dependencies", "pypi-options", "activation", "system-requirements", "target"}
_OF_FEATURE |= {"channels", "platforms", "tasks"}
_OF_SOLVE = ("channel-priority", "exclude-newer", "pypi-exclude-newer", "solve-strategy")
_ELSE = re.compile(r"(?:osx|macos|win|linux|emscripten|wasi|zos|freebsd)(?:-|$)")
"""Targets that are of other systems by their name."""

_OF_TARGET = {"dependencies", "pypi-dependencies", "activation"}
_OF_WHEEL = {"version", "extras", "index", "env-markers", "url"}
_ELSEWHERE = {"path", "git"}


def read_pixi(top: Table, wishes: Wishes) -> None:
    """Add what the default environment asks for to `wishes`. Raises DefinitionError for what is of another type."""
    head = top.table("workspace") if "workspace" in top.data else top.table("project")
    chosen, is_alone = _list_default(top)
    features = [top.table("feature").table(name) for name in chosen]
    _read_channels([*features, head], wishes)
    for key in sorted((_OF_FEATURE - {"tasks"}) & top.data.keys()) if is_alone else ():
        wishes.leave(top.place(key), f"[{key}]", "the default environment is without what all others have")
    features = features if is_alone else [top, *features]
    platforms = _list_platforms(head, [name for feature in features for name, _ in feature.texts("platforms")])
    targets = _choose_targets(features, platforms)
    for feature in features:
        _read_packages(feature, targets, wishes)
    for table in (head, *features):
        _read_indexes(table.table("pypi-options"), wishes)
    for feature in features:
        if feature is not top:
            _leave_rest(feature, _OF_FEATURE, targets, wishes)
        _read_system(feature.table("system-requirements"), wishes)
    _read_platforms(platforms, head, wishes)
    for name in sorted(head.data.keys() & _OF_SOLVE):
        wishes.leave(head.place(name), name, NO_PLACE)
    for name in top.take("feature", dict):
        if name not in chosen:
            wishes.leave(top.place("feature", name), f"feature {name}", OWN_IMAGE)
    _leave_rest(top, _OF_FEATURE | {"workspace", "project", "feature", "environments"}, targets, wishes)


def _list_default(top: Table) -> tuple[list[str], bool]:
    """Return the features of the default environment, and whether it is without what every other one has."""
    environments = top.table("environments")
    if not isinstance(environments.data.get("default"), dict):
        return [name for name, _ in environments.texts("default")], False
    default = environments.table("default")
    return [name for name, _ in default.texts("features")], default.data.get("no-default-feature") is True


def _read_packages(feature: Table, targets: Iterable[str], wishes: Wishes) -> None:
    """Take the packages of a feature, of each what the last target says: what several features say holds together."""
    tables = [feature, *(feature.table("target").table(name) for name in targets)]
    for key, add in (("dependencies", _add_package), ("pypi-dependencies", _add_wheel)):
        named = {name: (table.table(key), value) for table in tables for name, value in table.take(key, dict).items()}
        for name, (table, value) in named.items():
            add(name, value, table, wishes)
    for table in tables:
        _read_activation(table.table("activation"), wishes)


def _choose_targets(features: Iterable[Table], platforms: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    """Return the targets that hold, in the order in which they do: those for Linux, then those for its named kinds."""
    names = [str(it["name"]) for it in platforms if "name" in it]
    asked = dict.fromkeys(target for feature in features for target in feature.take("target", dict))
    own = [it for it in asked if it not in _PLATFORMS and any(fnmatchcase(name, it) for name in names)]
    return (*_PLATFORMS, *own)


def _read_channels(tables: Iterable[Table], wishes: Wishes) -> None:
    """Take the channels of the tables, those before the others of which that is said."""
    named: list[tuple[int, str, Place]] = []
    for table in tables:
        for channel in table.take("channels", list):
            node = channel if isinstance(channel, dict) else {"channel": channel}
            name = table.require(node.get("channel"), "channels", "a channel", str)
            priority = table.require(node.get("priority", 0), "channels", "the priority of a channel", int)
            named.append((-priority, name, table.place("channels")))
    for _, name, place in sorted(named, key=lambda it: it[0]):
        wishes.add_channel(name, place)


def _read_activation(activation: Table, wishes: Wishes) -> None:
    for name, value in activation.take("env", dict).items():
        place = activation.place("env", name)
        if "$" in str(value):
            wishes.leave(place, name, "a shell works it out when it starts: write what it is in the image")
        else:
            wishes.add_variable(name, str(value), place)
    for script, place in activation.texts("scripts"):
        wishes.leave(place, f"activation script {script}", NO_PLACE)


def _read_indexes(options: Table, wishes: Wishes) -> None:
    if url := options.take("index-url", str):
        wishes.add_index(url, options.place("index-url"))
    extra = [it.get("url") if isinstance(it, dict) else it for it in options.take("extra-index-urls", list)]
    for url, place in replace(options, data={"extra-index-urls": extra}).texts("extra-index-urls"):
        wishes.add_index(url, place)
    for name in sorted(options.data.keys() - {"index-url", "extra-index-urls"}):
        wishes.leave(options.place(name), f"pypi-options.{name}", NO_PLACE)


def _read_system(system: Table, wishes: Wishes) -> None:
    for name in sorted(system.data.keys() - {"cuda"}):
        wishes.leave(system.place(name), f"system-requirements.{name}", "an image has what its base has")
    if "cuda" in system.data:
        _ask_cuda(system.data["cuda"], system, "cuda", wishes)


def _list_platforms(workspace: Table, chosen: Collection[str]) -> list[dict[str, Any]]:
    """Return the kinds of linux-64 that the workspace has; of those, the ones that features have chosen, if any."""
    entries = [it if isinstance(it, dict) else {"name": it} for it in workspace.take("platforms", list)]
    here = [it for it in entries if it.get("platform", it.get("name")) == "linux-64"]
    return [it for it in here if not chosen or any(_means(name, it) for name in chosen)]


def _means(name: str, platform: dict[str, Any]) -> bool:
    """Return whether a name is a platform's; one without a name is called linux-64-cuda-12-0 or the like."""
    version = f"-cuda-{_find_cuda(platform)}-".replace(".", "-")
    return name in (platform.get("name"), platform.get("platform")) or (
        "name" not in platform and name.startswith("linux-64-") and version in f"{name}-"
    )


def _find_cuda(platform: dict[str, Any]) -> Any:
    cuda = platform.get("cuda", platform.get("__cuda"))
    return cuda.get("driver") if isinstance(cuda, dict) else cuda


def _read_platforms(platforms: Iterable[dict[str, Any]], workspace: Table, wishes: Wishes) -> None:
    """Ask for the CUDA that the platforms have; not where one does without."""
    cudas = [_find_cuda(it) for it in platforms]
    if cudas and None not in cudas:
        _ask_cuda(cudas[0], workspace, "platforms", wishes)


def _ask_cuda(cuda: Any, table: Table, key: str, wishes: Wishes) -> None:
    """Ask for a CUDA that runs where the driver is for this one or newer, unless packages say which they are for."""
    asked = str(cuda) if isinstance(cuda, int | float) else table.require(cuda, key, "cuda", str)
    major = asked.partition(".")[0]
    if not (wishes.cuda or wishes.cudas):
        spec = f">={asked},<{int(major) + 1}" if re.fullmatch("[0-9]{1,2}", major) else asked
        wishes.ask_cuda(spec, table.place(key), f"cuda {asked}")


def _leave_rest(table: Table, known: set[str], targets: Collection[str], wishes: Wishes) -> None:
    for name in sorted(table.data.keys() - known):
        wishes.leave(table.place(name), f"[{'.'.join((*table.name, name))}]", NO_PLACE)
    for task in table.take("tasks", dict):
        wishes.leave(table.place("tasks", task), f"task {task}", NO_PLACE)
    for target in table.take("target", dict):
        place = table.table("target").table(target)
        if target in targets:
            for name in sorted(place.data.keys() - _OF_TARGET):
                wishes.leave(place.place(name), f"[target.{target}.{name}]", NO_PLACE)
        elif not _ELSE.match(target):
            wishes.leave(place.place(), f"[target.{target}]", "it is not for linux-64")


def _add_package(name: str, value: Any, table: Table, wishes: Wishes) -> None:
    node, place = _read_node(name, value, table), table.place(name)
    if foreign := sorted(node.keys() - {"version", "build", "channel"}):
        wishes.leave(
            place, f"{name} ({', '.join(foreign)})", "a definition names a package by version, build, channel"
        )
        return
    words = {key: table.require(text, name, f"{name}.{key}", str) for key, text in node.items()}
    channel = f"{words['channel']}::" if "channel" in words else ""
    build = words.get("build", "")
    version = words.get("version", "*") if build else _clean_star(words.get("version", ""))
    if re.search(r"\s", name):
        wishes.leave(place, name, "it is no name of a package")
    else:
        wishes.add_conda(f"{channel}{name} {version} {build}".strip(), place)


def _add_wheel(name: str, value: Any, table: Table, wishes: Wishes) -> None:
    node, place = _read_node(name, value, table), table.place(name)
    if node.keys() & _ELSEWHERE:
        wishes.leave(place, name, NO_WHEEL)
        return
    wheel = replace(table, name=(*table.name, name), data=node)
    if "index" in node:
        wishes.add_index(wheel.require(node["index"], "index", f"{name}.index", str), place)
    extras = ",".join(text for text, _ in wheel.texts("extras"))
    version = _clean_star(wheel.require(node.get("version", "*"), "version", f"{name}.version", str))
    if url := wheel.take("url", str):
        version = f" @ {url}"
    markers = wheel.take("env-markers", str)
    if foreign := sorted(node.keys() - _OF_WHEEL):
        wishes.leave(place, f"{name} ({', '.join(foreign)})", NO_PLACE)
    if version[:1].isalnum():
        wishes.leave(place, f"{name} {version}", f"a version of a wheel has an operator: =={version}")
        version = ""
    wishes.add_pip(f"{name}{f'[{extras}]' if extras else ''}{version}{f' ; {markers}' if markers else ''}", place)


def _read_node(name: str, value: Any, table: Table) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    return {"version": table.require(value, name, name, str)}


def _clean_star(spec: str) -> str:
    return "" if spec == "*" else spec
