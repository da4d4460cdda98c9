from __future__ import annotations

import base64
import binascii
import io
from dataclasses import replace

import pytest
from google.protobuf.message import DecodeError

from builder.events import Log, Notice, Step, Transfer
from builder.progress_plain import PlainDisplay
from builder.proto.buildkit_pb2 import StatusResponse
from builder.trace import decode_trace


def encode(status: StatusResponse) -> str:
    return base64.b64encode(status.SerializeToString()).decode()


def test_every_kind_of_record_becomes_an_event() -> None:
    status = StatusResponse()
    vertex = status.vertexes.add(digest="sha256:a", name="[1/2] FROM base", cached=True, error="went wrong")
    vertex.started.seconds, vertex.started.nanos = 1_700_000_000, 500_000_000
    vertex.completed.seconds = 1_700_000_002
    done = status.statuses.add(vertex="sha256:a", ID="layer", current=5, total=10)
    done.completed.seconds = 1
    status.statuses.add(vertex="sha256:a", name="unpack")
    status.logs.add(vertex="sha256:a", stream=2, msg=b"half \xff line")
    status.warnings.add(vertex="sha256:a", short=b"old style", url="https://docs.example/rule")
    step = Step(digest="sha256:a", name="[1/2] FROM base", started=1_700_000_000.5, cached=True)
    assert list(decode_trace(encode(status))) == [
        step,
        Transfer(step="sha256:a", id="layer", current=5, total=10, completed=True),
        Transfer(step="sha256:a", id="unpack", current=0, total=0, completed=False),
        Log(step="sha256:a", stream=2, text="half \N{REPLACEMENT CHARACTER} line"),
        Notice(step="sha256:a", text="old style", url="https://docs.example/rule"),
        replace(step, completed=1_700_000_002.0, error="went wrong"),
    ]


def test_secret_that_a_step_wrote_in_two_pieces_is_hidden_though_the_step_ends_with_the_second() -> None:
    began, ended = StatusResponse(), StatusResponse()
    for status, text in ((began, b"asking index.example with hunt"), (ended, b"er2 in vain")):
        vertex = status.vertexes.add(digest="sha256:a", name="[2/2] RUN true")
        vertex.started.seconds = 1_700_000_000
        status.logs.add(vertex="sha256:a", stream=2, msg=text)
    ended.vertexes[0].completed.seconds = 1_700_000_002
    out = io.StringIO()
    display = PlainDisplay(lambda text: text.replace("hunter2", "***"), out)
    for event in (event for status in (began, ended) for event in decode_trace(encode(status))):
        display.event("demo", event)
    told = [line.partition("] ")[2] for line in out.getvalue().splitlines()]
    assert told == ["#1 demo: [2/2] RUN true", "#1 asking index.example with *** in vain", "#1 done in 2.0 s"]


def test_step_that_waits_has_no_times() -> None:
    status = StatusResponse()
    status.vertexes.add(digest="sha256:a", name="[2/2] RUN true")
    (step,) = decode_trace(encode(status))
    assert step == Step(digest="sha256:a", name="[2/2] RUN true")


@pytest.mark.parametrize("aux", ["not base64!", base64.b64encode(b"\xff\xff\xff").decode()])
def test_anything_else_is_refused(aux: str) -> None:
    with pytest.raises((binascii.Error, DecodeError)):
        list(decode_trace(aux))
