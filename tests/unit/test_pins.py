"""What stays as it is when somebody runs `pip install` in a container."""

from __future__ import annotations

from builder.pins import list_distributions, list_pins, provided_distributions
from tests.samples import make_conda, make_environment, make_wheel


def test_provided_distributions_are_named_and_versioned_as_pip_does() -> None:
    packages = [
        make_conda("ruamel.yaml", "0.18.06", purls=("pkg:pypi/ruamel.yaml",)),
        make_conda("libgcc", "14.2.0"),
        make_conda("openssl-thing", "9e", purls=("pkg:pypi/openssl-thing",)),
    ]
    assert provided_distributions(packages) == {"ruamel-yaml": "0.18.6"}


def test_torch_its_libraries_and_what_conda_provides_are_held() -> None:
    environment = make_environment(
        conda=(make_conda("numpy", "1.26.4", purls=("pkg:pypi/numpy",)),),
        pip=tuple(
            make_wheel(*it) for it in (("tqdm", "4.67.0"), ("torch", "2.7.1+cu118"), ("nvidia-nccl-cu11", "2.21.5"))
        ),
    )
    assert list_pins(environment) == ("numpy==1.26.4", "nvidia-nccl-cu11==2.21.5", "torch==2.7.1+cu118")


def test_purl_may_say_more_than_the_name() -> None:
    purls = ("pkg:pypi/numpy@1.26.4", "pkg:pypi/ruamel.yaml?source=hash-mapping", "pkg:conda/numpy", "numpy")
    assert list_distributions(make_conda("some", purls=purls)) == ("numpy", "ruamel-yaml")
