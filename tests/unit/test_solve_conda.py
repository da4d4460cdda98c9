"""The conda solver on the real index of the pytorch channel, with a stand-in for what its packages need elsewhere."""

from __future__ import annotations

import gzip
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from packaging.version import Version

from builder.compat import Source, TorchBuild, find_builds
from builder.errors import SolveError
from builder.hostconfig import Login
from builder.pins import list_distributions
from builder.solve_conda import CondaRequest, solve_conda, virtual_packages
from builder.sources import Sources
from builder.torchspec import request_torch, verify_torch
from tests.samples import FORGE, make_environment
from tests.unit.conftest import Serve, write_channel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.lock import CondaPackage
    from tests.conftest import Server

RECORDED = Path(__file__).parent / "data" / "pytorch-channel-linux-64-repodata.json.gz"
PYTORCH = "https://conda.anaconda.org/pytorch"
NVIDIA = "https://conda.anaconda.org/nvidia"

pytestmark = pytest.mark.usefixtures("bare_host")


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    return json.loads(gzip.decompress(RECORDED.read_bytes()))


def stand_in(packages: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what the pytorch channel's packages need from elsewhere: each name in every version that is mentioned."""
    own = {package["name"] for package in packages.values()}
    specs = {spec for package in packages.values() for spec in package["depends"]}
    mentioned: dict[str, set[str]] = {}
    for spec in specs:
        name, *rest = spec.split()
        mentioned.setdefault(name, {"1.0"}).update(re.findall(r"\d+(?:\.\d+)+", rest[0]) if rest else ())
    special = {"python", "pytorch-mutex", "mkl", "blas", "llvm-openmp", *own}
    for name in sorted(mentioned.keys() - special):
        yield from ({"name": name, "version": version} for version in sorted(mentioned[name]))
    yield from ({"name": "python", "version": version} for version in ("3.10.16", "3.11.9"))
    yield from ({"name": "mkl", "version": version} for version in ("2023.2", "2024.0", "2024.1", "2025.0"))
    yield from ({"name": "blas", "version": "2.1", "build": build} for build in ("mkl", "openblas"))
    yield from ({"name": "llvm-openmp", "version": version} for version in ("15.0", "19.0"))
    yield from ({"name": "pip", "version": "26.0", "depends": ["python"]},)
    yield from ({"name": "pytorch-mutex", "version": "1.0", "build": build} for build in ("cpu", "cuda"))


@pytest.fixture
def channels(tmp_path: Path, recorded: dict[str, Any], serve: Serve) -> Server:
    """The pytorch channel and a conda-forge that has what is missing there, behind one mirror."""
    folder = tmp_path / "channels"
    for subdir, data in (("linux-64", recorded), ("noarch", {"packages": {}})):
        path = folder / "pytorch" / subdir / "repodata.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(data))
    write_channel(folder / "conda-forge", stand_in(recorded["packages"]))
    write_channel(folder / "nvidia", ())
    return serve(folder)


def behind(server: Server, **more: Any) -> Sources:
    return Sources(name="mine", mirrors=(("https://conda.anaconda.org", server.url),), **more)


def make_request(
    *specs: str, cuda: str | None = None, channels: tuple[str, ...] = ("conda-forge",), **more: Any
) -> CondaRequest:
    values = {"name": "cell", "constraints": (), "glibc": Version("2.39"), **more}
    return CondaRequest(specs=specs, channels=channels, cuda=Version(cuda) if cuda else None, **values)


def solve_one(request: CondaRequest, sources: Sources, tmp_path: Path) -> dict[str, CondaPackage]:
    (packages,) = solve_conda([request], sources, tmp_path / "cache")
    return {package.name: package for package in packages}


def torch_request(build: TorchBuild, python: str = "3.10") -> CondaRequest:
    spec = request_torch(build)
    return make_request(
        f"python {python}.*",
        *spec.conda,
        cuda=str(build.cuda) if build.cuda else None,
        channels=(*spec.channels, "conda-forge"),
        constraints=spec.constraints,
    )


def pick(torch: str, cuda: str | None) -> TorchBuild:
    known = find_builds(python=Version("3.10"), cuda=Version("11.8"), torch=Version(torch), sources=[Source.PYTORCH])
    return replace(known[0], cuda=Version(cuda) if cuda else None)


@pytest.mark.parametrize(
    ("torch", "cuda", "build"),
    [
        ("2.0.1", "11.8", "py3.10_cuda11.8_cudnn8.7.0_0"),
        ("2.1.0", "11.8", "py3.10_cuda11.8_cudnn8.7.0_0"),
        ("2.1.0", "12.1", "py3.10_cuda12.1_cudnn8.9.2_0"),
        ("2.1.0", None, "py3.10_cpu_0"),
    ],
)
def test_cell_gets_the_build_of_its_cuda(
    torch: str, cuda: str | None, build: str, channels: Server, tmp_path: Path
) -> None:
    wanted = pick(torch, cuda)
    found = solve_one(torch_request(wanted), behind(channels), tmp_path)
    assert (found["pytorch"].version, found["pytorch"].build) == (torch, build)
    assert found["pytorch-mutex"].build == ("cuda" if cuda else "cpu")
    assert ("pytorch-cuda" in found) is (cuda is not None)
    verify_torch(make_environment(conda=found.values()), wanted)


def test_package_carries_all_that_its_lock_needs(channels: Server, tmp_path: Path) -> None:
    torch = solve_one(torch_request(pick("2.1.0", "11.8")), behind(channels), tmp_path)["pytorch"]
    assert torch.url == f"{PYTORCH}/linux-64/pytorch-2.1.0-py3.10_cuda11.8_cudnn8.7.0_0.tar.bz2"
    assert torch.sha256 == "4e4ab2bf16727c31d6f7127946a6f95db72e3bcc46dfcac2adda01e0b09262de"
    assert torch.md5 == "82f9fb558ba63b9e172c2ba547b9efdd"
    assert torch.size == 1566602770
    assert torch.timestamp == 1695396474887
    assert torch.license == "BSD 3-Clause"
    assert "pytorch-cuda >=11.8,<11.9" in torch.depends
    assert torch.constrains == ("cpuonly <0",)
    assert torch.purls == ("pkg:pypi/torch",)


def test_mkl_is_held_where_torch_still_needs_its_old_symbols(channels: Server, tmp_path: Path) -> None:
    request = torch_request(pick("2.1.0", "11.8"))
    assert solve_one(request, behind(channels), tmp_path)["mkl"].version == "2024.0"
    free = replace(request, constraints=())
    assert solve_one(free, behind(channels), tmp_path)["mkl"].version == "2025.0"


def test_repodata_is_read_through_the_mirror_once_for_all_cells(channels: Server, tmp_path: Path) -> None:
    requests = [torch_request(pick("2.1.0", "11.8"), python) for python in ("3.10", "3.11")]
    solutions = solve_conda(requests, behind(channels), tmp_path / "cache")
    builds = [next(package.build for package in solution if package.name == "pytorch") for solution in solutions]
    assert builds == ["py3.10_cuda11.8_cudnn8.7.0_0", "py3.11_cuda11.8_cudnn8.7.0_0"]
    fetched = [
        path
        for method, path, _ in channels.asked
        if method == "GET" and path.endswith("pytorch/linux-64/repodata.json")
    ]
    assert len(fetched) == 1
    assert not any(channels.url in package.url for solution in solutions for package in solution)


def test_packages_are_sorted_by_name(channels: Server, tmp_path: Path) -> None:
    (packages,) = solve_conda([torch_request(pick("2.1.0", "11.8"))], behind(channels), tmp_path / "cache")
    assert [package.name for package in packages] == sorted(package.name for package in packages)


def test_without_a_gpu_nothing_of_cuda_comes_along(tmp_path: Path, serve: Serve) -> None:
    variants = [
        {
            "name": "pytorch",
            "version": "2.7.1",
            "build": "cuda126_0",
            "build_number": 300,
            "depends": ["__cuda", "cudart"],
        },
        {"name": "pytorch", "version": "2.7.1", "build": "cpu_0", "build_number": 100},
        {"name": "cudart", "version": "12.6"},
    ]
    write_channel(tmp_path / "conda-forge", variants)
    sources = behind(serve(tmp_path))
    assert set(solve_one(make_request("pytorch"), sources, tmp_path)) == {"pytorch"}
    assert solve_one(make_request("pytorch"), sources, tmp_path)["pytorch"].build == "cpu_0"
    assert solve_one(make_request("pytorch", cuda="12.6"), sources, tmp_path)["pytorch"].build == "cuda126_0"


def test_channel_with_only_cpu_builds_gives_no_cuda_cell(
    tmp_path: Path, recorded: dict[str, Any], serve: Serve
) -> None:
    everything = recorded["packages"]
    cpu = [
        package for package in everything.values() if "cuda" not in package["build"] and "cuda" not in package["name"]
    ]
    write_channel(tmp_path / "pytorch", cpu)
    write_channel(tmp_path / "conda-forge", stand_in(everything))
    write_channel(tmp_path / "nvidia", ())
    sources = behind(serve(tmp_path))
    with pytest.raises(SolveError, match=r"(?s)cell: conda finds no solution.*pytorch") as caught:
        solve_one(torch_request(pick("2.1.0", "11.8")), sources, tmp_path)
    assert caught.value.exit_code == 6
    assert solve_one(torch_request(pick("2.1.0", None)), sources, tmp_path)["pytorch"].build == "py3.10_cpu_0"


@pytest.fixture
def two_channels(tmp_path: Path, serve: Serve) -> Sources:
    write_channel(tmp_path / "first", [{"name": "tool", "version": "1.0"}])
    write_channel(tmp_path / "second", [{"name": "tool", "version": "2.0"}, {"name": "other", "version": "1.0"}])
    return behind(serve(tmp_path))


def test_a_channel_hides_what_later_ones_have(two_channels: Sources, tmp_path: Path) -> None:
    found = solve_one(make_request("tool", "other", channels=("first", "second")), two_channels, tmp_path)
    assert found["tool"].version == "1.0"
    assert found["other"].url == "https://conda.anaconda.org/second/linux-64/other-1.0-0.tar.bz2"
    with pytest.raises(SolveError):
        solve_one(make_request("tool >=2", channels=("first", "second")), two_channels, tmp_path)


def test_what_is_locked_stays_while_the_specs_allow(tmp_path: Path, serve: Serve) -> None:
    versions = [{"name": "tool", "version": version} for version in ("1.0", "1.1", "2.0")]
    write_channel(tmp_path / "conda-forge", versions)
    sources = behind(serve(tmp_path))
    old = solve_one(make_request("tool 1.0"), sources, tmp_path)["tool"]
    kept = make_request("tool", keep=(old,))
    assert solve_one(make_request("tool"), sources, tmp_path)["tool"].version == "2.0"
    assert solve_one(kept, sources, tmp_path)["tool"] == old
    assert solve_one(replace(kept, specs=("tool >=1.1",)), sources, tmp_path)["tool"].version == "2.0"


def test_distributions_are_those_that_the_channel_tells_else_those_of_the_name(tmp_path: Path, serve: Serve) -> None:
    told = ["pkg:pypi/other", "pkg:pypi/another@1.0", "pkg:github/some/where"]
    packages = [
        {"name": "told", "version": "1.0", "depends": ["python"], "purls": told},
        {"name": "none", "version": "1.0", "depends": ["python"], "purls": []},
        {"name": "native", "version": "1.0", "purls": ["pkg:pypi/native"]},
        {"name": "py-opencv", "version": "4.10.0", "depends": ["python"]},
        {"name": "libopencv", "version": "4.10.0"},
        {"name": "python", "version": "3.11.9"},
    ]
    write_channel(tmp_path / "conda-forge", packages)
    names = [str(package["name"]) for package in packages]
    found = solve_one(make_request(*names), behind(serve(tmp_path)), tmp_path)
    assert {name: list_distributions(package) for name, package in found.items()} == {
        "told": ("another", "other"),
        "none": (),
        "native": ("native",),
        "py-opencv": ("opencv-python", "opencv-python-headless"),
        "libopencv": (),
        "python": (),
    }


def test_glibc_of_the_base_decides(tmp_path: Path, serve: Serve) -> None:
    packages = [{"name": "tool", "version": "2.0", "depends": ["__glibc >=2.28"]}, {"name": "tool", "version": "1.0"}]
    write_channel(tmp_path / "conda-forge", packages)
    sources = behind(serve(tmp_path))
    found = [solve_one(make_request("tool", glibc=Version(glibc)), sources, tmp_path) for glibc in ("2.17", "2.36")]
    assert [packages["tool"].version for packages in found] == ["1.0", "2.0"]


def test_virtual_packages_are_those_of_the_cell_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONDA_OVERRIDE_CUDA", "99.9")
    names = [package.name.normalized for package in virtual_packages(cuda=None, glibc=Version("2.28"))]
    assert names == ["__unix", "__linux", "__glibc", "__archspec"]
    with_gpu = {
        package.name.normalized: str(package.version)
        for package in virtual_packages(cuda=Version("11.8"), glibc=Version("2.28"))
    }
    assert (with_gpu["__cuda"], with_gpu["__glibc"]) == ("11.8", "2.28")


def test_login_reaches_the_mirror_and_stays_out_of_results_and_errors(tmp_path: Path, serve: Serve) -> None:
    write_channel(tmp_path / "conda-forge", [{"name": "tool", "version": "1.0"}])
    server = serve(tmp_path, "me:s3cret")
    login = Login(host="127.0.0.1", user="me", password="s3cret")
    found = solve_one(make_request("tool"), behind(server, logins=(login,)), tmp_path)["tool"]
    assert "s3cret" not in repr(found)
    assert found.url == f"{FORGE}/linux-64/tool-1.0-0.tar.bz2"
    wrong = Login(host="127.0.0.1", user="me", password="wr0ng")
    with pytest.raises(SolveError) as caught:
        solve_one(make_request("tool"), behind(server, logins=(wrong,)), tmp_path / "other")
    assert "wr0ng" not in str(caught.value)


def test_unreachable_channel_names_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builder.solve_conda._RETRIES", 0)
    sources = Sources(name="mine", mirrors=((FORGE, "http://127.0.0.1:9/forge"),))
    with pytest.raises(SolveError, match="cannot read the channels conda-forge") as caught:
        solve_one(make_request("tool"), sources, tmp_path)
    assert "sources in use: mine" in str(caught.value.hint)


def test_absent_channel_is_a_solve_error(tmp_path: Path, serve: Serve) -> None:
    with pytest.raises(SolveError, match="cannot read the channels absent"):
        solve_one(make_request("tool", channels=("absent",)), behind(serve(tmp_path)), tmp_path)


def test_index_that_is_no_index_is_a_solve_error(tmp_path: Path, serve: Serve) -> None:
    write_channel(tmp_path / "conda-forge", ())
    (tmp_path / "conda-forge" / "linux-64" / "repodata.json").write_text("<html>please log in</html>")
    with pytest.raises(SolveError):
        solve_one(make_request("tool"), behind(serve(tmp_path)), tmp_path)


def test_malformed_spec_is_a_solve_error(tmp_path: Path, serve: Serve) -> None:
    write_channel(tmp_path / "conda-forge", ())
    with pytest.raises(SolveError, match="cell"):
        solve_one(make_request("tool >=1.*.2,,"), behind(serve(tmp_path)), tmp_path)


def test_index_without_hashes_is_refused(tmp_path: Path, serve: Serve) -> None:
    write_channel(tmp_path / "conda-forge", [{"name": "tool", "version": "1.0", "sha256": None}])
    with pytest.raises(SolveError, match="gives no md5, sha256 and size"):
        solve_one(make_request("tool"), behind(serve(tmp_path)), tmp_path)


def test_environment_of_this_process_is_as_before(two_channels: Sources, tmp_path: Path) -> None:
    before = dict(os.environ)
    proxied = replace(two_channels, proxies=(("no_proxy", "127.0.0.1"), ("http_proxy", "http://127.0.0.1:9")))
    solve_one(make_request("tool", channels=("first",)), proxied, tmp_path)
    assert dict(os.environ) == before
