from __future__ import annotations

import pytest

from builder.names import pypi_name


@pytest.mark.parametrize(
    ("conda", "distribution"),
    [
        ("numpy", "numpy"),
        ("pytorch", "torch"),
        ("typing_extensions", "typing-extensions"),
        ("ruamel.yaml", "ruamel-yaml"),
        ("matplotlib-base", "matplotlib"),
        ("python", None),
        ("python_abi", None),
        ("pytorch-mutex", None),
    ],
)
def test_conda_name_gives_the_distribution(conda: str, distribution: str | None) -> None:
    assert pypi_name(conda) == distribution
