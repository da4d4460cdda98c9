"""A layer: artifacts that one step installs, and where they come in the chain of a cell."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from builder.artifacts import Kind, Need, sum_sizes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from builder.artifacts import Artifact

_ID_LENGTH = 12


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One install step on top of a base. Its `id` follows from what it installs and replaces: equal layers are one.

    `replaced` are the keys of artifacts in layers below it that give way to newer versions in this one.
    """

    base: str
    artifacts: tuple[Artifact, ...]
    size: int
    replaced: tuple[str, ...] = ()
    id: str = field(init=False)

    def __post_init__(self) -> None:
        lines = [self.base, *(artifact.key for artifact in self.artifacts), *(f"-{key}" for key in self.replaced)]
        digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        object.__setattr__(self, "id", digest[:_ID_LENGTH])

    def __hash__(self) -> int:
        return hash(self.id)  # of hundreds of artifacts it would take long, and layers are keys all over

    @cached_property
    def has_python(self) -> bool:
        """Whether it brings Python itself."""
        return any(artifact.need is Need.PYTHON for artifact in self.artifacts)

    @cached_property
    def has_runtime(self) -> bool:
        """Whether it brings what Python needs to run."""
        return any(artifact.need is Need.RUNTIME for artifact in self.artifacts)

    @cached_property
    def needs_python(self) -> bool:
        """Whether something in it is installed with the help of Python."""
        return any(artifact.need is Need.PYTHON_NEEDED for artifact in self.artifacts)

    def has_any(self, keys: Iterable[str]) -> bool:
        """Whether one of its artifacts has one of these keys."""
        return not {artifact.key for artifact in self.artifacts}.isdisjoint(keys)

    @property
    def packages(self) -> tuple[Artifact, ...]:
        """The artifacts that a person counts: links are part of the wheels that they lead to."""
        return tuple(artifact for artifact in self.artifacts if artifact.kind is not Kind.LINK)


def make_layer(base: str, artifacts: Iterable[Artifact], unknown: int, replaced: Iterable[str] = ()) -> Layer:
    """Return a layer; `unknown` is the bytes that count for an artifact of unknown size."""
    found = tuple(sorted(artifacts, key=lambda artifact: artifact.key))
    return Layer(base=base, artifacts=found, size=sum_sizes(found, unknown), replaced=tuple(sorted(replaced)))
