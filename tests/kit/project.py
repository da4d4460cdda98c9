"""The demo project: one image definition and the sources file that maps its public names to the kit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.kit.base import IMAGE

if TYPE_CHECKING:
    from pathlib import Path

CHANNEL = "https://conda.example.org/kit"


def write_definition(cpu_torch: str | None) -> str:
    """Return the demo's image.yaml; CPU is among its axes when there is a CPU wheel."""
    cuda = '[cpu, "12.6"]' if cpu_torch else '["12.6"]'
    torch = f'{{cpu: "{cpu_torch}", "12.6": "2.7.1"}}' if cpu_torch else '{"12.6": "2.7.1"}'
    return f"""\
name: demo
base: kit
channels: ["{CHANNEL}"]
matrix:
  python: ["3.11", "3.13"]
  cuda: {cuda}
  torch: {torch}
conda: [numpy, pyyaml]
pip: [tqdm]
"""


def write_sources(server: str) -> str:
    """Return the sources.yaml that leads the demo to the kit's server and base image."""
    return f"""\
bases:
  kit: "{IMAGE}"
conda:
  "{CHANNEL}": "{server}/kit"
torch-wheels: "{server}/whl"
network: host
"""


def write_project(root: Path, server: str, cpu_torch: str | None) -> tuple[Path, ...]:
    """Return the project's files, written only where their text has changed."""
    texts = {
        root / "project" / "images" / "demo" / "image.yaml": write_definition(cpu_torch),
        root / "sources.yaml": write_sources(server),
    }
    for path, text in texts.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return tuple(texts)
