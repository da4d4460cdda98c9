"""Record what the engine replies to builds: `python tests/unit/data/record_builds.py BASE` (a local image with sh)."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from builder import engine
from builder.context import Context, ContextFile
from builder.errors import BuildError
from builder.events import Built

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.events import Event

STEPS = {
    "success": 'RUN --mount=type=secret,id=host echo "to stdout"; printf "unfinished line" >&2 # {run}\n'
    "CMD echo shell\n",
    "failure": 'RUN echo "words before the end" && exit 3 # {run}\n',
}


def record(name: str, base: str) -> None:
    path = Path(__file__).parent / f"build-{name}.jsonl"
    text = f"FROM {base}\n{STEPS[name]}".format(run=uuid.uuid4().hex)
    context = Context(files=(ContextFile(path="Dockerfile", data=text.encode()),))
    read_stream = engine.read_stream

    def tee(lines: Iterator[bytes]) -> Iterator[Event]:
        with path.open("wb") as out:
            yield from read_stream(line for line in lines if out.write(line + b"\n"))

    engine.read_stream = tee
    try:
        with engine.Engine() as found:
            events = found.build(context, secrets={"host": b"s3cret"}, credentials=lambda _: None, build_args={})
            for event in events:
                if isinstance(event, Built):
                    found.remove(event.image_id)
    except BuildError as error:
        print(error)
    finally:
        engine.read_stream = read_stream


for name in STEPS:
    record(name, sys.argv[1])
