from __future__ import annotations

import pytest
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from builder.credentials import has_credentials, hide_credentials
from builder.definition_packages import name_pip


@pytest.mark.parametrize("name", ["tqdm", "Foo.-_Bar1", "7", "a.", "-a", "a b", "a[gpu]"])
@pytest.mark.parametrize("operator", ["==", "!=", "<", "<=", ">", " >= ", "~=", "===", "=", "<>"])
def test_pip_requirements_have_the_names_that_packaging_reads(name: str, operator: str) -> None:
    versions = ("1", "2.0", "1.2.3", "1.*", "1.", "1rc1", "1,<3", "1 , != 2.1", "1,,2", "1 ==2", "")
    for spec in (name, *(name + operator + version for version in versions)):
        try:
            expected = canonicalize_name(Requirement(spec).name)
        except InvalidRequirement:
            with pytest.raises(InvalidRequirement):
                name_pip(spec)
        else:
            assert name_pip(spec) == expected, spec


@pytest.mark.parametrize(
    "text",
    [
        "HTTPS://bob@h/x",
        "https://bob:s3/cret@h/x",
        "postgres://bob:s3cret@db/x",
        "//bob:s3cret@h/x",
        "redis://:s3cret@h",
        "https://h/t/tk-s3cret",
        "/t/tk-s3cret/forge",
    ],
)
def test_logins_of_all_addresses_are_found_and_hidden(text: str) -> None:
    assert has_credentials(text)
    assert "cret" not in hide_credentials(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://h:8080/x@1.2",
        "git+ssh://git@h/a",
        "/data/t",
        "a//b:c",
        "jdbc://h:1/d?u=a@b",
        "docker-image://alpine:3.20@sha256:abc",
        "http://[::1]:8080/@scope/pkg",
        "https://forum.example/t/123",
        "kafka://a:9092,b:9092/x@y",
        "//:" * 2000,
    ],
    ids=lambda text: text[:20],
)
def test_addresses_without_a_login_are_left_alone(text: str) -> None:
    assert not has_credentials(text)
    assert hide_credentials(text) == text
