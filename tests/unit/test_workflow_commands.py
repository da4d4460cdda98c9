from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.workflow_commands import defuse, write_command

LIKE_COMMANDS = st.lists(
    st.sampled_from(["::", "error", "stop-commands", "##", "#", "[", "]", " ", "\t", "\r", "\n", "\\", "\u200b", "x"])
).map("".join)


def find_commands(text: str) -> list[str]:
    """Return what the runner would try to run: its own rules, for any name of a command."""
    lines = re.split(r"\r\n|\r|\n", text)
    new = [line for line in lines if re.match(r"\s*::.*?::", line)]
    return new + [line for line in lines if re.search(r"##\[[^\]]*\]", line)]


@given(LIKE_COMMANDS)
def test_nothing_in_a_defused_text_is_a_command(text: str) -> None:
    assert find_commands(defuse(text)) == []


@given(LIKE_COMMANDS, LIKE_COMMANDS)
def test_command_is_one_line_whatever_it_says(text: str, title: str) -> None:
    line = write_command("error", text, title=title)
    assert find_commands(line)[:1] == [line]
    assert line.startswith(
        f"::error title={line[len('::error title=') :].partition('::')[0]}::" if title else "::error::"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("::error::x", "\\::error::x"),
        ("a\n   ::add-mask::x", "a\n   \\::add-mask::x"),
        ("a\r::stop-commands::x", "a\r\\::stop-commands::x"),
        ("a ##[set-env name=PATH]x", "a #\\#[set-env name=PATH]x"),
        ("##[::]", "#\\#[\\::]"),
        ("std::vector and a::b\nRUN x # ## [1]", "std::vector and a::b\nRUN x # ## [1]"),
    ],
)
def test_only_what_could_be_a_command_changes(text: str, said: str) -> None:
    assert defuse(text) == said


def test_what_separates_properties_is_no_part_of_them() -> None:
    assert write_command("error", "50 %,\nb", title="a,file=x::b%") == (
        "::error title=a%2Cfile=x%3A%3Ab%25::50 %25,%0Ab"
    )
