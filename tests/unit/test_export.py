from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import rattler
import yaml
from packaging.version import Version

from builder.adopt import adopt_file
from builder.definition import TorchRequest
from builder.errors import CellError, LockError
from builder.export import Format, check_image, export_environment, find_job, list_unnamed
from builder.foreign import read_foreign_lock
from builder.lock import read_lock, split_conda_url
from builder.project import Project
from builder.render import digest_packages
from tests.samples import (
    FORGE,
    digest,
    make_conda,
    make_definition,
    make_environment,
    make_job,
    make_python,
    make_wheel,
)

if TYPE_CHECKING:
    from pathlib import Path

    from builder.inputs import Job
    from builder.lock import Environment
    from tests.unit.conftest import Demo, Run

WHL = "https://download.pytorch.org/whl"


def pypi_wheel(name: str, version: str) -> object:
    sha = digest(name)
    folder = f"https://files.example/packages/{sha[:2]}/{sha[2:4]}/{sha[4:64]}"
    return make_wheel(name, version, folder=folder)


def pin(version: str) -> TorchRequest:
    return TorchRequest(version=Version(version))


@pytest.fixture
def job() -> Job:
    return make_job(torch=pin("2.7.1"), env=(("OMP_NUM_THREADS", "8"), ("YES", "yes")))


@pytest.fixture
def environment() -> Environment:
    wheels = (
        pypi_wheel("nvidia-cudnn-cu11", "9.1.0.70"),
        make_wheel("torch", "2.7.1+cu118", folder=f"{WHL}/cu118"),
        make_wheel("torchvision", "0.22.1+cu118", folder=f"{WHL}/cu118"),
        pypi_wheel("tqdm", "4.70.1"),
    )
    return make_environment(pip=wheels, channels=(FORGE, "https://conda.example/lab"))


def test_environment_file_pins_everything_in_order(job: Job, environment: Environment) -> None:
    data = yaml.safe_load(export_environment(job, environment, Format.ENVIRONMENT))
    assert data["name"] == "pytorch-py3.10-cu118"
    assert data["channels"] == ["conda-forge", "https://conda.example/lab"]
    *conda, last = data["dependencies"]
    assert conda == [f"{it.name}={it.version}={it.build}" for it in environment.conda]
    assert last == {
        "pip": [
            f"--extra-index-url {WHL}/cu118",
            "nvidia-cudnn-cu11==9.1.0.70",
            "torch==2.7.1+cu118",
            "torchvision==0.22.1+cu118",
            "tqdm==4.70.1",
        ]
    }
    assert data["variables"] == {"OMP_NUM_THREADS": "8", "YES": "yes"}
    for spec in conda:
        rattler.MatchSpec(spec)


def test_environment_file_of_conda_alone_has_no_pip() -> None:
    job = make_job(cuda="cpu", torch=TorchRequest(wanted=False))
    data = yaml.safe_load(export_environment(job, make_environment(), Format.ENVIRONMENT))
    assert all(isinstance(spec, str) for spec in data["dependencies"])
    assert "variables" not in data


def test_init_of_an_exported_file_has_the_same_pins(job: Job, environment: Environment, tmp_path: Path) -> None:
    path = tmp_path / "environment.yml"
    path.write_text(export_environment(job, environment, Format.ENVIRONMENT))
    definition = adopt_file(path, name="again", base="miniforge").definition
    assert (definition.python, definition.cuda) == ((Version("3.10"),), (Version("11.8"),))
    assert definition.torch == pin("2.7.1")
    assert definition.conda == tuple(
        f"{it.name}={it.version}={it.build}" for it in environment.conda if it.name != "python"
    )
    assert definition.pip == ("nvidia-cudnn-cu11==9.1.0.70", "torchvision==0.22.1", "tqdm==4.70.1")
    assert definition.channels == ("conda-forge", "https://conda.example/lab")
    assert definition.env == job.definition.env


def test_init_of_an_exported_file_takes_torch_from_the_same_place(tmp_path: Path) -> None:
    job = make_job(python="3.11", cuda="12.6", torch=pin("2.5.1"), torch_source=("conda-forge",))
    torch = make_conda("pytorch", "2.5.1", "cuda126_py311hb13e2d6_306")
    conda = [*make_python("3.11.9"), torch, make_conda("cuda-version", "12.6", "h7480c83_3", subdir="noarch")]
    path = tmp_path / "environment.yml"
    path.write_text(export_environment(job, make_environment(conda=conda), Format.ENVIRONMENT))
    definition = adopt_file(path, name="again", base="miniforge").definition
    assert (definition.torch_source, definition.torch) == (("conda-forge",), pin("2.5.1"))
    assert (definition.python, definition.cuda) == ((Version("3.11"),), (Version("12.6"),))


