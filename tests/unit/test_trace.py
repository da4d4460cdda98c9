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
    step = Step(digest="sha256:a", name="[1/2] FROM base", started=1_700_000_000.5)
    assert list(decode_trace(encode(status))) == [
        step,
        Log(step="sha256:a", stream=2, text="half \N{REPLACEMENT CHARACTER} line"),
        replace(step, completed=1_700_000_002.0, cached=True, error="went wrong"),
        Transfer(step="sha256:a", id="layer", current=5, total=10, completed=True),
        Transfer(step="sha256:a", id="unpack", current=0, total=0, completed=False),
        Notice(step="sha256:a", text="old style", url="https://docs.example/rule"),
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


def test_each_step_of_a_record_ends_after_its_own_words_and_before_the_next_begins() -> None:
    status = StatusResponse()
    for digest, started, completed in (("sha256:a", 1, 3), ("sha256:b", 3, None)):
        vertex = status.vertexes.add(digest=digest, name="RUN true")
        vertex.started.seconds = started
        if completed:
            vertex.completed.seconds = completed
        status.logs.add(vertex=digest, stream=1, msg=b"words")
    first, second = (
        Step(digest=digest, name="RUN true", started=it) for digest, it in (("sha256:a", 1), ("sha256:b", 3))
    )
    said = [Log(step=digest, stream=1, text="words") for digest in ("sha256:a", "sha256:b")]
    assert list(decode_trace(encode(status))) == [first, said[0], replace(first, completed=3.0), second, said[1]]


def test_step_that_is_cancelled_and_runs_again_within_a_record_runs_at_the_end_of_it() -> None:
    status = StatusResponse()
    for started, completed in ((1, 2), (3, None)):
        vertex = status.vertexes.add(digest="sha256:a", name="RUN true")
        vertex.started.seconds = started
        if completed:
            vertex.completed.seconds, vertex.error = completed, "context canceled"
    status.logs.add(vertex="sha256:a", stream=1, msg=b"words")
    steps = [event for event in decode_trace(encode(status)) if isinstance(event, Step)]
    assert [(step.started, step.completed) for step in steps] == [(1.0, 2.0), (3.0, None)]


def test_step_that_waits_has_no_times() -> None:
    status = StatusResponse()
    status.vertexes.add(digest="sha256:a", name="[2/2] RUN true")
    (step,) = decode_trace(encode(status))
    assert step == Step(digest="sha256:a", name="[2/2] RUN true")


@pytest.mark.parametrize("aux", ["not base64!", base64.b64encode(b"\xff\xff\xff").decode()])
def test_anything_else_is_refused(aux: str) -> None:
    with pytest.raises((binascii.Error, DecodeError)):
        list(decode_trace(aux))
