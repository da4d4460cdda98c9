"""The provenance of an image: a statement that verifiers of in-toto and SLSA can read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as Message
from packageurl import PackageURL

from builder.errors import ImgbuildError
from builder.sbom.builders import Revision
from builder.sbom.provenance import BUILD_TYPE, dump_provenance
from builder.sbom.subject import Subject
from tests.samples import BASE, make_conda, make_environment, make_wheel

CELL = make_environment(conda=[make_conda("zlib")], pip=[make_wheel("torch", "2.7.1+cu118")])
SUBJECT = Subject(
    cell="pytorch-py3.10-cu118",
    ref="registry.example/team/pytorch:2.7.1-cu118-py310",
    digest="sha256:" + "ab" * 32,
    base_ref=BASE.ref,
    base_digest=BASE.digest,
    environment=CELL,
    created=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
)
SOURCES = {"images/pytorch/image.yaml": "1" * 64, "images/base/image.yaml": "2" * 64}
BUILDER = "https://ci.example/builder"


def tell(**more: Any) -> dict[str, Any]:
    changed = {name: getattr(SUBJECT, name) for name in Subject.__dataclass_fields__} | more
    told: dict[str, Any] = json.loads(dump_provenance(Subject(**changed), sources=SOURCES, builder_id=BUILDER))
    return told


def test_commit_is_among_what_it_depends_on() -> None:
    revision = Revision(uri="git+https://git.example/team/images@refs/heads/main", commit="c" * 40)
    told = json.loads(dump_provenance(SUBJECT, sources=SOURCES, builder_id=BUILDER, revision=revision))
    Statement.copy_from_pb(ParseDict(told, Message())).validate()
    known = tell()["predicate"]["buildDefinition"]["resolvedDependencies"]
    new = [it for it in told["predicate"]["buildDefinition"]["resolvedDependencies"] if it not in known]
    assert new == [{"name": "source", "uri": revision.uri, "digest": {"gitCommit": revision.commit}}]


@pytest.mark.parametrize("base_digest", [BASE.digest, None])
def test_statement_is_valid_and_has_no_field_that_the_formats_lack(base_digest: str | None) -> None:
    told = tell(base_digest=base_digest)
    Statement.copy_from_pb(ParseDict(told, Message())).validate()
    provenance = ParseDict(told["predicate"], Provenance())
    assert told["predicateType"] == "https://slsa.dev/provenance/v1"
    assert provenance.build_definition.build_type == BUILD_TYPE
    assert provenance.run_details.builder.id == BUILDER
    for time in (provenance.run_details.metadata.started_on, provenance.run_details.metadata.finished_on):
        assert time.ToDatetime(UTC) == SUBJECT.created


def test_subject_is_the_image_and_what_it_depends_on_is_the_lock_and_the_base() -> None:
    told = tell()
    assert told["subject"] == [{"name": SUBJECT.ref, "digest": {"sha256": "ab" * 32}}]
    base, *packages = told["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert base["digest"] == {"sha256": "ba5e" * 16}
    assert PackageURL.from_string(base["uri"]).version == BASE.digest
    assert [(it["uri"], it["digest"]["sha256"]) for it in packages] == [
        (it.url, it.sha256) for it in (*CELL.conda, *CELL.pip)
    ]


def test_parameters_are_the_cell_and_its_sources_by_path() -> None:
    parameters = tell()["predicate"]["buildDefinition"]["externalParameters"]
    assert parameters["cell"] == SUBJECT.cell
    assert parameters["sources"] == [
        {"name": path, "digest": {"sha256": digest}} for path, digest in sorted(SOURCES.items())
    ]


def test_order_of_the_sources_does_not_matter() -> None:
    turned = dict(reversed(SOURCES.items()))
    assert dump_provenance(SUBJECT, sources=turned, builder_id=BUILDER) == dump_provenance(
        SUBJECT, sources=SOURCES, builder_id=BUILDER
    )


def test_image_without_a_digest_has_no_provenance() -> None:
    with pytest.raises(ImgbuildError, match="no digest"):
        tell(digest=None)


def test_kind_of_build_is_documented_with_all_its_parameters() -> None:
    text = (Path(__file__).parents[2] / "docs" / "provenance.md").read_text(encoding="utf-8")
    definition = tell()["predicate"]["buildDefinition"]
    assert definition["buildType"] in text
    for name in definition["externalParameters"]:
        assert f"`{name}`" in text
