"""Decode BuildKit's trace: the base64 protobuf that the engine sends beside its JSON → typed events."""

from __future__ import annotations

import base64
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
    steps = list(map(_read_step, status.vertexes))
    talking = {log.vertex for log in status.logs}
    for step in steps:
        yield replace(step, completed=None, error="") if step.digest in talking else step
    for part in status.statuses:
        yield Transfer(
            step=part.vertex,
            id=part.ID or part.name,
            current=part.current,
            total=part.total,
            completed=part.HasField("completed"),
        )
    for log in status.logs:
        yield Log(step=log.vertex, stream=log.stream, text=log.msg.decode(errors="replace"))
    for warning in status.warnings:
        yield Notice(step=warning.vertex, text=warning.short.decode(errors="replace"), url=warning.url)
    yield from (step for step in steps if step.completed and step.digest in talking)


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
