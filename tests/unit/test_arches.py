"""Which kernels run on which GPU, as the compatibility table and the checks in an image have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.compat import has_kernels

if TYPE_CHECKING:
    from types import ModuleType

CAPABILITIES = st.tuples(st.integers(3, 13), st.integers(0, 9))
KINDS = st.sampled_from(["sm", "compute"])
FEATURES = st.sampled_from(["", "a", "f"])


@st.composite
def draw_arch(draw: st.DrawFn) -> str:
    (major, minor), kind, features = draw(CAPABILITIES), draw(KINDS), draw(FEATURES)
    return f"{kind}_{major}{minor}{features}"


ARCHES = st.lists(draw_arch(), max_size=5)


@pytest.mark.parametrize(
    ("compiled", "arch", "covered"),
    [
        ("sm_80 sm_90", "sm_80", True),
        ("sm_80 sm_90", "sm_86", True),
        ("sm_80 sm_90", "sm_75", False),
        ("sm_80 sm_90", "sm_120", False),
        ("sm_80 compute_90", "sm_120", True),
        ("sm_86", "sm_80", False),
        ("sm_90a", "sm_90", True),
        ("sm_90a", "sm_90a", True),
        ("sm_90", "sm_90a", True),
        ("sm_90a", "sm_95", False),
        ("compute_90a", "sm_90", True),
        ("compute_90a", "sm_100", False),
        ("sm_100f", "sm_103", True),
        ("sm_103f", "sm_100", False),
        ("sm_100f", "sm_110", False),
        ("sm_100f", "sm_120", False),
        ("compute_100f", "sm_103", True),
        ("compute_100f", "sm_120", False),
        ("compute_120f", "sm_121", True),
        ("compute_90", "sm_90", True),
        ("", "sm_80", False),
    ],
)
def test_kernels_serve_their_major_version_and_ptx_what_is_newer(
    compiled: str, arch: str, *, covered: bool, scripts: dict[str, ModuleType]
) -> None:
    assert scripts["torch_build"].covers(compiled.split(), arch) is covered
    assert has_kernels(compiled.split(), arch) is covered


# The scripts are modules, which no example changes.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arches=ARCHES, arch=draw_arch())
def test_checks_in_an_image_and_the_table_agree(arches: list[str], arch: str, scripts: dict[str, ModuleType]) -> None:
    assert scripts["torch_build"].covers(arches, arch) is has_kernels(arches, arch)


@given(capability=CAPABILITIES, gpu=CAPABILITIES, kind=KINDS)
def test_features_only_narrow_what_kernels_run_on(
    capability: tuple[int, int], gpu: tuple[int, int], kind: str
) -> None:
    offered, arch = (f"{name}_{major}{minor}" for name, (major, minor) in ((kind, capability), ("sm", gpu)))
    assert has_kernels([f"{offered}a"], arch) is (gpu == capability)
    assert has_kernels([f"{offered}f"], arch) is (gpu[0] == capability[0] and gpu >= capability)
    assert has_kernels([offered], arch) is (gpu >= capability and (kind == "compute" or gpu[0] == capability[0]))


@given(arches=ARCHES, more=ARCHES, arch=draw_arch())
def test_more_kernels_serve_no_gpu_less(arches: list[str], more: list[str], arch: str) -> None:
    assert has_kernels([*arches, *more], arch) is (has_kernels(arches, arch) or has_kernels(more, arch))


@given(arches=ARCHES, gpu=CAPABILITIES, features=FEATURES)
def test_gpu_is_the_same_by_any_of_its_names(arches: list[str], gpu: tuple[int, int], features: str) -> None:
    name = f"sm_{gpu[0]}{gpu[1]}"
    assert has_kernels(arches, name + features) is has_kernels(arches, name)
