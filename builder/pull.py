"""Fetch images from registries into an engine, by digest."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from builder.attempts import insist
from builder.events import Transfer
from builder.failures import explain_pull
from builder.push import encode_login

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from builder.streams import Streams

_THERE = frozenset({"Already exists", "Pull complete"})


def pull_image(
    streams: Streams, name: str, digest: str, *, host: str, login: tuple[str, str] | None
) -> Iterator[Transfer]:
    """Yield what `Engine.pull` promises."""
    headers = {"X-Registry-Auth": encode_login(login)}
    with streams.call():
        yield from insist(partial(_pull, streams, name, digest, host, headers), streams.sleep)


def _pull(streams: Streams, name: str, digest: str, host: str, headers: dict[str, str]) -> Iterator[Transfer]:
    params = {"fromImage": name, "tag": digest}
    with streams.post("/images/create", params=params, headers=headers) as lines:
        yield from read_pull(lines, ref=f"{name}@{digest}", host=host)


def read_pull(lines: Iterable[bytes], *, ref: str, host: str) -> Iterator[Transfer]:
    """Yield the events of a pull's reply. Raises RegistryError for what it says inside status 200."""
    for line in lines:
        record: dict[str, Any] = json.loads(line)
        if "errorDetail" in record or "error" in record:
            raise explain_pull(record.get("errorDetail", {}).get("message") or record.get("error", ""), host)
        status, layer = record.get("status", ""), record.get("id", "")
        if status == "Downloading":
            sizes = record["progressDetail"]
            yield Transfer(
                step=ref, id=layer, current=sizes.get("current", 0), total=sizes.get("total", 0), completed=False
            )
        elif status in _THERE:
            yield Transfer(step=ref, id=layer, current=0, total=0, completed=True)
