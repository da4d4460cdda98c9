"""Scripts that run in a build or in an image, as modules of this process."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

HOST = Path(__file__).parents[2] / "templates" / "host"


def load(name: str) -> ModuleType:
    """Return one of those that run in the steps of a build."""
    return load_script(HOST / f"{name}.py")


def load_script(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"host_{path.stem}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
