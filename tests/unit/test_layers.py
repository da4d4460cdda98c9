from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from builder.layers import plan_layers, sort_by_dependency
from tests.samples import make_conda, make_environment, make_python, make_wheel

if TYPE_CHECKING:
    import random

    from builder.lock import CondaPackage


@st.composite
def environments(draw: st.DrawFn, cycles: bool = True) -> list[CondaPackage]:
    """Packages p0…pn; each depends on some others (on earlier ones only, unless cycles are wanted) and on Python."""
    count = draw(st.integers(0, 12))
    packages = [make_conda("python", "3.10.16", depends=("libgcc", "pip")), make_conda("libgcc")]
    for number in range(count):
        others = st.integers(0, count - 1 if cycles else max(number - 1, 0))
        depends = {f"p{other} >=1" for other in draw(st.sets(others, max_size=3)) if cycles or other < number}
        depends |= {"python >=3.10"} if draw(st.booleans()) else set()
        packages.append(make_conda(f"p{number}", depends=tuple(sorted(depends))))
    return packages


@given(environments())
def test_every_package_is_in_exactly_one_layer(packages: list[CondaPackage]) -> None:
    wheel = make_wheel("torch")
    layers = plan_layers(make_environment(conda=packages, pip=[wheel]))
    assert sorted(package.name for layer in layers for package in layer.conda) == sorted(
        package.name for package in packages
    )
    assert [package for layer in layers for package in layer.pip] == [wheel]


@given(environments(), st.randoms(use_true_random=False))
def test_layers_do_not_depend_on_the_order_of_the_input(packages: list[CondaPackage], chance: random.Random) -> None:
    shuffled = list(packages)
    chance.shuffle(shuffled)
    assert plan_layers(make_environment(conda=shuffled)) == plan_layers(make_environment(conda=packages))


@given(environments(cycles=False))
def test_dependencies_come_first_across_all_layers(packages: list[CondaPackage]) -> None:
    layers = plan_layers(make_environment(conda=packages))
    installed: set[str] = set()
    for package in (package for layer in layers for package in layer.conda):
        present = package.needs & {found.name for found in packages} - {"pip"}
        assert present <= installed
        installed.add(package.name)


@given(environments())
def test_first_layer_knows_no_python(packages: list[CondaPackage]) -> None:
    native = next(layer for layer in plan_layers(make_environment(conda=packages)) if layer.name == "native")
    names = {package.name for package in native.conda}
    needy = {package.name for package in packages if package.needs_python}
    assert not names & needy


def test_pythons_share_the_first_layer() -> None:
    (native, python), (other, _) = (
        plan_layers(make_environment(conda=make_python(version))) for version in ("3.10.16", "3.11.9")
    )
    assert native == other
    assert [package.name for package in native.conda] == ["libgcc", "libblas", "tzdata"]
    assert "python_abi" in [package.name for package in python.conda]


def test_metapackage_goes_with_what_it_pins() -> None:
    meta = make_conda("pytorch-gpu", depends=("pytorch 2.7.1 cuda126_py310_0",))
    torch = make_conda("pytorch", "2.7.1", "cuda126_py310_0", depends=("python >=3.10,<3.11",))
    native, python = plan_layers(make_environment(conda=[*make_python("3.10.16"), meta, torch]))
    assert meta in python.conda
    assert meta not in native.conda


def test_python_comes_before_pip_although_they_need_each_other() -> None:
    names = [package.name for package in sort_by_dependency(tuple(make_python("3.10.16")))]
    assert names.index("python") < names.index("pip")


def test_size_counts_what_is_known() -> None:
    wheels = [make_wheel("a", size=5), make_wheel("b")]
    (layer,) = plan_layers(make_environment(conda=[make_conda("python", size=7)], pip=wheels))
    assert layer.size == 12


def test_empty_environment_has_no_layers() -> None:
    assert plan_layers(make_environment(conda=())) == ()
