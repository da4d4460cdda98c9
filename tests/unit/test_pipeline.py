"""How an image comes to its ref: built, checked, and only then named; what it has in it is asked while it runs."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from builder import early, pipeline
from builder.checks import GpuUse, Verdict
from builder.early import EarlyImages
from builder.errors import BuildError, CheckError
from builder.events import Built, Log, Step
from builder.pipeline import Builder, image_ref
from builder.project import load_project
from builder.sbom.inventory import Inventory
from builder.sources import Sources
from tests.samples import BASE, PROJECT, make_environment, make_job, make_locked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from builder.context import Context
    from builder.events import Event
    from builder.locked import LockedCell

INVENTORY = Inventory(prefix="/opt/env", packages=(), unclaimed=())
PASSED = (Verdict(check="python", verdict="pass", detail=""),)
FAILED = (Verdict(check="python", verdict="fail", detail="3.9"),)


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

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.done.append("closed")

    def again(self) -> Any:
        return self

    def cancel(self) -> None: ...

    def build(self, *_: object, **__: object) -> Iterator[Built]:
        yield Built(image_id="sha256:1")

    def read_config(self, _image_id: str) -> dict[str, str]:
        return {}

    def read_history(self, _image_id: str) -> list[str]:
        return []

    def tag(self, image_id: str, ref: str) -> None:
        self.done.append(f"{ref} names {image_id}")

    def remove(self, image_id: str) -> None:
        self.done.append(f"{image_id} is gone")


class PatientEngine(Engine):
    """It builds an image of all layers only after one of the lower layers."""

    def __init__(self) -> None:
        super().__init__()
        self.lower = threading.Event()

    def build(self, context: Context, **_: object) -> Iterator[Built]:  # type: ignore[override]
        (dockerfile,) = (file.data for file in context.files if file.path == "Dockerfile")
        if b"LABEL" in dockerfile:
            assert self.lower.wait(120)
            yield Built(image_id="sha256:1")
        else:
            yield Built(image_id="sha256:lower")
            self.lower.set()


class Publisher:
    """It asks for what an image has in it, as far as documents are to tell it."""

    def __init__(self, *, documents: bool, known: str = "") -> None:
        self.documents = documents
        self.known = known
        self.told: list[object] = []
        self.recipes: list[str] = []

    def find(self, _locked: LockedCell, _context: Context, recipe: str) -> SimpleNamespace | None:
        self.recipes.append(recipe)
        return SimpleNamespace(digest=self.known) if self.known else None

    def publish_again(self, image: SimpleNamespace, *_: object) -> str:
        self.told.append(image.digest)
        return "registry.example/pytorch:1"

    def publish(
        self,
        _id: str,
        _locked: object,
        _context: object,
        recipe: str,
        *,
        find_verdicts: Any,
        take_inventory: Any,
        **_: Any,
    ) -> str:
        self.recipes.append(recipe)
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
    make_builder(monkeypatch, engine, publisher).build_cell(locked, EarlyImages(engine.again))
    assert engine.done == ["asked", "verdicts kept", f"{image_ref(locked.job)} names sha256:1"]
    assert publisher.told == [PASSED, INVENTORY]


@pytest.mark.parametrize("publisher", [None, Publisher(documents=False)])
def test_files_are_not_asked_for_where_no_document_tells_them(
    monkeypatch: pytest.MonkeyPatch, locked: LockedCell, publisher: Publisher | None
) -> None:
    engine = Engine()
    ask(monkeypatch, engine)
    make_builder(monkeypatch, engine, publisher).build_cell(locked, EarlyImages(engine.again))
    assert engine.done == ["verdicts kept", f"{image_ref(locked.job)} names sha256:1"]


def test_image_that_does_not_tell_its_files_has_passed_all_the_same(
    monkeypatch: pytest.MonkeyPatch, locked: LockedCell
) -> None:
    engine, publisher = Engine(), Publisher(documents=True)
    ask(monkeypatch, engine, fault=CheckError("it does not tell"))
    make_builder(monkeypatch, engine, publisher).build_cell(locked, EarlyImages(engine.again))
    named = f"{image_ref(locked.job)} names sha256:1"
    assert engine.done == ["asked", "verdicts kept", named, "asked in a container of its own"]


def test_failure_is_told_with_the_words_of_the_step_that_failed(
    monkeypatch: pytest.MonkeyPatch, locked: LockedCell
) -> None:
    def build(*_: object, **__: object) -> Iterator[Event]:
        yield Step(digest="a", name="[2/3] RUN shared", started=1.0, completed=2.0, error="context canceled")
        yield Step(digest="b", name="[3/3] RUN make", started=1.0, completed=2.0, error="exit code: 3")
        yield Log(step="a", stream=1, text="of no interest\n")
        yield Log(step="b", stream=2, text="no rule to make target\n")
        raise BuildError("exit code 3")

    engine = Engine()
    monkeypatch.setattr(engine, "build", build)
    with pytest.raises(BuildError, match=r"RUN make: exit code 3\n +no rule to make target$"):
        make_builder(monkeypatch, engine, None).build_cell(locked, EarlyImages(engine.again))


def test_lower_layers_are_built_beside_the_cell_and_their_image_is_removed(
    monkeypatch: pytest.MonkeyPatch, locked: LockedCell
) -> None:
    monkeypatch.setattr(early, "LEAST", sum(layer.size for layer in locked.layers[:-1]))
    engine = PatientEngine()
    with EarlyImages(engine.again) as images:
        make_builder(monkeypatch, engine, None).build_cell(locked, images)
    named = f"{image_ref(locked.job)} names sha256:1"
    assert engine.done == ["verdicts kept", named, "sha256:lower is gone", "closed"]


def test_image_that_is_up_to_date_has_no_layers_exported(monkeypatch: pytest.MonkeyPatch, locked: LockedCell) -> None:
    monkeypatch.setattr(early, "LEAST", 1)
    engine = Engine()
    builder = make_builder(monkeypatch, engine, None)
    monkeypatch.setattr(builder.memo, "find", lambda *_: "sha256:1")
    monkeypatch.setattr(engine, "find_image", lambda _: "sha256:1")
    with EarlyImages(engine.again) as images:
        assert not builder.build_cell(locked, images).fresh
    assert engine.done == []


def test_image_that_another_machine_has_published_is_not_built(
    monkeypatch: pytest.MonkeyPatch, locked: LockedCell
) -> None:
    engine, publisher = Engine(), Publisher(documents=True, known="sha256:2")
    image = make_builder(monkeypatch, engine, publisher).build_cell(locked, EarlyImages(engine.again))
    assert (image.ref, image.image_id, image.fresh) == ("registry.example/pytorch:1", "sha256:2", False)
    assert publisher.told == ["sha256:2"]
    assert engine.done == []


def test_what_is_published_says_what_was_looked_for(monkeypatch: pytest.MonkeyPatch, locked: LockedCell) -> None:
    engine, publisher = Engine(), Publisher(documents=False)
    assert make_builder(monkeypatch, engine, publisher).build_cell(locked, EarlyImages(engine.again)).fresh
    looked_for, published = publisher.recipes
    assert looked_for == published


@pytest.mark.parametrize("known", ["sha256:1", "sha256:older"])
def test_machine_that_has_an_image_of_the_cell_looks_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, locked: LockedCell, known: str
) -> None:
    """An older one would stay the cell's."""
    engine, publisher = Engine(), Publisher(documents=False, known="sha256:2")
    monkeypatch.setattr(engine, "find_image", lambda _: known)
    builder = make_builder(monkeypatch, engine, publisher)
    monkeypatch.setattr(builder.memo, "find", lambda *_: "sha256:1")
    monkeypatch.setattr(builder.verdicts, "find", lambda *_: PASSED)
    assert builder.build_cell(locked, EarlyImages(engine.again)).image_id == "sha256:1"
    assert publisher.told == [PASSED]


