"""What others wrote moves no cursor, and is no command to GitHub's runner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.shown import show

if TYPE_CHECKING:
    import pytest

WORDS = "a\n::stop-commands::x\n\x1b[31mred\x1b[0m \x1b]0;title\x07\x1b[2J caf\udce9\t##[error]b"


def test_what_cannot_be_seen_has_a_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    assert show(WORDS) == "a\n::stop-commands::x\nred �]0;title��[2J caf�\t##[error]b"


def test_nothing_is_a_command_in_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert show(WORDS) == "a\n\\::stop-commands::x\nred �]0;title��[2J caf�\t#\\#[error]b"
