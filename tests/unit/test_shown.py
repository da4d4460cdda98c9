"""What others wrote moves no cursor, and is no command to GitHub's runner."""

from __future__ import annotations

import pytest

from builder.shown import show

WORDS = "a\n::stop-commands::x\n\x1b[31mred\x1b[0m \x1b]0;title\x07\x1b[2J caf\udce9\t##[error]b"


def test_what_cannot_be_seen_has_a_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    assert show(WORDS) == "a\n::stop-commands::x\nred �]0;title��[2J caf�\t##[error]b"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\r\nb", "a\nb"),
        ("1 %\r2 %\n", "1 %\n2 %\n"),
        ("\x1b[Kline", "line"),
        ("日本\u3000語 1\u202f000\xa0€ → ✓ 👩\u200d💻\n", None),
        ("a\u202eb", "a�b"),
    ],
)
def test_what_can_be_seen_stays(monkeypatch: pytest.MonkeyPatch, text: str, shown: str | None) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    assert show(text) == (text if shown is None else shown)


def test_nothing_is_a_command_in_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert show(WORDS) == "a\n\\::stop-commands::x\nred �]0;title��[2J caf�\t#\\#[error]b"
