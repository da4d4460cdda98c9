"""Many questions to one registry at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

from builder.registry.transport import CONNECTIONS
from builder.schedule import run_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from builder.registry.client import Registry

Key = TypeVar("Key", bound="Hashable")
Value = TypeVar("Value")


def read_all(registry: Registry, questions: Mapping[Key, Callable[[], Value]]) -> dict[Key, Value]:
    """Return the answer to each question, by its key and in their order; all come from the same registry.

    The first error ends all, and is raised: RegistryError, or Cancelled after SIGINT or SIGTERM. Call it from the main
    thread, which alone can take signals.
    """
    numbered = {str(number): key for number, key in enumerate(questions)}
    tasks = {number: questions[key] for number, key in numbered.items()}
    answers: dict[Key, Value] = {}
    for outcome in run_tasks(tasks, workers=CONNECTIONS, cancel=registry.cancel):
        if outcome.error:
            raise outcome.error
        answers[numbered[outcome.name]] = cast(Value, outcome.value)
    return {key: answers[key] for key in questions}
