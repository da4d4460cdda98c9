"""The pip solver, which is uv itself, on an index that the test makes and serves."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from packaging.version import Version

from builder.errors import SolveError
from builder.hostconfig import Login, PipConfig, split_pip_logins
from builder.lock import CondaPackage, Lock, PipPackage, dump_lock
from builder.solve_pip import PipRequest, solve_pip
from builder.sources import Sources
from tests.samples import make_conda, make_environment

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import Index, Serve

WHL = "https://download.pytorch.org/whl"
TORCH_FOLDER = "whl/cu118"
TORCH = "torch-2.7.1+cu118-cp310-cp310-manylinux_2_28_x86_64.whl"
VISION = "torchvision-0.22.1+cu118-cp310-cp310-manylinux_2_28_x86_64.whl"

pytestmark = pytest.mark.usefixtures("bare_host")


def make_request(*requirements: str, **more: Any) -> PipRequest:
    values = {"name": "cell", "constraints": (), "conda": (), **more}
    return PipRequest(requirements=requirements, python=Version("3.10.16"), glibc=Version("2.28"), **values)


def torch_request(*requirements: str, **more: Any) -> PipRequest:
    constraints = ("torchvision==0.22.1+cu118", "torchaudio==2.7.1+cu118")
    return make_request("torch==2.7.1+cu118", *requirements, constraints=constraints, index=f"{WHL}/cu118", **more)


def provide(name: str, version: str, conda_name: str | None = None) -> CondaPackage:
    return make_conda(conda_name or name, version, depends=("python",), purls=(f"pkg:pypi/{name}",))


@pytest.fixture
def sources(index: Index, serve: Serve) -> Sources:
    url = serve(index.folder).url
    return Sources(name="mine", pip=PipConfig(index_url=f"{url}/simple"), mirrors=((WHL, f"{url}/whl"),))


def solve(request: PipRequest, sources: Sources, tmp_path: Path) -> dict[str, PipPackage]:
    return {package.name: package for package in solve_pip(request, sources, tmp_path / "cache", print)}


def test_nothing_asked_needs_no_index(tmp_path: Path) -> None:
    assert solve(make_request(), Sources(name="none"), tmp_path) == {}


def test_wheel_carries_all_that_its_lock_needs(index: Index, sources: Sources, tmp_path: Path) -> None:
    sha256 = index.add("tool-1.2-py3-none-any.whl", "helper >=1", "other; python_version < '3'")
    index.add("helper-1.0-py3-none-any.whl")
    found = solve(make_request("tool"), sources, tmp_path)
    url = str(sources.pip.index_url).replace("/simple", "/files/tool-1.2-py3-none-any.whl")
    size = (index.folder / "files" / "tool-1.2-py3-none-any.whl").stat().st_size
    assert found["tool"] == PipPackage(
        name="tool", version="1.2", url=url, sha256=sha256, size=size, requires=("helper",)
    )
    assert set(found) == {"tool", "helper"}


def test_wheel_is_the_one_for_the_python_and_glibc_of_the_cell(index: Index, sources: Sources, tmp_path: Path) -> None:
    for tag in (
        "cp310-cp310-manylinux_2_28_x86_64",
        "cp310-cp310-musllinux_1_2_x86_64",
        "cp311-cp311-manylinux_2_28_x86_64",
    ):
        index.add(f"tool-1.0-{tag}.whl")
    index.add("tool-2.0-cp310-cp310-manylinux_2_35_x86_64.whl")
    found = solve(make_request("tool"), sources, tmp_path)["tool"]
    assert found.url.endswith("/tool-1.0-cp310-cp310-manylinux_2_28_x86_64.whl")
    newer = replace(make_request("tool"), glibc=Version("2.39"))
    assert solve(newer, sources, tmp_path)["tool"].version == "2.0"


def test_markers_in_requirements_are_understood(index: Index, sources: Sources, tmp_path: Path) -> None:
    index.add("tool-1.0-py3-none-any.whl")
    request = make_request("tool; python_version < '3.11'", 'absent; python_version > "3.11"')
    assert set(solve(request, sources, tmp_path)) == {"tool"}


def test_what_conda_provides_is_never_installed_again(index: Index, sources: Sources, tmp_path: Path) -> None:
    index.add("tool-1.0-py3-none-any.whl", "numpy >=1", "typing-extensions")
    index.add("numpy-2.0-py3-none-any.whl")
    index.add("typing_extensions-4.0-py3-none-any.whl")
    conda = (provide("numpy", "1.26.4"), provide("typing-extensions", "4.12.2", "typing_extensions"))
    found = solve(make_request("tool", "numpy", conda=conda), sources, tmp_path)
    assert set(found) == {"tool"}


def test_conda_may_provide_what_no_index_has(index: Index, sources: Sources, tmp_path: Path) -> None:
    index.add("tool-1.0-py3-none-any.whl", "torch ==2.7.1")
    request = make_request("tool", conda=(provide("torch", "2.7.1", "pytorch"),))
    assert set(solve(request, sources, tmp_path)) == {"tool"}


def test_extra_of_what_conda_provides_is_told(
    index: Index, sources: Sources, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index.add("tool-1.0-py3-none-any.whl", "fs-spec[http]")
    solve(make_request("tool", conda=(provide("fs-spec", "2026.1"),)), sources, tmp_path)
    told = "cell: fs-spec[http] is asked for, and conda's fs-spec has no extras: list what it needs"
    assert told in capsys.readouterr().out


@pytest.mark.parametrize("asked", ["numpy >=2", "tool"])
def test_contradiction_with_conda_is_a_solve_error(asked: str, index: Index, sources: Sources, tmp_path: Path) -> None:
    index.add("tool-1.0-py3-none-any.whl", "numpy >=2")
    index.add("numpy-2.0-py3-none-any.whl")
    request = make_request(asked, conda=(provide("numpy", "1.26.4"),))
    with pytest.raises(SolveError, match=r"(?s)cell: pip finds no solution beside conda's packages.*numpy"):
        solve(request, sources, tmp_path)


def test_source_archive_alone_is_refused_with_what_to_do(index: Index, sources: Sources, tmp_path: Path) -> None:
    index.add("tool-1.0.tar.gz")
    with pytest.raises(SolveError, match="tool") as caught:
        solve(make_request("tool"), sources, tmp_path)
    assert "wheels only" in str(caught.value.hint)


def test_requirement_by_address_is_refused_with_what_to_do(index: Index, sources: Sources, tmp_path: Path) -> None:
    index.add("tool-1.0-py3-none-any.whl")
    url = str(sources.pip.index_url).replace("/simple", "/files/tool-1.0-py3-none-any.whl")
    with pytest.raises(SolveError, match="tool is asked for by its address"):
        solve(make_request(f"tool @ {url}"), sources, tmp_path)


def test_locked_version_stays_while_the_requirements_allow(index: Index, sources: Sources, tmp_path: Path) -> None:
    for version in ("1.0", "1.1", "2.0"):
        index.add(f"tool-{version}-py3-none-any.whl")
    keep = (("tool", "1.0"),)
    versions = [
        solve(request, sources, tmp_path)["tool"].version
        for request in (
            make_request("tool"),
            make_request("tool", keep=keep),
            make_request("tool >=1.1", keep=keep),
        )
    ]
    assert versions == ["2.0", "1.0", "2.0"]


@pytest.fixture
def torch_index(index: Index) -> Index:
    """A PyTorch folder that also has newer wheels of others, and a default index that has the family too."""
    index.add(TORCH, "sympy", under=TORCH_FOLDER)
    index.add(VISION, "torch ==2.7.1", "pillow", under=TORCH_FOLDER)
    for name in ("sympy", "pillow"):
        index.add(f"{name}-1.0-py3-none-any.whl")
        index.add(f"{name}-9.0-py3-none-any.whl", under=TORCH_FOLDER, files="whl-files")
    index.add("torch-2.7.1-cp310-cp310-manylinux_2_28_x86_64.whl")
    index.add("torchvision-0.22.1-cp310-cp310-manylinux_2_28_x86_64.whl", "torch ==2.7.1", "pillow")
    index.add("torchvision-0.99-cp310-cp310-manylinux_2_28_x86_64.whl", "pillow")
    index.add("timm-1.0-py3-none-any.whl", "torchvision")
    return index


@pytest.mark.usefixtures("torch_index")
@pytest.mark.parametrize("asked", ["torchvision", "timm"])
def test_torch_family_comes_from_its_folder_even_when_others_pull_it_in(
    asked: str, sources: Sources, tmp_path: Path
) -> None:
    found = solve(torch_request(asked), sources, tmp_path)
    assert {name: found[name].version for name in ("torch", "torchvision")} == {
        "torch": "2.7.1+cu118",
        "torchvision": "0.22.1+cu118",
    }
    assert found["torchvision"].requires == ("pillow", "torch")
    assert ("timm" in found) is (asked == "timm")


@pytest.mark.usefixtures("torch_index")
def test_nothing_else_comes_from_the_folder_of_torch(sources: Sources, tmp_path: Path) -> None:
    found = solve(torch_request("pillow"), sources, tmp_path)
    assert set(found) == {"torch", "sympy", "pillow"}
    assert {found[name].version for name in ("sympy", "pillow")} == {"1.0"}


def test_folder_without_the_build_is_a_solve_error(index: Index, sources: Sources, tmp_path: Path) -> None:
    index.add("torch-2.7.1-cp310-cp310-manylinux_2_28_x86_64.whl")
    index.add("torch-2.6.0+cu118-cp310-cp310-manylinux_2_28_x86_64.whl", under=TORCH_FOLDER)
    with pytest.raises(SolveError, match="torch"):
        solve(torch_request(), sources, tmp_path)


@pytest.mark.usefixtures("torch_index")
def test_lock_has_the_canonical_address_of_torch(index: Index, sources: Sources, tmp_path: Path) -> None:
    link = f'<a href="{TORCH}#sha256={"0" * 64}">{TORCH}</a>'
    (index.folder / TORCH_FOLDER / "torch" / "index.html").write_text(link)
    (index.folder / TORCH_FOLDER / "torch" / TORCH).write_bytes((index.folder / "files" / TORCH).read_bytes())
    found = solve(torch_request(), sources, tmp_path)["torch"]
    assert found.url.startswith(f"{WHL}/cu118/torch/torch-2.7.1")


def test_flat_mirror_of_torch_wheels_is_understood(index: Index, sources: Sources, tmp_path: Path) -> None:
    index.add("sympy-1.0-py3-none-any.whl")
    index.add(TORCH, "sympy", files=TORCH_FOLDER, under="unused")
    (index.folder / TORCH_FOLDER / "index.html").write_text(f'<a href="{TORCH}">{TORCH}</a>')
    found = solve(torch_request(), replace(sources, torch_flat=True), tmp_path)["torch"]
    assert found.url.startswith(f"{WHL}/cu118/torch-2.7.1")


def test_login_reaches_the_index_and_shows_nowhere(index: Index, serve: Serve, tmp_path: Path) -> None:
    index.add("tool-1.0-py3-none-any.whl")
    server = serve(index.folder, "me:s3cret")
    pip, logins = split_pip_logins(PipConfig(index_url=server.url.replace("//", "//me:s3cret@") + "/simple"))
    sources = Sources(name="mine", pip=pip, logins=logins)
    found = solve(make_request("tool"), sources, tmp_path)
    environment = make_environment(pip=found.values())
    with pytest.raises(SolveError) as caught:
        solve(make_request("absent"), sources, tmp_path)
    shown = dump_lock(Lock(environments=(environment,))) + str(caught.value) + repr(sources)
    assert "s3cret" not in shown
    assert found["tool"].size is not None


def test_wrong_login_is_a_solve_error(index: Index, serve: Serve, tmp_path: Path) -> None:
    index.add("tool-1.0-py3-none-any.whl")
    pip = PipConfig(index_url=serve(index.folder, "me:s3cret").url + "/simple")
    login = Login(host="127.0.0.1", user="me", password="wr0ng")
    with pytest.raises(SolveError, match="pip finds no solution") as caught:
        solve(make_request("tool"), Sources(name="mine", pip=pip, logins=(login,)), tmp_path)
    assert "wr0ng" not in str(caught.value)


def test_settings_of_uv_on_this_machine_change_nothing(
    index: Index, sources: Sources, bare_host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add("tool-1.0-py3-none-any.whl")
    (bare_host / ".config" / "uv").mkdir(parents=True)
    (bare_host / ".config" / "uv" / "uv.toml").write_text('[pip]\nexclude-newer = "2001-01-01T00:00:00Z"\n')
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_OFFLINE", "1")
    assert solve(make_request("tool"), sources, tmp_path)["tool"].version == "1.0"
