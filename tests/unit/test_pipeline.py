"""How an image comes to its ref: built, checked, and only then named; what it has in it is asked while it runs."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from builder import pipeline
from builder.checks import GpuUse, Verdict
from builder.early import EarlyImages
from builder.errors import CheckError
from builder.events import Built
from builder.pipeline import Builder, image_ref
from builder.project import load_project
from builder.sbom.inventory import Inventory
from builder.sources import Sources
from tests.samples import PROJECT, make_environment, make_job, make_locked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from builder.locked import LockedCell

INVENTORY = Inventory(prefix="/opt/env", packages=(), unclaimed=())
PASSED = (Verdict(check="python", verdict="pass", detail=""),)
FAILED = (Verdict(check="python", verdict="fail", detail="3.9"),)
EARLY = EarlyImages(build=lambda *_: "", remove=lambda _: None)


class Engine:
    """It builds one image, and keeps what befalls it."""

    export: Mapping[str, str] = {}

    def __init__(self) -> None:
        self.done: list[str] = []

    def find_base(self, _ref: str) -> None:
        return None

    def find_image(self, _ref: str) -> None:
        return None

    def credentials(self, _host: str) -> None:
        return None

    def build(self, *_: object, **__: object) -> Iterator[Built]:
        yield Built(image_id="sha256:1")

    def read_labels(self, _image_id: str) -> dict[str, str]:
        return {}

    def tag(self, image_id: str, ref: str) -> None:
        self.done.append(f"{ref} names {image_id}")

    def remove(self, image_id: str) -> None:
        self.done.append(f"{image_id} is gone")


class Publisher:
    """It asks for what an image has in it, as far as documents are to tell it."""

    def __init__(self, *, documents: bool) -> None:
        self.documents = documents
        self.told: list[object] = []

    def publish(self, *_: object, find_verdicts: Any, take_inventory: Any, **__: object) -> str:
        self.told.append(find_verdicts())
        if self.documents:
            self.told.append(take_inventory())
        return "registry.example/pytorch:1"


@pytest.fixture
def locked() -> LockedCell:
    (made,) = make_locked((make_job(), make_environment()))
    return made


def make_builder(
    monkeypatch: pytest.MonkeyPatch,
    engine: Engine,
    publisher: Publisher | None,
    verdicts: tuple[Verdict, ...] = PASSED,
) -> Builder:
    @contextlib.contextmanager
    def check(*_: object, **__: object) -> Iterator[tuple[str, tuple[Verdict, ...]]]:
        yield "container", verdicts

    monkeypatch.setattr(pipeline, "check_container", check)
    memo = SimpleNamespace(find=lambda *_: None, keep=lambda *_: None)
    kept = SimpleNamespace(find=lambda *_: (), keep=lambda *_: engine.done.append("verdicts kept"))
    values: dict[str, Any] = {"engine": engine, "publisher": publisher, "memo": memo, "verdicts": kept}
    return Builder(
        **values,
        project=load_project(PROJECT),
        sources=Sources(name="host"),
        progress=SimpleNamespace(event=lambda *_: None),  # type: ignore[arg-type]
        gpu=GpuUse(state="none"),
    )


def ask(monkeypatch: pytest.MonkeyPatch, engine: Engine, *, fault: CheckError | None = None) -> None:
    """Let inventories be told by the container of the checks, or not, and by another."""

    def ask_inventory(*_: object, **__: object) -> Inventory:
        engine.done.append("asked")
        if fault:
            raise fault
        return INVENTORY

    def take_inventory(*_: object, **__: object) -> Inventory:
        engine.done.append("asked in a container of its own")
        return INVENTORY

    monkeypatch.setattr(pipeline, "ask_inventory", ask_inventory)
    monkeypatch.setattr(pipeline, "take_inventory", take_inventory)


def test_files_are_asked_of_the_container_that_checks_ran_in(
    monkeypatch: pytest.MonkeyPatch, locked: LockedCell
) -> None:
    engine, publisher = Engine(), Publisher(documents=True)
    ask(monkeypatch, engine)
    make_builder(monkeypatch, engine, publisher).build_cell(locked, EARLY)
    assert engine.done == ["asked", "verdicts kept", f"{image_ref(locked.job)} names sha256:1"]
    assert publisher.told == [PASSED, INVENTORY]


@pytest.mark.parametrize("publisher", [None, Publisher(documents=False)])
def test_files_are_not_asked_for_where_no_document_tells_them(
    monkeypatch: pytest.MonkeyPatch, locked: LockedCell, publisher: Publisher | None
) -> None:
    engine = Engine()
    ask(monkeypatch, engine)
    make_builder(monkeypatch, engine, publisher).build_cell(locked, EARLY)
    assert engine.done == ["verdicts kept", f"{image_ref(locked.job)} names sha256:1"]


def test_image_that_does_not_tell_its_files_has_passed_all_the_same(
    monkeypatch: pytest.MonkeyPatch, locked: LockedCell
) -> None:
    engine, publisher = Engine(), Publisher(documents=True)
    ask(monkeypatch, engine, fault=CheckError("it does not tell"))
    make_builder(monkeypatch, engine, publisher).build_cell(locked, EARLY)
    named = f"{image_ref(locked.job)} names sha256:1"
    assert engine.done == ["asked", "verdicts kept", named, "asked in a container of its own"]


def test_image_that_fails_a_check_is_gone_and_has_no_name(monkeypatch: pytest.MonkeyPatch, locked: LockedCell) -> None:
    engine = Engine()
    ask(monkeypatch, engine)
    with pytest.raises(CheckError, match="1 of 1 checks failed"):
        make_builder(monkeypatch, engine, Publisher(documents=True), FAILED).build_cell(locked, EARLY)
    assert engine.done == ["sha256:1 is gone"]