def test_explicit_list_has_dependencies_first_and_pip_as_a_comment(job: Job, environment: Environment) -> None:
    text = export_environment(job, environment, Format.EXPLICIT)
    lines = text.splitlines()
    listed = [line for line in lines[lines.index("@EXPLICIT") + 1 :] if not line.startswith("#")]
    assert sorted(listed) == sorted(f"{it.url}#{it.md5}" for it in environment.conda)
    names = [split_conda_url(line.partition("#")[0])[0] for line in listed]
    assert names.index("libgcc") < names.index("python") < names.index("numpy")
    assert lines[-1] == (
        f"# pip install --no-deps --extra-index-url {WHL}/cu118 nvidia-cudnn-cu11==9.1.0.70 "
        "torch==2.7.1+cu118 torchvision==0.22.1+cu118 tqdm==4.70.1"
    )


def test_pixi_lock_is_read_by_everybody(job: Job, environment: Environment, tmp_path: Path) -> None:
    path = tmp_path / "pixi.lock"
    path.write_text(export_environment(job, environment, Format.PIXI))
    expected = replace(environment, name="default")
    assert read_lock(path).environments == (expected,)
    (foreign,) = read_foreign_lock(path)
    assert (foreign.name, foreign.conda) == ("default", expected.conda)
    assert [wheel.url for wheel in foreign.pip] == [wheel.url for wheel in expected.pip]
    lock = rattler.LockFile.from_path(path)
    ((name, theirs),) = lock.environments()
    (platform,) = theirs.platforms()
    assert (name, str(platform.subdir)) == ("default", "linux-64")
    urls = {it.url for it in environment.conda} | {it.url for it in environment.pip}
    assert {package.location for package in theirs.packages(platform) or []} == urls


def test_wheels_of_a_private_index_are_named(job: Job, environment: Environment) -> None:
    assert list_unnamed(job, environment) == ()
    private = make_wheel("private")
    found = list_unnamed(job, replace(environment, pip=(*environment.pip, private)))
    assert found == (private,)


def test_cell_is_found_by_id_and_by_ref_of_any_registry(tmp_path: Path) -> None:
    definition = make_definition(torch=pin("2.7.1"))
    project = Project(root=tmp_path, definitions=(definition,), bases={"miniforge": make_job().base})
    for wanted in (
        "pytorch-py3.10-cu118",
        "pytorch:2.7.1-cu118-py310",
        "registry.example:5000/t/pytorch:2.7.1-cu118-py310",
    ):
        assert find_job(project, wanted).cell.id == "pytorch-py3.10-cu118"
    with pytest.raises(CellError, match="no cell") as caught:
        find_job(project, "pytorch:2.7.1-cu119-py310")
    assert re.search(r"did you mean pytorch:2\.7\.1-cu\d+-py310", str(caught.value.hint))


def test_image_has_to_hold_the_locked_packages(environment: Environment) -> None:
    key = "dev.imgbuild.packages"
    check_image("demo:1", {key: digest_packages(environment)}, environment)
    with pytest.raises(LockError, match="has other packages than the lock"):
        check_image("demo:1", {key: digest_packages(replace(environment, pip=()))}, environment)
    with pytest.raises(LockError, match="was not made by imgbuild"):
        check_image("demo:1", {}, environment)


def test_export_needs_a_lock_and_no_engine(
    demo: Demo, imgbuild: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    code, out, err = imgbuild("export", "demo-py3.10-cpu")
    assert (code, out) == (5, "")
    assert imgbuild("lock", "--sources", demo.sources, "--progress", "plain")[0] == 0
    code, out, err = imgbuild("export", "demo:cpu-py310")
    assert code == 0
    assert "there is no engine to compare demo:cpu-py310 with" in err
    assert "wheely: pip has to be told of the index" in err
    assert {"some_tool=1.0=0", "python=3.10.16=0"} < {
        it for it in yaml.safe_load(out)["dependencies"] if isinstance(it, str)
    }
    target = tmp_path / "environment.yml"
    assert imgbuild("export", "demo-py3.10-cpu", "--output", target)[:2] == (0, "")
    assert target.read_text() == out
    code, out, err = imgbuild("export", "demo-py3.10-cpu", "--output", tmp_path / "absent" / "x")
    assert (code, out) == (1, "")
    assert "cannot be written" in err
    assert imgbuild("export", "demo-py3.12-cpu")[0] == 4
