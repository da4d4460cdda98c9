from __future__ import annotations

from dataclasses import replace

import pytest
from packaging.version import Version

from builder.inputs import digest_inputs
from tests.samples import BASE, make_job

JOB = make_job(conda=("pandas",), pip=("transformers",))


@pytest.mark.parametrize(
    "other",
    [
        make_job("3.11", conda=("pandas",), pip=("transformers",)),
        make_job("3.10", "12.6", conda=("pandas",), pip=("transformers",)),
        make_job("3.10", "cpu", conda=("pandas",), pip=("transformers",)),
        make_job(conda=("pandas >=2",), pip=("transformers",)),
        make_job(conda=("pandas",), pip=("transformers", "datasets")),
        make_job(conda=("pandas",), pip=("transformers",), channels=("conda-forge", "nvidia")),
        replace(JOB, base=replace(BASE, glibc=Version("2.28"))),
    ],
)
def test_what_decides_the_solution_changes_the_digest(other: object) -> None:
    assert digest_inputs(other) != digest_inputs(JOB)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "other",
    [
        make_job(conda=("pandas",), pip=("transformers",), apt=("git",), env=(("A", "1"),)),
        replace(JOB, base=replace(BASE, ref="registry.example/miniforge:2", digest=None)),
    ],
)
def test_what_solvers_never_see_does_not(other: object) -> None:
    assert digest_inputs(other) == digest_inputs(JOB)  # type: ignore[arg-type]


def test_digest_is_the_same_on_every_machine() -> None:
    job = make_job("3.10", "cpu", torch=replace(JOB.definition.torch, wanted=False))
    assert digest_inputs(job) == "sha256:127d881446f2b683890d308bc4b2599feb87cbd8e67e065b4b0ed00b4e529e58"


def test_channels_of_torch_come_first_and_only_once() -> None:
    job = make_job(torch_source=("pytorch",), channels=("conda-forge", "nvidia"))
    assert job.channels == ("pytorch", "nvidia", "conda-forge")
