from __future__ import annotations

import pytest
from packaging.utils import canonicalize_name

from builder.names import _DIFFERENT, name_distributions


@pytest.mark.parametrize(
    ("conda", "distributions"),
    [
        ("numpy", ("numpy",)),
        ("pytorch", ("torch",)),
        ("typing_extensions", ("typing-extensions",)),
        ("ruamel.yaml", ("ruamel-yaml",)),
        ("matplotlib-base", ("matplotlib",)),
        ("pytorch_geometric", ("torch-geometric",)),
        ("py-opencv", ("opencv-python", "opencv-python-headless")),
        ("python", ()),
        ("python_abi", ()),
        ("pytorch-mutex", ()),
    ],
)
def test_conda_name_gives_the_distributions(conda: str, distributions: tuple[str, ...]) -> None:
    assert name_distributions(conda, "1.0") == distributions


@pytest.mark.parametrize(("version", "distribution"), [("5.15.11", "pyqt5"), ("6.7.1", "pyqt6"), ("6", "pyqt6")])
def test_distribution_may_have_the_major_version_in_its_name(version: str, distribution: str) -> None:
    assert name_distributions("pyqt", version) == (distribution,)


def test_cores_that_are_distributions_themselves_keep_their_names() -> None:
    for name in ("hydra-core", "pydantic-core", "flit-core", "arviz-base"):
        assert name_distributions(name, "1.0") == (name,)


def test_table_says_nothing_that_goes_without_saying() -> None:
    """An entry that the guess would give as well hides that it was once another."""
    for conda in _DIFFERENT:
        assert name_distributions(conda, "1.0") != (canonicalize_name(conda),)
