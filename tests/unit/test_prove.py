"""What `imgbuild test` says of images, on an engine that answers as it is told to. Real checks: tests/docker."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest

from builder.errors import CheckError
from tests.published import make_workshop

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import Run


class Engine:
    """It has no image, and says so in words that quote the way to it."""

    is_local = False

    def describe(self) -> dict[str, object]:
        return {}

    def find_image(self, ref: str) -> None:
        raise CheckError(f"{ref}: asked through http://me:canary@proxy.example:3128", hint="canary")


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_no_login_is_in_what_is_said_of_an_image(
    run: Run, tmp_path: Path, bare_host: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    workshop = make_workshop(tmp_path / "project")
    sources = bare_host / "site.yaml"
    sources.write_text("proxy: {https: 'http://me:canary@proxy.example:3128'}\n")
    monkeypatch.setenv("IMGBUILD_SOURCES", str(sources))
    monkeypatch.setattr("builder.engine.Engine", lambda: nullcontext(Engine()))
    code, out, err = run("--project", workshop.root, "test", "--all", *more)
    assert code == 9
    assert "canary" not in out + err
    assert out.count("proxy.example") == len(workshop.cells)
    assert not more or {it["passed"] for it in json.loads(out)} == {False}
