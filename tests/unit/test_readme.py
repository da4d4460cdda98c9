"""What the README shows of the command line is what it prints."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"^    \$ imgbuild (.*)\n((?:    .+\n)+)", README, re.MULTILINE)
HERE = [(command, output) for command, output in SHOWN if "demo" not in output]


def test_readme_shows_commands() -> None:
    assert len(HERE) >= 2


@pytest.mark.parametrize(("command", "output"), HERE, ids=[command for command, _ in HERE])
def test_output_in_the_readme_is_real(command: str, output: str) -> None:
    imgbuild = Path(sys.executable).with_name("imgbuild")
    done = subprocess.run([imgbuild, *shlex.split(command)], cwd=ROOT, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert said.splitlines() == [line.removeprefix("    ") for line in output.splitlines()]


def test_options_in_the_readme_exist() -> None:
    from builder.cli import cli

    for command, rest in re.findall(r"^    (?:\.venv/bin/|\$ )?imgbuild (\w+)(.*?)(?:#.*)?$", README, re.MULTILINE):
        known = {option for parameter in cli.commands[command].params for option in parameter.opts}
        for option in re.findall(r"(?<!\S)--[\w-]+", rest.partition("|")[0]):
            assert option in known, f"imgbuild {command} has no {option}"
