"""What a registry tells besides the images: packages and verdicts that are attached, and what a tag meant before."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from builder.attach import DOCUMENT, TYPES, UNPACKED
from builder.history import add_history
from builder.moving import move_tags
from builder.registry.image import read_image
from builder.registry.writing import Artifact, Writer
from builder.render import LABEL, OCI
from builder.site.entries import CheckResult, Package, Previous
from builder.site.published import Published, make_entries

if TYPE_CHECKING:
    from tests.registry import FakeRegistry

NAME = "team/demo"
TAG = "cpu-py311"
LABELS = {f"{LABEL}.image": "demo", f"{LABEL}.python": "3.11", f"{LABEL}.cuda": "cpu"}
RESULTS = {
    "predicate": {
        "passedTests": ["imports"],
        "failedTests": [],
        "configuration": [{"name": "checks", "annotations": {"skipped": ["matmul"]}}],
    }
}


def add(fake: FakeRegistry, day: int, *tags: str) -> str:
    created = {f"{OCI}.created": f"2026-01-{day:02}T00:00:00Z"} if day else {}
    told = fake.add_image(NAME, *tags, labels=LABELS | created, layers={f"made on {day} as {tags}": 100})
    return str(told["digest"])


def attach(writer: Writer, digest: str, **documents: Any) -> None:
    image = writer.find(NAME, digest)
    assert image is not None
    for kind, data in documents.items():
        form = TYPES.get(kind, TYPES["checks"])  # type: ignore[call-overload]
        payload = data if isinstance(data, bytes) else json.dumps(data).encode()
        artifact = Artifact(artifact_type=form, media_type=form, blobs=(payload,), annotations=((DOCUMENT, kind),))
        writer.attach(NAME, image, artifact)


def make_bill(version: str) -> dict[str, Any]:
    return {"components": [{"name": "six", "version": version, "purl": f"pkg:pypi/six@{version}"}]}


def tell(writer: Writer) -> Published:
    image = read_image(writer, NAME, TAG)
    assert image is not None
    published = Published(ref=f"{writer.host}/{NAME}:{TAG}", image=image, environment=None)
    (told,) = add_history(writer, [published])
    return told


def test_what_is_attached_and_what_the_tag_meant_before_is_in_the_catalogue(
    fake: FakeRegistry, writer: Writer
) -> None:
    add(fake, 1, f"{TAG}-{'1' * 12}")
    before = add(fake, 2, f"{TAG}-{'2' * 12}")
    now = add(fake, 3, TAG, f"{TAG}-{'3' * 12}")
    add(fake, 4, f"{TAG}-{'4' * 12}")  # staged: no tag that moves has named it yet
    add(fake, 2, f"cpu-py312-{'5' * 12}", "cpu-py311-own")
    attach(writer, before, cyclonedx=make_bill("1.16"))
    attach(writer, now, cyclonedx=make_bill("1.17"), provenance={}, checks=RESULTS)
    (entry,) = make_entries([tell(writer)])
    assert entry.digest == now
    assert entry.packages == (Package(name="six", version="1.17", kind="pip"),)
    old = (Package(name="six", version="1.16", kind="pip"),)
    assert entry.previous == Previous(digest=before, packages=old)
    assert entry.verdicts == (
        CheckResult(check="imports", verdict="pass", detail=""),
        CheckResult(check="matmul", verdict="skip", detail=""),
    )


def name(writer: Writer, digest: str) -> None:
    image = writer.find(NAME, digest)
    assert image is not None
    move_tags(writer, NAME, image, (TAG, "latest"), record=True)


def tell_previous(writer: Writer) -> str | None:
    told = tell(writer).previous
    return told.digest if told else None


@pytest.mark.parametrize("has_api", [True, False])
def test_previous_image_is_what_the_tag_named_before_whatever_their_times(
    fake: FakeRegistry, writer: Writer, has_api: bool
) -> None:
    """A newer pip package moves no time, and a tag may go back."""
    fake.has_referrers = has_api
    first, second, third = (add(fake, 1, f"{TAG}-{number * 12}") for number in "123")
    name(writer, first)
    assert tell_previous(writer) is None
    for now, before in ((second, first), (third, second), (second, third), (first, second)):
        name(writer, now)
        assert fake.tags[NAME][TAG] == fake.tags[NAME]["latest"] == now
        assert tell_previous(writer) == before
        fake.asked.clear()
        name(writer, now)
        assert not fake.sent(), "nothing has moved"
        assert tell_previous(writer) == before


def test_previous_image_that_is_gone_is_none(fake: FakeRegistry, writer: Writer) -> None:
    first, second = (add(fake, 1, f"{TAG}-{number * 12}") for number in "12")
    name(writer, first)
    name(writer, second)
    del fake.manifests[NAME, first]
    assert tell_previous(writer) is None


def attach_size(writer: Writer, digest: str, told: str, *annotations: tuple[str, str]) -> None:
    image = writer.find(NAME, digest)
    assert image is not None
    form = TYPES["checks"]
    noted = ((UNPACKED, told), *annotations)
    writer.attach(NAME, image, Artifact(artifact_type=form, media_type=form, blobs=(b"{}",), annotations=noted))


@pytest.mark.parametrize(("told", "unpacked"), [("6900000000", 6_900_000_000), ("-1", None), ("9" * 99, None)])
def test_size_on_a_disk_is_told_where_it_is_attached(
    fake: FakeRegistry, writer: Writer, told: str, unpacked: int | None
) -> None:
    digest = add(fake, 1, TAG)
    attach(writer, digest, provenance={})
    assert tell(writer).unpacked is None
    attach_size(writer, digest, told, (DOCUMENT, "checks"))
    (entry,) = make_entries([tell(writer)])
    assert entry.unpacked == unpacked


def test_size_on_a_disk_is_what_the_results_of_the_checks_tell_and_no_other_document(
    fake: FakeRegistry, writer: Writer
) -> None:
    digest = add(fake, 1, TAG)
    attach_size(writer, digest, "1")
    attach_size(writer, digest, "2", (DOCUMENT, "test"))
    assert tell(writer).unpacked is None
    attach_size(writer, digest, "3", (DOCUMENT, "checks"))
    assert tell(writer).unpacked == 3


def test_what_is_attached_is_listed_once(fake: FakeRegistry, writer: Writer) -> None:
    digest = add(fake, 1, TAG)
    attach(writer, digest, cyclonedx=make_bill("1.17"), checks=RESULTS, test=RESULTS)
    fake.asked.clear()
    tell(writer)
    assert [path for path in fake.paths if "/referrers/" in path] == [f"/v2/{NAME}/referrers/{digest}"]


def test_a_later_test_counts_where_it_was_not_skipped(fake: FakeRegistry, writer: Writer) -> None:
    later = {
        "passedTests": ["matmul"],
        "failedTests": [],
        "configuration": [{"annotations": {"skipped": ["imports"]}}],
    }
    digest = add(fake, 1, TAG)
    attach(writer, digest, checks=RESULTS, test={"predicate": later})
    assert {it.check: it.verdict for it in tell(writer).verdicts} == {"imports": "pass", "matmul": "pass"}


@pytest.mark.parametrize("damaged", [b"", b"[]", b'{"predicate": {}}', b'{"components": 1, "predicate": 1}'])
def test_what_cannot_be_read_is_left_out(fake: FakeRegistry, writer: Writer, damaged: bytes) -> None:
    digest = add(fake, 1, TAG)
    attach(writer, digest, cyclonedx=damaged, checks=damaged)
    told = tell(writer)
    assert (told.packages, told.verdicts, told.previous) == ((), (), None)


@pytest.mark.parametrize(("now", "before"), [(1, 1), (0, 1), (1, 0)])
def test_image_that_is_not_known_to_be_older_is_no_previous_one(
    fake: FakeRegistry, writer: Writer, now: int, before: int
) -> None:
    add(fake, now, TAG)
    add(fake, before, f"{TAG}-{'1' * 12}")
    assert tell(writer).previous is None
