from __future__ import annotations

import pytest

from builder.channels import channel_urls, mirror_prefix


@pytest.mark.parametrize(
    ("channel", "urls"),
    [
        ("conda-forge", ("https://conda.anaconda.org/conda-forge",)),
        ("pytorch/label/test", ("https://conda.anaconda.org/pytorch/label/test",)),
        ("https://conda.example/team/", ("https://conda.example/team",)),
        ("defaults", ("https://repo.anaconda.com/pkgs/main", "https://repo.anaconda.com/pkgs/r")),
    ],
)
def test_channel_has_a_canonical_address(channel: str, urls: tuple[str, ...]) -> None:
    assert channel_urls(channel) == urls


@pytest.mark.parametrize("name", ["conda-forge", "defaults", "https://conda.example/team"])
def test_mirror_of_a_channel_covers_the_addresses_of_the_channel(name: str) -> None:
    prefix = mirror_prefix(name)
    assert all(url == prefix or url.startswith(f"{prefix}/") for url in channel_urls(name))


def test_star_covers_every_channel_given_by_name() -> None:
    assert channel_urls("nvidia")[0].startswith(mirror_prefix("*") + "/")
