"""Ask a registry again for what may pass by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from builder.errors import RegistryError
from builder.failures import is_passing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_Event = TypeVar("_Event")

PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each new attempt. Neither store's push survives all that passes: the containerd store's gives up at a
reset, the graphdriver store's at a 429. A new attempt finds the layers that are there, and skips them.
"""


def insist(attempt: Callable[[], Iterator[_Event]], sleep: Callable[[float], None]) -> Iterator[_Event]:
    """Yield the events of an attempt, and of new ones as long as it fails with what may pass.

    Raises RegistryError when the last one fails, or one with what will not pass.
    """
    for pause in (*PAUSES, None):
        try:
            yield from attempt()
            return
        except RegistryError as error:
            if pause is None or not is_passing(error.message):
                raise
        sleep(pause)
