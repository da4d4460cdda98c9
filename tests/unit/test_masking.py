"""A secret is taken out of a text in every way in which tools write its characters."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.masking import mask

SECRET = 'p@ss"wörd/\\1'


@pytest.mark.parametrize(
    "written",
    [
        SECRET,
        quote(SECRET, safe=""),
        quote(SECRET, safe="").lower(),
        'p%40ss"w%c3%b6rd/\\1',
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        repr(f"'{SECRET}")[3:-1],
    ],
)
def test_secret_is_found_however_it_is_written(written: str) -> None:
    assert mask(f"http://bob:{written}@proxy:3128 said no", [SECRET]) == "http://bob:***@proxy:3128 said no"


def test_quotation_mark_that_a_language_escapes_is_found() -> None:
    assert mask(repr('it\'s "open"'), ["it's"]) == "'*** \"open\"'"


def test_longest_secret_goes_first_and_none_is_no_secret() -> None:
    assert mask("abcd abc", ["abc", "abcd", ""]) == "*** ***"
    assert mask("abc", [""]) == "abc"
    assert mask("ABC a\\bc", ["abc"]) == "ABC a\\bc"


@given(secret=st.text(min_size=1))
def test_any_secret_is_found(secret: str) -> None:
    assert mask(secret, [secret]) == "***"


@given(secret=st.text("abAB", min_size=1), around=st.text("abAB"))
def test_nothing_else_is_taken_for_a_secret(secret: str, around: str) -> None:
    assert mask(around, [secret]) == around.replace(secret, "***")
