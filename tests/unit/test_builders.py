"""Who builds: told by a CI or by somebody, never made up."""

from __future__ import annotations

import pytest

from builder.errors import ImgbuildError
from builder.sbom.builders import UNKNOWN, VARIABLE, Revision, find_revision, name_builder

WORKFLOW = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://git.example",
    "GITHUB_WORKFLOW_REF": "team/images/.github/workflows/images.yml@refs/heads/main",
}


COMMIT = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://git.example",
    "GITHUB_REPOSITORY": "team/images",
    "GITHUB_REF": "refs/heads/main",
    "GITHUB_SHA": "c" * 40,
}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (VARIABLE, *WORKFLOW, *COMMIT):
        monkeypatch.delenv(name, raising=False)


def set_all(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_machine_that_nobody_named_is_unknown() -> None:
    assert name_builder() == UNKNOWN


def test_workflow_names_itself_with_its_branch(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, WORKFLOW)
    assert name_builder() == "https://git.example/team/images/.github/workflows/images.yml@refs/heads/main"


@pytest.mark.parametrize("missing", WORKFLOW)
def test_half_of_a_workflow_is_none(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    set_all(monkeypatch, WORKFLOW)
    monkeypatch.delenv(missing)
    assert name_builder() == UNKNOWN


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ("https://ci.example/builders/images", "https://ci.example/builders/images"),
        ("https://user:canary@ci.example/a?token=canary#canary", "https://ci.example/a"),
        ("urn:example:builder", "urn:example:builder"),
    ],
)
def test_what_somebody_says_counts_before_all_and_without_a_login(
    monkeypatch: pytest.MonkeyPatch, told: str, named: str
) -> None:
    set_all(monkeypatch, {**WORKFLOW, VARIABLE: told})
    assert name_builder() == named


@pytest.mark.parametrize("told", ["images", "https://ci example/", "https:", "1a:b", "https://a\n"])
def test_what_is_no_uri_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    monkeypatch.setenv(VARIABLE, told)
    with pytest.raises(ImgbuildError, match=f"{VARIABLE} is no URI") as caught:
        name_builder()
    assert caught.value.hint


def test_commit_is_what_the_ci_tells_without_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = Revision(uri="git+https://git.example/team/images@refs/heads/main", commit="c" * 40)
    set_all(monkeypatch, COMMIT)
    assert find_revision() == wanted
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://user:canary@git.example")
    assert find_revision() == wanted


@pytest.mark.parametrize("name", COMMIT)
@pytest.mark.parametrize("value", [None, "no commit"])
def test_half_of_a_commit_is_none(monkeypatch: pytest.MonkeyPatch, name: str, value: str | None) -> None:
    set_all(monkeypatch, COMMIT)
    monkeypatch.delenv(name)
    if value:
        monkeypatch.setenv(name, value)
    assert find_revision() is None
