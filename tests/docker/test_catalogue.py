"""The catalogue of images that were built, checked and published, from the first page to a container."""

from __future__ import annotations

import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.site.browser import CHROMIUM, start_browser

if TYPE_CHECKING:
    from pathlib import Path

    from tests.docker.conftest import Lab
    from tests.docker.served import Registry

MATRIX = {"python": ["3.11", "3.13"], "cuda": ["12.6", "cpu"], "torch": "none"}
SHOWN = "[...document.querySelectorAll('#all tbody tr')].filter(row => row.checkVisibility())"
LINES = f"{SHOWN}.map(row => row.querySelector('.command').textContent)"


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here: apt-get install chromium")
def test_two_clicks_lead_to_a_line_that_runs(lab: Lab, registry: Registry, tmp_path: Path) -> None:
    lab.define(matrix=MATRIX)
    place = f"{registry.address}/team"
    done = lab.build("--push", place)
    assert done.returncode == 0, done.stderr
    pages = tmp_path / "site"
    made = lab.run("site", "--from-registry", place, "--output", str(pages))
    assert made.returncode == 0, made.stderr
    with start_browser(tmp_path / "profile") as browser:
        browser.open(pages / "index.html")
        browser.click("label[for='python-3.11']")
        browser.click("label[for='driver-535']")
        lines = browser.ask(LINES)
    wanted = {
        f"docker run --rm -it --gpus all {place}/{lab.name}:cu126-py311",
        f"docker run --rm -it {place}/{lab.name}:cpu-py311",
    }
    assert set(lines) == wanted
    for ref in done.stdout.split():
        lab.client.images.remove(ref.removeprefix(f"{place}/"), force=True)
    line = shlex.split(min(lines, key=len).replace(" -it ", " "))
    try:
        said = subprocess.run(
            [*line, "python", "-c", "import sys, six; print(sys.version_info[:2])"],
            env=lab.environment,
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        lab.client.images.remove(line[-1])
    assert said.stdout == "(3, 11)\n"
