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
    assert name_distributions(conda) == distributions


def test_cores_that_are_distributions_themselves_keep_their_names() -> None:
    for name in ("hydra-core", "pydantic-core", "flit-core", "arviz-base"):
        assert name_distributions(name) == (name,)


def test_table_says_nothing_that_goes_without_saying() -> None:
    """An entry that the guess would give as well hides that it was once another."""
    for conda in _DIFFERENT:
        assert name_distributions(conda) != (canonicalize_name(conda),)
