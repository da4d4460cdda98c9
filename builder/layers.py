"""Which package goes into which layer: what no Python version touches first, then Python and the rest.

Pure: packages in, layers out. Two cells that share the first layer's packages get the same first layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from builder.lock import CondaPackage, Environment, PipPackage


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One install step. Conda packages stand in the order of installation, dependencies first."""

    name: str
    title: str
    conda: tuple[CondaPackage, ...]
    pip: tuple[PipPackage, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of the packages as they are downloaded; wheels of unknown size count nothing."""
        return sum(package.size for package in self.conda) + sum(package.size or 0 for package in self.pip)


def plan_layers(environment: Environment) -> tuple[Layer, ...]:
    """Return the layers of one cell: every package of the environment is in exactly one of them."""
    ordered = sort_by_dependency(environment.conda)
    # A metapackage may pin a build for one Python without naming Python: so dependents of what needs it need it too.
    needy: set[str] = set()
    for package in ordered:
        if package.needs_python or not needy.isdisjoint(package.needs):
            needy.add(package.name)
    native = tuple(package for package in ordered if package.name not in needy)
    rest = tuple(package for package in ordered if package.name in needy)
    layers = (
        Layer(name="native", title="libraries that are the same for every Python", conda=native),
        Layer(name="python", title="Python and what is built for it", conda=rest, pip=environment.pip),
    )
    return tuple(layer for layer in layers if layer.conda or layer.pip)


def sort_by_dependency(packages: tuple[CondaPackage, ...]) -> tuple[CondaPackage, ...]:
    """Return the packages with dependencies before dependents, by name where there is a choice.

    Conda's metadata has cycles (python asks for pip, pip for python): the edge that closes one is dropped.
    """
    by_name = {package.name: package for package in sorted(packages, key=lambda package: package.name)}
    ordered: dict[str, CondaPackage] = {}
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
