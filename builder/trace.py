"""Decode BuildKit's trace: the base64 protobuf that the engine sends beside its JSON → typed events."""

from __future__ import annotations

import base64
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from builder.events import Event, Log, Notice, Step, Transfer
from builder.proto.buildkit_pb2 import StatusResponse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.timestamp_pb2 import Timestamp

    from builder.proto.buildkit_pb2 import Vertex


def decode_trace(aux: str) -> Iterator[Event]:
    """Yield the events of one `moby.buildkit.trace` record. What a step wrote comes before the step's end.

    `aux` is base64 of moby.buildkit.v1.StatusResponse (moby/buildkit api/services/control/control.proto).
    Raises ValueError (binascii.Error) or google.protobuf.message.DecodeError on anything else.
    """
    status = StatusResponse.FromString(base64.b64decode(aux, validate=True))
    words: dict[str, list[Log]] = defaultdict(list)
    for log in status.logs:
        words[log.vertex].append(Log(step=log.vertex, stream=log.stream, text=log.msg.decode(errors="replace")))
    steps = list(map(_read_step, status.vertexes))
    last = {step.digest: step for step in steps}  # one that was cancelled may run again within a record
    for step in steps:
        if step.completed and step is last[step.digest] and step.digest in words:
            yield replace(step, completed=None, cached=False, error="")
            yield from words.pop(step.digest)
        yield step
    for part in status.statuses:
        yield Transfer(
            step=part.vertex,
            id=part.ID or part.name,
            current=part.current,
            total=part.total,
            completed=part.HasField("completed"),
        )
    for said in words.values():
        yield from said
    for warning in status.warnings:
        yield Notice(step=warning.vertex, text=warning.short.decode(errors="replace"), url=warning.url)


def _read_step(vertex: Vertex) -> Step:
    return Step(
        digest=vertex.digest,
        name=vertex.name,
        started=_seconds(vertex.started) if vertex.HasField("started") else None,
        completed=_seconds(vertex.completed) if vertex.HasField("completed") else None,
        cached=vertex.cached,
        error=vertex.error,
    )


def _seconds(timestamp: Timestamp) -> float:
    return timestamp.seconds + timestamp.nanos / 1e9
