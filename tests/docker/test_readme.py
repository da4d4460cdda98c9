"""The README shows what really comes out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from tests.docker.conftest import Lab

README = Path(__file__).parents[2] / "README.md"
MOVING = re.compile(r"^# Layer \d|^ +dev\.imgbuild\.(torch|packages|checks)=")
"""Lines that a new release on PyPI, or a changed check, changes."""
IDS = re.compile(r"layers/[0-9a-f]{12}")


def test_dockerfile_in_the_readme_is_the_demos(lab: Lab, kit: Path, tmp_path: Path) -> None:
    demo = yaml.safe_load((kit / "project" / "images" / "demo" / "image.yaml").read_text())
    matrix = {"python": ["3.11"], "cuda": ["cpu"], "torch": "none"}
    lab.define(**(demo | {"name": lab.name, "matrix": matrix}))
    assert lab.run("lock").returncode == 0
    assert lab.run("render", "--out", str(tmp_path / "out")).returncode == 0
    shown = re.search(r"```dockerfile\n(.*?)```", README.read_text(), re.DOTALL)
    assert shown is not None
    rendered = (tmp_path / "out" / f"{lab.name}-py3.11-cpu" / "Dockerfile").read_text()
    # torch is a layer of its own in the README, and not everywhere to be had.
    *steps, wheels_only, pins, rest = split_fixed(shown[1])
    assert [*steps, pins, rest] == split_fixed(rendered.replace(lab.name, "demo"))
    assert "uv_pip install" in wheels_only
    assert "install.py" not in wheels_only


def split_fixed(dockerfile: str) -> list[str]:
    """Return the blocks of a Dockerfile without what differs from lock to lock."""
    lines = [IDS.sub("layers/ID", line) for line in dockerfile.splitlines() if not MOVING.match(line)]
    return "\n".join(lines).strip().split("\n\n")
