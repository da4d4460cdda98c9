"""What one machine has published, another that publishes finds there, and builds only the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from builder.attach import DOCUMENT, TYPES
from builder.errors import RegistryError
from builder.moving import find_replaced
from builder.reuse import attach_recipe
from builder.staged import Staging
from builder.tags import tag_lasting
from tests.unit.test_attach import CONTEXT, MADE_FROM, NAME, Engine, add_image, make_publisher, run
from tests.unit.test_attach import locked as locked
from tests.unit.test_signing import make_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from builder.locked import LockedCell
    from builder.registry.writing import Writer
    from tests.registry import FakeRegistry

OTHER = MADE_FROM.replace("e", "f")


def find(fake: FakeRegistry, writer: Writer, locked: LockedCell, recipe: str = MADE_FROM, **more: Any) -> str | None:
    """Return the digest of what a machine without any image finds."""
    found = make_publisher(Engine(fake), writer, **more).find(locked, CONTEXT, recipe)
    return found.digest if found else None


def publish_again(
    fake: FakeRegistry, writer: Writer, locked: LockedCell, report: Callable[[str], None] = print, **more: Any
) -> str:
    """Publish what a machine without any image finds, and return its ref."""
    publisher = make_publisher(Engine(fake), writer, **more)
    found = publisher.find(locked, CONTEXT, MADE_FROM)
    assert found
    return publisher.publish_again(found, locked, CONTEXT, report)


def test_image_from_the_same_is_found_and_one_from_another_recipe_is_not(
    fake: FakeRegistry, writer: Writer, locked: LockedCell
) -> None:
    assert find(fake, writer, locked) is None
    engine = Engine(fake, one=1)
    run(make_publisher(engine, writer), engine, locked)
    fake.asked.clear()
    assert find(fake, writer, locked) == engine.image_id
    assert find(fake, writer, locked, OTHER) is None
    assert not fake.sent()


def test_image_of_which_nobody_knows_what_it_was_made_from_is_not_found(
    fake: FakeRegistry, writer: Writer, locked: LockedCell
) -> None:
    engine = Engine(fake, one=1)
    run(make_publisher(engine, writer), engine, locked, recipe="")
    assert find(fake, writer, locked) is None
    assert find(fake, writer, locked, "") is None


def test_same_image_from_something_else_is_found_by_either(
    fake: FakeRegistry, writer: Writer, locked: LockedCell
) -> None:
    """As after a change of what leaves no trace in it, or an older imgbuild that did not tell."""
    engine = Engine(fake, one=1)
    for recipe in ("", MADE_FROM, OTHER):
        run(make_publisher(engine, writer), engine, locked, recipe)
        assert find(fake, writer, locked, recipe) == (engine.image_id if recipe else None)
    assert find(fake, writer, locked) == engine.image_id


@pytest.mark.parametrize("kind", TYPES)
def test_image_without_one_of_its_documents_is_not_found(
    fake: FakeRegistry, writer: Writer, locked: LockedCell, kind: str
) -> None:
    engine = Engine(fake, one=1)
    run(make_publisher(engine, writer), engine, locked)
    listed = fake.referrers[engine.image_id]
    listed.remove(next(it for it in listed if it["annotations"].get(DOCUMENT) == kind))
    assert find(fake, writer, locked) is None


def test_list_of_what_is_attached_is_not_believed(fake: FakeRegistry, writer: Writer, locked: LockedCell) -> None:
    engine = Engine(fake, one=1)
    run(make_publisher(engine, writer), engine, locked)
    for told in fake.referrers[engine.image_id]:
        told["annotations"]["dev.imgbuild.recipe"] = OTHER
    assert find(fake, writer, locked, OTHER) is None
    assert find(fake, writer, locked) == engine.image_id


def test_only_what_the_signer_has_signed_is_found(
    fake: FakeRegistry, writer: Writer, locked: LockedCell, tmp_path: Path
) -> None:
    engine, (key, other) = Engine(fake, one=1), [make_key(tmp_path / name) for name in ("one", "other")]
    run(make_publisher(engine, writer), engine, locked)
    assert find(fake, writer, locked, signer=key) is None
    run(make_publisher(engine, writer, signer=key), engine, locked)
    assert find(fake, writer, locked, signer=key) == engine.image_id
    assert find(fake, writer, locked, signer=other) is None
    assert find(fake, writer, locked) == engine.image_id


def test_recipe_that_the_signer_has_not_signed_counts_for_nothing(
    fake: FakeRegistry, writer: Writer, locked: LockedCell, tmp_path: Path
) -> None:
    engine, key = Engine(fake, one=1), make_key(tmp_path)
    run(make_publisher(engine, writer, signer=key), engine, locked)
    image = writer.find(NAME, "latest")
    assert image is not None
    attach_recipe(writer, NAME, image, OTHER)
    assert find(fake, writer, locked, OTHER) == engine.image_id
    assert find(fake, writer, locked, OTHER, signer=key) is None
    run(make_publisher(engine, writer, signer=key), engine, locked, OTHER)
    assert find(fake, writer, locked, OTHER, signer=key) == engine.image_id


def test_newest_image_from_the_same_is_found_before_the_first(
    fake: FakeRegistry, writer: Writer, locked: LockedCell
) -> None:
    engines = [Engine(fake, one=1), Engine(fake, newer=1)]
    for engine in engines:
        run(make_publisher(engine, writer), engine, locked)
    assert find(fake, writer, locked) == engines[1].image_id
    del fake.tags[NAME][locked.job.cell.tag]
    assert find(fake, writer, locked) == engines[0].image_id


def test_tags_move_to_what_was_found_and_nothing_else_is_sent(
    fake: FakeRegistry, writer: Writer, locked: LockedCell
) -> None:
    engine, said = Engine(fake, one=1), []
    run(make_publisher(engine, writer, staged=True), engine, locked)
    fake.asked.clear()
    assert publish_again(fake, writer, locked, said.append) == f"{fake.address}/{NAME}:2.7.1-cu118-py310"
    assert fake.sent() == [f"/v2/{NAME}/manifests/{tag}" for tag in ("2.7.1-cu118-py310", "latest")]
    assert said == ["moving its tags"]


def test_what_the_tag_named_before_is_kept(fake: FakeRegistry, writer: Writer, locked: LockedCell) -> None:
    engine = Engine(fake, one=1)
    run(make_publisher(engine, writer, staged=True), engine, locked)
    old = add_image(fake, locked.job.cell.tag, old=1)
    publish_again(fake, writer, locked)
    attached = writer.list_referrers(NAME, engine.image_id)
    assert find_replaced(attached) == old.digest


def test_what_was_published_can_wait_for_a_test(fake: FakeRegistry, writer: Writer, locked: LockedCell) -> None:
    engine = Engine(fake, one=1)
    run(make_publisher(engine, writer), engine, locked)
    before, lasting = dict(fake.tags[NAME]), tag_lasting(locked.job, CONTEXT)
    assert publish_again(fake, writer, locked, staged=True) == f"{fake.address}/{NAME}:{lasting}"
    assert fake.tags[NAME] == {**before, f"{lasting}-staged": engine.image_id}
    staging = Staging(registry=writer, place=f"{fake.address}/team", contexts={locked.id: CONTEXT})
    assert staging.find(locked.job).digest == engine.image_id


def test_what_waits_and_has_no_tag_that_lasts_is_told_by_its_digest(
    fake: FakeRegistry, writer: Writer, locked: LockedCell
) -> None:
    engines = [Engine(fake, one=1), Engine(fake, newer=1)]
    for engine in engines:
        run(make_publisher(engine, writer, staged=True), engine, locked)
    ref = publish_again(fake, writer, locked, staged=True)
    assert ref == f"{fake.address}/{NAME}@{engines[1].image_id}"


def test_nothing_is_found_without_documents(fake: FakeRegistry, writer: Writer, locked: LockedCell) -> None:
    engine = Engine(fake, one=1)
    run(make_publisher(engine, writer), engine, locked)
    assert find(fake, writer, locked, documents=False) is None


def test_registry_that_cannot_be_asked_has_none_and_is_left_alone(
    fake: FakeRegistry, writer: Writer, locked: LockedCell
) -> None:
    engine = Engine(fake, one=1)
    run(make_publisher(engine, writer), engine, locked)
    publisher, fake.faults = make_publisher(engine, writer), [403]
    assert publisher.find(locked, CONTEXT, MADE_FROM) is None
    fake.asked.clear()
    assert publisher.find(locked, CONTEXT, MADE_FROM) is None
    assert not fake.asked


def test_damaged_image_is_passed_over(fake: FakeRegistry, writer: Writer, locked: LockedCell) -> None:
    engine = Engine(fake, one=1)
    run(make_publisher(engine, writer), engine, locked)
    bad = add_image(fake, locked.job.cell.tag, bad=1)
    fake.referrers[bad.digest] = [{"digest": 1}]
    assert find(fake, writer, locked) == engine.image_id


def test_tag_that_the_registry_does_not_take_is_told(fake: FakeRegistry, writer: Writer, locked: LockedCell) -> None:
    engine = Engine(fake, one=1)
    run(make_publisher(engine, writer, staged=True), engine, locked)
    fake.faults, fake.failing = [403] * 2, "PUT"
    with pytest.raises(RegistryError):
        publish_again(fake, writer, locked)
