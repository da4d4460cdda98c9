"""Ask Sigstore: again for what may pass by itself, not for ever, and not once it was cancelled."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any, TypeVar

from builder.errors import Cancelled, SigningError
from builder.registry.content import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 120.0
"""Seconds that Sigstore may take for one signature; its library waits for ever."""

PAUSES = (1.0, 4.0)
"""Seconds before it is asked again: it answers 429 and 5xx where many sign at once."""

_Made = TypeVar("_Made")


def ask(make: Callable[[], _Made], is_cancelled: Callable[[], bool] = lambda: False) -> _Made:
    """Return what Sigstore makes. Raises Cancelled, and SigningError when it refuses, fails, or takes too long."""
    future: Future[_Made] = Future()
    threading.Thread(target=_insist, args=(make, future), daemon=True).start()
    end = time.monotonic() + PATIENCE
    while not wait([future], timeout=0.1).done:
        if is_cancelled():
            raise Cancelled("cancelled")
        if time.monotonic() > end:
            hint = "run the same command again: what is there is not made anew."
            raise SigningError(f"Sigstore took longer than {PATIENCE:.0f} s", hint=hint)
    match future.exception():
        case None:
            return future.result()
        case SigningError() as error:
            raise error
        case BaseException() as error:
            told = ": ".join(dict.fromkeys(_list_reasons(error)))
            hint = "can it be reached? Its HTTPS_PROXY and REQUESTS_CA_BUNDLE are those of the environment."
            raise SigningError(f"Sigstore: {told}", hint=hint) from error


def _insist(make: Callable[[], _Made], future: Future[_Made]) -> None:
    for pause in (*PAUSES, None):
        try:
            future.set_result(make())
        except Exception as error:  # of sigstore, requests, tuf and pydantic: no class of them is common
            if pause is None or isinstance(error, SigningError) or _is_refusal(error):
                future.set_exception(error)
                return
            time.sleep(pause)
        else:
            return


def _is_refusal(error: BaseException) -> bool:
    statuses = [response.status_code for response in _list_responses(error)]
    return any(400 <= status < 500 and status != 429 for status in statuses)


def _list_reasons(error: BaseException) -> Iterator[str]:
    """Yield what errors say, the library's first, and what the server said, which the library loses."""
    for each in _list_causes(error):
        yield clean(str(each)) or type(each).__name__
    yield from (clean(response.text[:300]) for response in _list_responses(error) if response.text)


def _list_responses(error: BaseException) -> list[Any]:
    found = (getattr(each, "response", None) for each in _list_causes(error))
    return [response for response in found if response is not None]


def _list_causes(error: BaseException) -> Iterator[BaseException]:
    each: BaseException | None = error
    while each:
        yield each
        each = each.__cause__