@pytest.mark.parametrize(
    ("cuda", "state", "looks"), [("11.8", "gpus", False), ("11.8", "none", True), ("cpu", "cdi", True)]
)
def test_machine_with_a_gpu_checks_what_may_have_been_checked_without(
    monkeypatch: pytest.MonkeyPatch, cuda: str, state: Any, looks: bool
) -> None:
    (locked,) = make_locked((make_job(cuda=cuda), make_environment()))
    engine, publisher = Engine(), Publisher(documents=False, known="sha256:2")
    builder = replace(make_builder(monkeypatch, engine, publisher), gpu=GpuUse(state=state))
    assert builder.build_cell(locked, EarlyImages(engine.again)).fresh is not looks


def test_nobody_looks_for_an_image_on_a_base_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    (locked,) = make_locked((replace(make_job(), base=replace(BASE, digest=None)), make_environment()))
    engine, publisher = Engine(), Publisher(documents=False)
    assert make_builder(monkeypatch, engine, publisher).build_cell(locked, EarlyImages(engine.again)).fresh
    assert publisher.recipes == ["", ""]


def test_image_that_fails_a_check_is_gone_and_has_no_name(monkeypatch: pytest.MonkeyPatch, locked: LockedCell) -> None:
    engine = Engine()
    ask(monkeypatch, engine)
    with pytest.raises(CheckError, match="1 of 1 checks failed"):
        make_builder(monkeypatch, engine, Publisher(documents=True), FAILED).build_cell(
            locked, EarlyImages(engine.again)
        )
    assert engine.done == ["sha256:1 is gone"]
