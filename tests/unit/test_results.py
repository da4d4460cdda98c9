"""What the checks of an image found, as a statement that verifiers of in-toto can read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from hypothesis import given
from hypothesis import strategies as st
from in_toto_attestation.predicates.test_result.v0 import test_result_pb2
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as Message

from builder.errors import ImgbuildError
from builder.sbom.results import PREDICATE, dump_results
from builder.sbom.subject import Subject
from tests.samples import BASE, make_environment

CHECKS = "sha256:" + "c4" * 32
FOUND = {"python": "pass", "torch": "pass", "device": "skip", "size": "fail"}


def make_subject(digest: str | None = "sha256:" + "ab" * 32) -> Subject:
    return Subject(
        cell="pytorch-py3.10-cu118",
        ref="registry.example/team/pytorch:2.7.1-cu118-py310",
        digest=digest,
        base_ref=BASE.ref,
        environment=make_environment(),
        created=datetime(2026, 1, 2, tzinfo=UTC),
    )


def tell(verdicts: dict[str, str]) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(dump_results(make_subject(), verdicts, checks=CHECKS))
    return told


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.sampled_from(["pass", "fail", "skip"]), max_size=6))
def test_statement_is_valid_and_each_check_is_told_once(verdicts: dict[str, str]) -> None:
    told = tell(verdicts)
    Statement.copy_from_pb(ParseDict(told, Message())).validate()
    results = ParseDict(told["predicate"], test_result_pb2.TestResult())
    (configuration,) = results.configuration
    skipped = list(configuration.annotations["skipped"]) if "skipped" in configuration.annotations else []
    assert told["predicateType"] == PREDICATE
    assert sorted([*results.passed_tests, *results.failed_tests, *skipped]) == sorted(verdicts)
    assert results.result == ("FAILED" if "fail" in verdicts.values() else "PASSED")


def test_check_that_was_skipped_has_not_passed() -> None:
    predicate = tell(FOUND)["predicate"]
    assert (predicate["passedTests"], predicate["failedTests"]) == (["python", "torch"], ["size"])
    assert predicate["warnedTests"] == []
    assert predicate["configuration"] == [
        {"name": "checks", "digest": {"sha256": "c4" * 32}, "annotations": {"skipped": ["device"]}}
    ]


def test_subject_is_the_image_by_its_digest() -> None:
    assert tell(FOUND)["subject"][0]["digest"] == {"sha256": "ab" * 32}
    with pytest.raises(ImgbuildError, match="no digest"):
        dump_results(make_subject(digest=None), FOUND, checks=CHECKS)
