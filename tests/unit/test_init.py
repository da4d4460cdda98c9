"""`imgbuild init`: definitions from the files that people have."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from click.testing import CliRunner
from packaging.markers import Marker
from packaging.requirements import Requirement

from builder.adopt.redaction import redact
from builder.cli import cli
from builder.definition import load_definition
from builder.errors import DefinitionError, ImgbuildError
from builder.export import export_environment
from builder.matrix import expand_cells
from tests.samples import make_conda, make_environment, make_wheel

if TYPE_CHECKING:
    from click.testing import Result

    from builder.definition import Definition

PYPI = f"https://pypi.example/packages/00/11/{'a' * 60}"
TORCH = make_wheel("torch", "2.7.1+cu118", folder="https://files.pytorch.org/whl/cu118")


def run(root: Path, source: Path, *more: str, name: str = "mine") -> Result:
    return CliRunner().invoke(cli, ["--project", str(root), "init", name, "--from", str(source), *more])


def init(root: Path, name: str, text: str) -> tuple[Definition, str]:
    """Return the definition that a file of this name and text becomes, and what is said of the rest."""
    source = root / name
    source.write_text(text)
    done = run(root, source)
    assert done.exit_code == 0, done.exception
    return load_definition(Path(done.stdout.strip())), done.stderr


def refuse(root: Path, name: str, text: str | bytes) -> ImgbuildError:
    """Return the error that a file of this name and text is refused with."""
    source = root / name
    source.write_bytes(text.encode() if isinstance(text, str) else text)
    error = run(root, source).exception
    assert isinstance(error, ImgbuildError), error
    assert not (root / "images").exists()
    return error


ENVIRONMENT = """\
name: research
channels: [pytorch, nvidia, conda-forge, nodefaults]
dependencies:
  - python=3.10
  - pytorch::pytorch=2.5.1
  - torchvision
  - pytorch-cuda=11.8
  - numpy=1.26
  - scipy>=1.10, <2
  - bioconda::samtools
  - pip:
    - transformers==4.40.0
    - -e .
    - git+https://example.org/a/b.git
    - accelerate[deepspeed]>=0.30 ; sys_platform == "linux"
    - pywin32 ; sys_platform == "win32"
variables:
  OMP_NUM_THREADS: 4
prefix: /home/somebody/envs/research
"""

REQUIREMENTS = """\
--extra-index-url https://download.pytorch.org/whl/cu118
--index-url https://user:hunter2@pypi.example/simple
torch==2.5.1+cu118
torchvision
nvidia-cudnn-cu11==9.1.0.70
numpy<2   # not yet
-r more.txt
pandas==2.2.2 \\
    --hash=sha256:0000
-e git+https://example.org/x.git#egg=x
"""

PIXI = """\
[workspace]
name = "work"
channels = ["conda-forge", {channel = "pytorch", priority = 1}]
platforms = ["linux-64"]

[dependencies]
python = "3.11.*"
numpy = ">=1.26,<3"
samtools = {version = "1.20", channel = "bioconda"}
cuda-version = "12.6.*"

[pypi-dependencies]
torch = "==2.7.1"
transformers = {version = ">=4.40", extras = ["torch"]}
mine = {path = ".", editable = true}

[feature.test.dependencies]
pytest = "*"
"""


def test_environment_yml(tmp_path: Path) -> None:
    found, said = init(tmp_path, "environment.yml", ENVIRONMENT)
    assert [str(it) for it in (*found.python, *found.cuda)] == ["3.10", "11.8"]
    assert str(found.torch.version) == "2.5.1"
    assert found.channels == ("conda-forge",)
    assert found.conda == ("numpy=1.26", "scipy >=1.10,<2", "bioconda::samtools")
    assert found.pip[:2] == ("torchvision", "transformers==4.40.0")
    assert found.pip[2].startswith("accelerate[deepspeed]>=0.30")
    assert found.env == (("OMP_NUM_THREADS", "4"),)
    for words in ("environment.yml:13: left out: -e .", "git+https", "pywin32"):
        assert words in said


def test_requirements_txt(tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("tqdm\n")
    found, said = init(tmp_path, "requirements.txt", REQUIREMENTS)
    assert [str(it) for it in found.cuda] == ["11.8"]
    assert str(found.torch.version) == "2.5.1"
    assert found.pip == ("torchvision", "numpy<2", "tqdm", "pandas==2.2.2")
    assert "requirements.txt:2: left out: https://pypi.example/…: an index" in said
    assert "hunter2" not in said
    assert "requirements.txt:5: left out: nvidia-cudnn-cu11" in said
    assert "requirements.txt:10: left out" in said


@pytest.mark.parametrize(
    "line",
    [
        "git+https://user:s3cr3t@example.org/a.git",
        "pkg @ https://user:s3cr3t@example.org/pkg.whl",
        "pkg @ https://example.org/pkg.whl?token=s3cr3t",
        "-e git+https://oauth2:s3cr3t@example.org/a.git#egg=a",
        "-c https://user:s3cr3t@example.org/c.txt",
        "-r https://user:s3cr3t@example.org/r.txt",
        "--proxy=user:s3cr3t@proxy.example:3128",
        "--index-url https://user:s3cr3t/@index.example/simple",
        "-f https://s3cr3t@index.example/?x=s3cr3t",
        "-f https://index.example/t/s3cr3t",
        "-e git+https://example.org/a.git#egg=a&token=s3cr3t",
        "--extra-index-url https://index.example/simple?token=s3cr3t",
        "--index-url https://user:s3cr=s3cr3t@index.example/simple",
        "-i https://user:#s3cr3t@index.example/simple",
        "--find-links=https://index.example/p?sig=s3cr3t",
        "--extra-index-url https://index.example/s3cr3t/team/simple/",
        "-i https://index.example/priv/s3cr3t;token=s3cr3t",
        "pkg @ https://index.example/s3cr3t/pkg-1.0-py3-none-any.whl",
        '--header "Authorization: Bearer s3cr3t"',
        '--global-option="--token=s3cr3t"',
        "numpy --config-settings=token=s3cr3t",
    ],
)
def test_credentials_of_what_is_left_out_are_not_shown(line: str, tmp_path: Path) -> None:
    _, said = init(tmp_path, "requirements.txt", f"requests\n{line}\n")
    assert "requirements.txt:2: left out: " in said
    assert "s3cr3t" not in said


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("numpy>=1.2", "numpy>=1.2"),
        ("a @ git+https://example.org/a.git@main#egg=a&subdirectory=b", "a @ git+https://example.org/…"),
        ("https://index.example:8080/a@1", "https://index.example:8080/…"),
        ("https://index.example", "https://index.example"),
        ("user:hunter2@proxy.example:3128", "proxy.example:3128"),
    ],
)
def test_of_an_address_the_host_is_shown(text: str, shown: str) -> None:
    assert redact(text) == shown


def test_pixi_toml(tmp_path: Path) -> None:
    found, said = init(tmp_path, "pixi.toml", PIXI)
    assert [str(it) for it in (*found.python, *found.cuda)] == ["3.11", "12.6"]
    assert found.conda == ("numpy >=1.26,<3", "bioconda::samtools==1.20")
    assert found.pip == ("transformers[torch]>=4.40",)
    assert "left out: mine" in said
    assert "left out: feature test" in said


def test_pyproject_of_any_tool_gives_its_dependencies(tmp_path: Path) -> None:
    text = """[project]
requires-python = "==3.12.*"
dependencies = ["numpy", "torch==2.6.0"]
[project.optional-dependencies]
docs = ["sphinx"]
"""
    found, said = init(tmp_path, "pyproject.toml", text)
    assert [str(it) for it in found.python] == ["3.12"]
    assert str(found.torch.version) == "2.6.0"
    assert found.pip == ("numpy",)
    assert "left out: optional dependencies docs" in said


def test_pixi_targets_that_hold_on_linux_are_taken_and_unknown_tables_named(tmp_path: Path) -> None:
    text = """[target.unix.dependencies]
numpy = ">=1.20"
[target.linux.dependencies]
scipy = {version = "1.14.*", build = "*openblas*"}
[target.win-64.dependencies]
pywin32 = "*"
[pypi-options]
no-build = true
"""
    found, said = init(tmp_path, "pixi.toml", text)
    assert found.conda == ("numpy >=1.20", "scipy=1.14.*=*openblas*")
    assert "pixi.toml:8: left out: pypi-options.no-build" in said


@pytest.mark.parametrize(
    ("channels", "base"),
    [
        ("[defaults]", "miniconda"),
        ("[pytorch, nvidia, defaults]", "miniconda"),
        ("[pkgs/main]", "miniconda"),
        ("[defaults, conda-forge]", "miniforge"),
        ("[conda-forge, defaults]", "miniforge"),
        ("[defaults, https://conda.example/conda-forge/]", "miniforge"),
        ("[conda-forge, nodefaults]", "miniforge"),
        ("[nodefaults]", "miniforge"),
        ("[]", "miniforge"),
    ],
)
def test_base_is_the_one_whose_conda_has_the_channels(tmp_path: Path, channels: str, base: str) -> None:
    definition, _ = init(tmp_path, "environment.yml", f"channels: {channels}\ndependencies: [numpy]\n")
    assert definition.base == base
    assert definition.channels[-1].rstrip("/").endswith("conda-forge")


def test_base_that_is_asked_for_is_taken(tmp_path: Path) -> None:
    source = tmp_path / "environment.yml"
    source.write_text("channels: [defaults]\ndependencies: [numpy]\n")
    done = run(tmp_path, source, "--base", "micromamba")
    assert load_definition(Path(done.stdout.strip())).base == "micromamba"


def test_anacondas_channels_are_left_to_who_accepts_their_terms(tmp_path: Path) -> None:
    text = "channels: [defaults, conda-forge, https://user:s3cr3t@conda.example/c]\ndependencies: [numpy]\n"
    found, said = init(tmp_path, "environment.yml", text)
    assert found.channels == ("conda-forge",)
    assert "environment.yml:1: left out: channel defaults: it is under Anaconda's Terms" in said
    assert "credentials" in said
    assert "s3cr3t" not in said


@pytest.mark.parametrize(
    ("spec", "conda", "cuda"),
    [
        ('numpy[version=">=1.2,<2"]', ("numpy >=1.2,<2",), None),
        ("numpy[version='1.26',channel=bioconda]", ("bioconda::numpy==1.26",), None),
        ("faiss[build='*cuda*']", ("faiss=*=*cuda*",), None),
        ("https://conda.example/c::numpy", ("https://conda.example/c::numpy",), None),
        ("defaults::numpy", ("numpy",), None),
        ("pytorch-gpu", (), "12.6"),
        ("pytorch-cpu=2.6.0", (), None),
        ("pytorch=2.6.0=cuda118_generic_py310_h1_0", (), "11.8"),
        ("pytorch=2.6.0=cpu_generic_py310_h1_0", (), None),
        ("pytorch=*=cuda12*", (), "12.9"),
        ("pytorch=2.5.*=*cuda12*", (), "12.6"),
        ("pytorch=2.5.1=cuda12.1_cudnn9_0", (), "12.1"),
        ("pytorch 2.5.1 cuda120py310h1", (), "12.0"),
        ("numpy 1.26", ("numpy==1.26",), None),
        ("numpy=1.26[build=py310*]", ("numpy=1.26.*=py310*",), None),
        ("pytorch=2.1.0[build=*cuda118*]", (), "11.8"),
        ("c 1.2|1.3", ("c 1.2|1.3",), None),
        ("numpy >= 1.20, < 2", ("numpy >=1.20,<2",), None),
        ("cudatoolkit=11.8", ("cudatoolkit=11.8",), "11.8"),
        ("nvidia/label/cuda-12.4.1::cuda-toolkit", ("nvidia/label/cuda-12.4.1::cuda-toolkit",), "12.4"),
    ],
)
def test_conda_spec_of_every_notation(spec: str, conda: tuple[str, ...], cuda: str | None, tmp_path: Path) -> None:
    found, _ = init(tmp_path, "environment.yml", f"dependencies:\n- {json.dumps(spec)}\n")
    assert found.conda == conda
    assert [str(it) if it else None for it in found.cuda] == [cuda]
    assert found.torch.wanted == ("torch" in spec)


def test_spec_that_a_definition_refuses_is_left_out_alone(tmp_path: Path) -> None:
    text = "dependencies:\n- numpy\n- libtorch\n- scipy ((\n- https://u:s3cr3t@conda.example/c::x\n- pip: [pytorch]\n"
    found, said = init(tmp_path, "environment.yml", text)
    assert found.conda == ("numpy",)
    assert found.pip == ()
    for line, name in ((3, "libtorch"), (4, "scipy"), (5, "https"), (6, "pytorch")):
        assert f"environment.yml:{line}: left out: {name}" in said
    assert "s3cr3t" not in said


def test_requirements_of_requirements_are_followed_however_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("tqdm\n")
    assert init(tmp_path, "requirements.txt", "-rmore.txt\n")[0].pip == ("tqdm",)
    (tmp_path / "images/mine/image.yaml").unlink()
    found, said = init(tmp_path, "environment.yml", 'dependencies:\n- pip:\n  - -r more.txt\n  - "-f \'x"\n')
    assert found.pip == ("tqdm",)
    assert "environment.yml:4: left out: -f 'x: a quote in it" in said


def test_variables_that_no_image_may_have_are_left_out_by_name(tmp_path: Path) -> None:
    text = "dependencies: [numpy]\nvariables:\n  A: b\n  HF_TOKEN: s3cr3t\n  PATH: /x\n"
    found, said = init(tmp_path, "environment.yml", text)
    assert found.env == (("A", "b"),)
    assert "environment.yml:4: left out: HF_TOKEN: HF_TOKEN looks like a secret" in said
    assert "environment.yml:5: left out: PATH" in said
    assert "s3cr3t" not in said


@pytest.mark.parametrize(
    ("lines", "python", "cuda", "torch"),
    [
        ("torch>=2.1,<2.3", "3.12", "12.1", "2.2.2"),
        ("torch==2.1.*", "3.11", "12.1", "2.1.2"),
        ("torch>=2.1", "3.14", "12.6", None),
        ("torch~=2.6.0", "3.13", "12.6", "2.6.0"),
        ("torch==2.6.0", "3.13", "12.6", "2.6.0"),
    ],
)
def test_torch_range_becomes_the_newest_release_in_it(
    lines: str, python: str, cuda: str, torch: str | None, tmp_path: Path
) -> None:
    found, said = init(tmp_path, "requirements.txt", lines + "\n")
    assert [str(it) for it in (*found.python, *found.cuda)] == [python, cuda]
    assert (str(found.torch.version) if found.torch.version else None) == torch
    assert said == ""
    assert expand_cells(found)[0]


@pytest.mark.parametrize(
    ("specs", "python", "cuda"),
    [
        (["python <3.12"], "3.11", None),
        (["python >=3.10, <3.13"], "3.12", None),
        (["python 3.10|3.11"], "3.11", None),
        (["python=3.10.4=h1_0"], "3.10", None),
        (["python >=3.10", "python <3.12"], "3.11", None),
        (["python <=3.11"], "3.11", None),
        (["python=3.11", "cuda-version=12"], "3.11", "12.9"),
        (["python=3.11", "cuda-version >=12.1,<12.7"], "3.11", "12.6"),
        (["python=3.11", "cudatoolkit=11.8.0"], "3.11", "11.8"),
    ],
)
def test_python_and_cuda_stay_in_their_ranges(specs: list[str], python: str, cuda: str | None, tmp_path: Path) -> None:
    found, said = init(tmp_path, "environment.yml", json.dumps({"dependencies": specs}))
    assert [str(it) for it in found.python] == [python]
    assert [str(it) if it else None for it in found.cuda] == [cuda]
    assert said == ""


def test_range_that_nothing_known_fits_is_said(tmp_path: Path) -> None:
    found, said = init(tmp_path, "requirements.txt", "torch>=99\n")
    assert found.torch.version is None
    assert "requirements.txt:1: left out: torch>=99: no torch that is known" in said


def test_specs_of_one_package_are_all_kept(tmp_path: Path) -> None:
    specs = ["numpy >=1.20", "numpy <2", "scipy", "scipy=1.14", "faiss=1.8=h1_0", "faiss >=1"]
    pip = ["tqdm>=4", "tqdm[notebook]<5"]
    found, said = init(tmp_path, "environment.yml", json.dumps({"dependencies": [*specs, {"pip": pip}]}))
    assert found.conda == ("numpy >=1.20,<2", "scipy=1.14", "faiss=1.8=h1_0")
    assert Requirement(found.pip[0]) == Requirement("tqdm[notebook]>=4,<5")
    assert len(found.pip) == 1
    assert "left out: faiss >=1: faiss=1.8=h1_0 is asked for as well" in said


def test_byte_order_mark_hides_no_line(tmp_path: Path) -> None:
    assert init(tmp_path, "requirements.txt", "\ufeffrequests\ntqdm\n")[0].pip == ("requests", "tqdm")


def test_plain_list_gets_a_python_and_no_torch(tmp_path: Path) -> None:
    found, said = init(tmp_path, "requirements.txt", "requests\n")
    assert found.cuda == (None,)
    assert found.python[0].minor >= 13
    assert said == ""


def test_what_is_there_stays(tmp_path: Path) -> None:
    init(tmp_path, "requirements.txt", "requests\n")
    before = (tmp_path / "images/mine/image.yaml").read_text()
    error = run(tmp_path, tmp_path / "requirements.txt").exception
    assert isinstance(error, ImgbuildError)
    assert error.exit_code == 1
    assert "is there already" in str(error)
    assert (tmp_path / "images/mine/image.yaml").read_text() == before


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("environment.yml", "dependencies: [\n", "environment.yml:"),
        ("environment.yml", "dependencies:\n- numpy\n-\n", "environment.yml:3: is empty"),
        ("environment.yml", "channels: [[a]]\ndependencies: [numpy]\n", "environment.yml:1: is not a text"),
        ("environment.yml", "dependencies: [numpy]\nvariables:\n  A:\n", "environment.yml:3: is empty"),
        ("environment.yml", "services: {web: {image: x}}\n", "line 1: services: a definition has no place"),
        ("requirements.txt", "-r absent.txt\n", "absent.txt cannot be read: No such file"),
        ("requirements.txt", b"\xff\xfer\x00", "is not UTF-8"),
        ("requirements.txt", "-e .\n", "line 1: -e .: code under work"),
        ("pixi.toml", "[a\n", "pixi.toml: is no TOML"),
        ("Pipfile", "", "is of no tool"),
        ("requirements.txt", "-r absent.txt\n", "requirements.txt:1: "),
        ("requirements.txt", "-r requirements.txt\n", "include themselves"),
        ("requirements.txt", "# nothing\n", "asks for nothing"),
        ("pyproject.toml", '[project]\nname = "mine"\n', "asks for nothing"),
        ("pyproject.toml", '[project]\ndependencies = "numpy"\n', "dependencies is not a list"),
        ("environment.yml", "dependencies:\n- numpy\n- pip: tqdm\n", "environment.yml:3: pip is not a list"),
        ("environment.yml", "dependencies: numpy\n", "environment.yml:1: dependencies is not a list"),
        ("pixi.toml", "dependencies = 3\n", "dependencies is not a table"),
        ("pixi.toml", "[activation]\nenv = 3\n", "env is not a table"),
        ("pixi.toml", "[dependencies]\nnumpy = 3\n", "numpy is not text"),
        ("pixi.toml", '[pypi-dependencies]\nx = {version = "*", extras = "ab"}\n', "extras is not a list"),
        ("pixi.toml", '[pypi-dependencies]\ntorch = {version = ["1"]}\n', "torch.version is not text"),
    ],
)
def test_unreadable_files_are_refused(name: str, text: str | bytes, words: str, tmp_path: Path) -> None:
    error = refuse(tmp_path, name, text)
    assert error.exit_code == 3
    assert words in str(error)


def test_exported_environment_comes_back_with_its_pins(tmp_path: Path) -> None:
    conda = (make_conda("python", "3.10.16", "h0_cpython"), make_conda("numpy", "1.26.4", "py310_0"))
    cell = make_environment(conda=conda, pip=(TORCH, make_wheel("tqdm", "4.67.0", folder=PYPI)))
    path = tmp_path / "environment.yml"
    path.write_text(export_environment(cell, "https://download.pytorch.org/whl/cu118"))
    assert yaml.safe_load(path.read_text())
    found, said = init(tmp_path, "environment.yml", path.read_text())
    assert [str(it) for it in (*found.python, *found.cuda, found.torch.version)] == ["3.10", "11.8", "2.7.1"]
    assert found.channels == ("conda-forge",)
    assert (found.conda, found.pip) == (("numpy=1.26.4=py310_0",), ("tqdm==4.67.0",))
    assert said == ""


EXPORTED = """\
name: research
channels: [conda-forge]
dependencies:
  - _libgcc_mutex=0.1=conda_forge
  - _openmp_mutex=4.5=2_gnu
  - libblas=3.9.0=31_h59b9bed_openblas
  - librosa=0.10.2=pyhd8ed1ab_0
  - numpy=1.26.4=py310hb13e2d6_0
  - openssl=3.5.0=h7b32b05_1
  - pip=25.1=pyh8b19718_0
  - python=3.10.16=he725a3c_1_cpython
  - pytorch=2.5.1=cuda126_py310h1_300
  - setuptools=78.1.0=pyhff2d567_0
  - pip:
    - tqdm==4.67.0
prefix: /home/somebody/envs/research
"""


@pytest.mark.parametrize(
    ("build", "cuda"),
    [("py3.10_cuda12.4_cudnn9.1.0_0", "12.4"), ("cuda118_py310h1_300", "11.8"), ("cpu_py310_0", "None")],
)
def test_exported_torch_is_for_the_cuda_of_its_build(build: str, cuda: str, tmp_path: Path) -> None:
    exported = EXPORTED.replace("cuda126_py310h1_300", build)
    found, _ = init(tmp_path, "environment.yml", exported)
    assert (str(found.torch.version), [str(it) for it in found.cuda]) == ("2.5.1", [cuda])
    assert found.conda == ("librosa=0.10.2", "numpy=1.26.4")


def test_exported_environment_gives_what_somebody_may_have_asked_for(tmp_path: Path) -> None:
    found, said = init(tmp_path, "environment.yml", EXPORTED)
    assert (found.conda, found.pip) == (("librosa=0.10.2", "numpy=1.26.4"), ("tqdm==4.67.0",))
    assert [str(it) for it in (*found.python, *found.cuda, found.torch.version)] == ["3.10", "12.6", "2.5.1"]
    assert "yml:4: left out: _libgcc_mutex, _openmp_mutex, libblas, openssl, setuptools: an exported" in said


@pytest.mark.parametrize(
    "changed",
    [
        ("  - _libgcc_mutex=0.1=conda_forge\n  - _openmp_mutex=4.5=2_gnu\n", ""),
        ("librosa=0.10.2=pyhd8ed1ab_0", "librosa"),
        ("librosa=0.10.2=pyhd8ed1ab_0", "librosa>=0.10"),
    ],
)
def test_pins_that_somebody_wrote_stay(changed: tuple[str, str], tmp_path: Path) -> None:
    found, _ = init(tmp_path, "environment.yml", EXPORTED.replace(*changed))
    assert {"openssl=3.5.0=h7b32b05_1", "numpy=1.26.4=py310hb13e2d6_0"} <= set(found.conda)


def test_what_is_brought_by_nothing_in_the_file_stays(tmp_path: Path) -> None:
    lines = EXPORTED.splitlines(keepends=True)
    found, _ = init(
        tmp_path, "environment.yml", "".join(it for it in lines if "numpy" not in it and "- pip=" not in it)
    )
    assert {"libblas=3.9.0", "setuptools=78.1.0"} <= set(found.conda)


def test_environment_of_a_cell_comes_back_as_what_was_asked_for(tmp_path: Path) -> None:
    brought = [make_conda(name, "1.0", "h_0") for name in ("_openmp_mutex", "ld_impl_linux-64", "openssl", "libzlib")]
    asked = [make_conda("numpy", "1.26.4", "py310_0"), make_conda("python", "3.10.16", "h0_cpython")]
    cell = make_environment(conda=(*brought, *asked), pip=(TORCH,))
    text = export_environment(cell, "https://download.pytorch.org/whl/cu118")
    found, _ = init(tmp_path, "environment.yml", text)
    assert [str(it) for it in (*found.python, *found.cuda, found.torch.version)] == ["3.10", "11.8", "2.7.1"]
    assert (found.conda, found.pip) == (("numpy=1.26.4",), ())


@pytest.mark.parametrize(
    ("lines", "python", "torch"),
    [
        ('torch==2.1.0; python_version>="3.8"\ntorch==1.13.1; python_version<"3.8"\n', "3.11", "2.1.0"),
        (
            'torch==2.1.0; python_version>="3.8"\ntorch==1.13.1; python_version<"3.8"\ntomli; python_version<"3.11"\n',
            "3.11",
            "2.1.0",
        ),
        ('torch==1.13.1; python_version<"3"\npython-dateutil\n', "3.15", None),
    ],
)
def test_torch_for_another_python_is_left_out(lines: str, python: str, torch: str | None, tmp_path: Path) -> None:
    found, said = init(tmp_path, "requirements.txt", lines)
    assert [str(it) for it in found.python] == [python]
    assert (str(found.torch.version) if found.torch.version else None) == torch
    assert re.search(
        rf'left out: torch==1.13.1; python_version<"3.*": its marker does not hold for Python {python} on', said
    )


UP_TO_312 = 'python_version >= "3.10" and python_version < "3.13"'


@pytest.mark.parametrize(
    ("lines", "python", "torch"),
    [
        ([f"numpy==1.26.4 ; {UP_TO_312}", f"torch==2.6.0 ; {UP_TO_312}"], "3.12", "2.6.0"),
        ([f"numpy==1.26.4 ; {UP_TO_312}", f"pandas==2.2.3 ; {UP_TO_312}"], "3.12", None),
        (['torch==2.6.0 ; python_version < "3.14"'], "3.13", "2.6.0"),
        (['torch==2.7.1 ; python_version < "3.13"', 'torch==2.8.0 ; python_version >= "3.13"'], "3.13", "2.8.0"),
        (["torchvision==0.15.2", 'torchaudio==2.0.2 ; python_version >= "3.9"'], "3.11", "2.0.1"),
        (['tomli ; python_version < "3.11"', "numpy", "torch==2.7.1"], "3.13", "2.7.1"),
        (["rich", 'dataclasses ; python_version < "3.7"', 'typing-extensions ; python_version < "3.8"'], "3.15", None),
        (['torch==2.5.1 ; python_full_version >= "3.10.12" and python_version < "3.11"'], "3.10", "2.5.1"),
        (["torchvision==0.17.*"], "3.12", "2.2.2"),
        (["torchvision<0.17", "torchaudio"], "3.11", "2.1.2"),
        (["torchvision===0.17.2+cu121"], "3.12", "2.2.2"),
        (["torchvision===some.build"], "3.14", None),
    ],
)
def test_python_is_the_newest_that_markers_are_for(
    lines: list[str], python: str, torch: str | None, tmp_path: Path
) -> None:
    found, said = init(tmp_path, "requirements.txt", "\n".join(lines))
    assert [str(it) for it in found.python] == [python]
    assert (str(found.torch.version) if found.torch.version else None) == torch
    left = [line for line in lines if f"{line}: its marker" in said]
    assert left == [line for line in lines if line.startswith("torch==2.7.1 ;")]
    for line in lines:
        if line.startswith(("numpy", "pandas")) and ";" in line:
            assert Marker(line.partition(";")[2]).evaluate({"python_version": python})


@pytest.mark.parametrize(
    "marker", ["platform_python_implementation == 'PyPy'", "implementation_name == 'pypy'", "sys_platform == 'win32'"]
)
def test_what_is_for_another_python_or_system_is_left_out(marker: str, tmp_path: Path) -> None:
    found, said = init(tmp_path, "requirements.txt", f"numpy\nflask; {marker}\n")
    assert found.pip == ("numpy",)
    assert "requirements.txt:2: left out: flask" in said
    assert "its marker does not hold on Linux" in said


def test_marker_that_nobody_can_judge_is_told(tmp_path: Path) -> None:
    found, said = init(tmp_path, "requirements.txt", 'numpy\ntorch; python_version ~= "3"\n')
    assert found.pip == ("numpy",)
    assert "requirements.txt:2: left out: torch" in said
    assert "its marker cannot be judged" in said


def test_toolkit_beside_torch_stays_and_what_names_its_cuda_goes(tmp_path: Path) -> None:
    specs = ["pytorch", "pytorch-cuda=12.6", "cudatoolkit", "cuda-toolkit=12.6", "ninja"]
    found, said = init(tmp_path, "environment.yml", json.dumps({"dependencies": specs}))
    assert found.conda == ("ninja", "cuda-toolkit=12.6")
    assert [str(it) for it in found.cuda] == ["12.6"]
    assert said == ""


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        (["pytorch-cuda=11.8", "cpuonly"], "cpuonly: CUDA 11.8 is asked for as well"),
        (["python=3.10", "python=3.11"], "python=3.11: Python 3.10 is asked for as well"),
        (["pytorch=2.1.0", {"pip": ["torch==2.5.1"]}], "torch==2.5.1: torch 2.1.0 is asked for as well"),
        (["python=3.11", "pip<24.1"], "pip<24.1: each Python brings its pip"),
        (["pytorch=2.5.1=rocm62_py310"], "rocm62_py310: imgbuild makes images for NVIDIA's GPUs"),
        (["python=3.11", {"pip": ["torch==2.3.1+rocm6.0"]}], "rocm6.0: imgbuild makes images for NVIDIA's GPUs"),
        (["pytorch", "numpy"], "channel pytorch: the matrix brings what torch needs of it"),
    ],
)
def test_what_is_not_taken_is_said(specs: list[object], words: str, tmp_path: Path) -> None:
    asked = {"channels": ["pytorch", "conda-forge"], "dependencies": specs}
    assert words in init(tmp_path, "environment.yml", json.dumps(asked))[1]


@pytest.mark.parametrize(
    ("channels", "taken"),
    [
        (["bioconda"], ("bioconda", "conda-forge")),
        (["nvidia", "conda-forge"], ("nvidia", "conda-forge")),
        (["https://conda.anaconda.org/bioconda"], ("https://conda.anaconda.org/bioconda", "conda-forge")),
        (["https://conda.example/all"], ("https://conda.example/all",)),
    ],
)
def test_some_channel_has_python(channels: list[str], taken: tuple[str, ...], tmp_path: Path) -> None:
    asked = {"channels": channels, "dependencies": ["numpy"]}
    assert init(tmp_path, "environment.yml", json.dumps(asked))[0].channels == taken


@pytest.mark.parametrize(
    ("specs", "torch"),
    [
        ([{"pip": ["torchvision==0.20.1"]}], "2.5.1"),
        ([{"pip": ["torch", "torchvision==0.16.0"]}], "2.1.0"),
        ([{"pip": ["torch>=1.13", "torchvision==0.15.2", "torchaudio==2.0.2"]}], "2.0.1"),
        ([{"pip": ["torch==2.1.1", "torchvision==0.16.0"]}], "2.1.1"),
        ([{"pip": ["torch", "torchvision==0.9.0+cu111"]}], None),
        (["torchvision=0.15.2"], "2.0.1"),
        (["torchvision=0.15.2=py310_cu118"], "2.0.1"),
        (["pytorch", "torchvision=0.15", "pytorch-cuda=11.8"], "2.0.1"),
        (["pytorch=2.0"], "2.0.1"),
        (["pytorch", "torchaudio >=2.0,<2.1"], "2.0.1"),
    ],
)
def test_torchvision_and_torchaudio_ask_for_the_torch_that_they_belong_to(
    specs: list[object], torch: str | None, tmp_path: Path
) -> None:
    found, said = init(tmp_path, "environment.yml", json.dumps({"dependencies": specs}))
    assert (str(found.torch.version) if found.torch.version else None) == torch
    assert found.conda == ()
    assert set(found.pip) <= {"torchvision", "torchaudio"}
    assert found.torch.wanted
    assert ("0.9.0+cu111: no torch that is known fits it" in said) == (torch is None)


TORCH_210 = "https://download.pytorch.org/whl/cu118/torch-2.1.0%2Bcu118-cp310-cp310-linux_x86_64.whl"


@pytest.mark.parametrize(
    "line",
    [
        f"torch @ {TORCH_210}",
        TORCH_210,
        f"torch @ {TORCH_210}#sha256=00 ; sys_platform == 'linux'",
        "./wheels/torch-2.1.0+cu118-cp310-cp310-linux_x86_64.whl",
    ],
)
def test_wheel_of_torch_says_which_it_is(line: str, tmp_path: Path) -> None:
    found, said = init(tmp_path, "requirements.txt", f"numpy\n{line}\n")
    assert [str(it) for it in (*found.python, *found.cuda)] == ["3.10", "11.8"]
    assert str(found.torch.version) == "2.1.0"
    assert found.pip == ("numpy",)
    assert "its version is taken" in said


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pixi.toml", f'[pypi-dependencies]\ntorch = {{url = "{TORCH_210}"}}\n'),
        (
            "pyproject.toml",
            f'[project]\ndependencies = ["torch>=2"]\n[tool.uv.sources]\ntorch = {{url = "{TORCH_210}"}}\n',
        ),
    ],
)
def test_wheel_of_torch_of_a_toml_file_says_which_it_is(name: str, text: str, tmp_path: Path) -> None:
    found, _ = init(tmp_path, name, text)
    assert [str(it) for it in (*found.python, *found.cuda, found.torch.version)] == ["3.10", "11.8", "2.1.0"]


@pytest.mark.parametrize(
    "file",
    [
        "torch-2.1.0-cp310-cp310-win_amd64.whl",
        "torch-2.1.0-cp310-none-macosx_11_0_arm64.whl",
        "torch-2.1.0.whl",
        "flash_attn-2.5.0-cp310-cp310-linux_x86_64.whl",
    ],
)
def test_other_wheel_is_left_out(file: str, tmp_path: Path) -> None:
    found, said = init(tmp_path, "requirements.txt", f"numpy\nhttps://files.example/{file}\n")
    assert not found.torch.wanted
    assert "requirements.txt:2: left out: https://files.example/…: " in said


def test_variable_that_a_shell_works_out_is_left_out(tmp_path: Path) -> None:
    env = 'LD_LIBRARY_PATH = "$CONDA_PREFIX/lib"\nOMP_NUM_THREADS = "4"\n'
    found, said = init(tmp_path, "pixi.toml", f'[dependencies]\nnumpy = "*"\n[activation.env]\n{env}')
    assert found.env == (("OMP_NUM_THREADS", "4"),)
    assert "pixi.toml:4: left out: LD_LIBRARY_PATH: a shell works it out" in said


def test_what_is_left_out_is_one_line_without_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    asked = ["numpy", {"pip": ["-e a\n::error::b \x1b[2J"]}]
    _, said = init(tmp_path, "environment.yml", json.dumps({"dependencies": asked}))
    (line,) = said.splitlines()
    assert "left out: -e a" in line
    assert "\x1b" not in line
    assert not line.startswith("::")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("requirements.txt", "numpy\ntorch==\u0662.\u0661.\u0660\n"),
        ("requirements.txt", f"numpy\ntorch=={'9' * 5000}\n"),
        ("requirements.txt", f"numpy\na==1 ; python_version > '{'9' * 5000}'\n"),
        ("requirements.txt", f"numpy\na==1 ; {'(' * 3000}os_name == 'posix'{')' * 3000}\n"),
        (
            "environment.yml",
            "dependencies: [numpy, 'python=3.1\u0661', 'pytorch=2.1.\u0660', 'pytorch-cuda=1\u0661.8']\n",
        ),
        ("environment.yml", f"dependencies: [numpy, python=3.{'9' * 5000}]\n"),
        ("pixi.toml", f'[dependencies]\nnumpy = "*"\n[system-requirements]\ncuda = "{"9" * 5000}"\n'),
    ],
)
def test_number_that_is_none_or_too_long_and_marker_that_nests_too_deep_is_left_out(
    name: str, text: str, tmp_path: Path
) -> None:
    found, said = init(tmp_path, name, text)
    assert (*found.conda, *found.pip) == ("numpy",)
    assert "left out: " in said


@pytest.mark.parametrize(
    ("name", "text", "line", "words"),
    [
        ("pixi.toml", f"a = {'9' * 5000}\n", None, "is no TOML"),
        ("pixi.toml", f"a = {'[' * 3000}\n", None, "nests too deep"),
        ("requirements.txt", "numpy\n@EXPLICIT\nhttps://conda.example/a-1-0.conda\n", 2, "a list of conda's packages"),
        ("requirements.txt", "# platform: linux-64\n_libgcc_mutex=0.1=main\n", 2, "a list of conda's packages"),
        ("requirements.txt", "numpy\n-r requirements.txt\n", 2, "include themselves"),
        ("environment.yml", "", 1, "start with  dependencies:"),
        ("environment.yml", "a: &x [1]\n", 1, "write the value out"),
    ],
)
def test_file_that_cannot_be_read_is_told_with_its_line(
    name: str, text: str, line: int | None, words: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(text)
    error = run(tmp_path, path).exception
    assert isinstance(error, DefinitionError)
    assert words in f"{error.message} {error.hint}"
    assert "extends" not in str(error.hint)
    assert (error.path, error.line) == (path, line)


def test_requirements_that_include_one_another_without_end_are_refused(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"r{number}.txt").write_text(f"numpy\n-r r{number + 1}.txt\n")
    error = run(tmp_path, tmp_path / "r0.txt").exception
    assert isinstance(error, DefinitionError)
    assert "more than 20 deep" in error.message
    assert error.line == 2


def test_wheels_of_nvidia_that_torch_does_not_bring_stay(tmp_path: Path) -> None:
    found, said = init(tmp_path, "requirements.txt", "torch\nnvidia-ml-py>=12\nnvidia-cudnn-cu12==9.1\ntriton\n")
    assert found.pip == ("nvidia-ml-py>=12",)
    assert "requirements.txt:3: left out: nvidia-cudnn-cu12==9.1: torch brings" in said
    (tmp_path / "images/mine/image.yaml").unlink()
    assert init(tmp_path, "requirements.txt", "jax\ntriton\n")[0].pip == ("jax", "triton")


@pytest.mark.parametrize(
    ("line", "cuda", "words"),
    [
        ("-f https://download.pytorch.org/whl/cu118/torch_stable.html", "11.8", ""),
        ("--index-url=https://download.pytorch.org/whl/cpu", None, ""),
        ("--index-url https://download.pytorch.org/whl/nightly/cu128", "12.8", "as it was released"),
    ],
)
def test_address_of_pytorch_names_a_cuda(line: str, cuda: str | None, words: str, tmp_path: Path) -> None:
    found, said = init(tmp_path, "requirements.txt", f"{line}\ntorch\n")
    assert [str(it) if it else None for it in found.cuda] == [cuda]
    assert words in said


def test_lines_of_requirements_are_read_as_pip_reads_them(tmp_path: Path) -> None:
    text = "numpy==1.26\t# pinned\nfoo==1 --config-settings=a=b\nbar==1.0\t--hash=sha256:00\nodd===weird\nlast==2.0 \\"
    found, said = init(tmp_path, "requirements.txt", text)
    assert found.pip == ("numpy==1.26", "foo==1", "bar==1.0", "odd===weird", "last==2.0")
    (line,) = said.splitlines()
    assert line.endswith("requirements.txt:2: left out: --config-settings: a definition has no place for it")


UV = """\
[project]
requires-python = ">=3.10,<3.12"
dynamic = ["dependencies"]
dependencies = [
    "mylib",
    "torch==2.5.1",
    "tool>=1",
]

[tool.uv.sources]
mylib = {path = "../mylib"}
torch = [{index = "cu118", marker = "sys_platform == 'linux'"}, {index = "mac", marker = "sys_platform == 'darwin'"}]

[[tool.uv.index]]
name = "cu118"
url = "https://download.pytorch.org/whl/cu118"
explicit = true

[tool.poetry.dependencies]
numpy = "^1.26"
"""


UV_INDEXES = """\
[project]
requires-python = ">=3.10"
dependencies = ["torch", "numpy"]

[tool.uv]
extra-index-url = ["https://d.example/simple"]

[[tool.uv.index]]
url = "https://a.example/simple"
[[tool.uv.index]]
url = "https://b.example/simple"
[[tool.uv.index]]
name = "cpu"
url = "https://download.pytorch.org/whl/cpu"
[[tool.uv.index]]
name = "cu128"
url = "https://download.pytorch.org/whl/cu128"

[tool.uv.sources]
torch = [SOURCES]
"""


@pytest.mark.parametrize(
    "sources",
    [
        """{index = "cpu", marker = "sys_platform != 'linux'"}, {index = "cu128", marker = "os_name == 'posix'"}""",
        """{index = "cpu", extra = "cpu"}, {index = "cu128"}""",
        """{index = "cpu", marker = "python_version < '3.9'"}, {index = "cu128", marker = "python_version > '3.8'"}""",
    ],
)
def test_index_that_uv_takes_torch_from_names_its_cuda(sources: str, tmp_path: Path) -> None:
    found, said = init(tmp_path, "pyproject.toml", UV_INDEXES.replace("SOURCES", sources))
    assert [str(it) for it in found.cuda] == ["12.8"]
    for host in "abd":
        assert f"https://{host}.example/…: an index is a matter of the machine" in said


def test_sources_of_uv_are_followed_and_poetrys_are_said(tmp_path: Path) -> None:
    found, said = init(tmp_path, "pyproject.toml", UV)
    assert found.pip == ("tool>=1",)
    assert [str(it) for it in (*found.python, *found.cuda, found.torch.version)] == ["3.11", "11.8", "2.5.1"]
    assert "pyproject.toml:5: left out: mylib: a lock holds wheels of an index only" in said
    assert "pyproject.toml:3: left out: dependencies: the project's build works it out" in said
    assert "pyproject.toml:19: left out: [tool.poetry.dependencies]" in said


PIXI_DEFAULT = """\
[workspace]
channels = ["conda-forge"]

[environments]
default = ["cuda"]
test = ["test"]

[feature.cuda.dependencies]
pytorch-gpu = "*"
numpy = "1.26"

[feature.cuda.activation]
scripts = ["setup.sh"]

[feature.test.dependencies]
pytest = "*"

[pypi-options]
extra-index-urls = ["https://download.pytorch.org/whl/cu118"]

[pypi-dependencies]
pywin32 = {version = "*", env-markers = "sys_platform == 'win32'"}
loose = "1.0"
"""


def test_pixis_default_environment_has_its_features(tmp_path: Path) -> None:
    found, said = init(tmp_path, "pixi.toml", PIXI_DEFAULT)
    assert (found.conda, found.pip) == (("numpy==1.26",), ("loose",))
    assert found.torch.wanted
    assert [str(it) for it in found.cuda] == ["11.8"]
    for words in (
        "pixi.toml:13: left out: activation script setup.sh",
        "pixi.toml:15: left out: feature test",
        "pixi.toml:22: left out: pywin32",
        "pixi.toml:23: left out: loose 1.0: a version of a wheel has an operator: ==1.0",
    ):
        assert words in said
    assert "feature cuda" not in said


PIXI_FEATURE = """\
[dependencies]
numpy = ">=1.24,<2"
scipy = "*"

[feature.gpu.dependencies]
numpy = ">=1.25"

[system-requirements]
libc = "2.17"
"""


@pytest.mark.parametrize(
    ("default", "conda"),
    [
        ('["gpu"]', ("numpy >=1.24,<2,>=1.25", "scipy")),
        ('{features = ["gpu"]}', ("numpy >=1.24,<2,>=1.25", "scipy")),
        ('{features = ["gpu"], no-default-feature = true}', ("numpy >=1.25",)),
        ("[]", ("numpy >=1.24,<2", "scipy")),
    ],
)
def test_what_several_features_say_of_a_package_holds_together(
    default: str, conda: tuple[str, ...], tmp_path: Path
) -> None:
    found, said = init(tmp_path, "pixi.toml", f"{PIXI_FEATURE}[environments]\ndefault = {default}\n")
    assert found.conda == conda
    assert ("system-requirements.libc" in said) is ("scipy" in conda)


@pytest.mark.parametrize(
    ("name", "more", "words"),
    [("a/b", (), "cannot name an image"), ("mine", ("--base", "nope"), "nope is not a key of bases.yaml")],
)
def test_what_no_definition_can_have_is_refused_before_it_is_written(
    name: str, more: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    source = tmp_path / "requirements.txt"
    source.write_text("requests\n")
    done = run(tmp_path, source, *more, name=name)
    assert done.exit_code == 2
    assert words in done.stderr
    assert not (tmp_path / "images").exists()


def test_no_secret_goes_into_a_definition(tmp_path: Path) -> None:
    asked = {"channels": ["https://conda.example/c?token=s3cr3t"], "variables": {"OPENAI_KEY": "s3cr3t"}}
    _, said = init(tmp_path, "environment.yml", json.dumps({**asked, "dependencies": ["numpy"]}))
    assert "s3cr3t" not in said + (tmp_path / "images/mine/image.yaml").read_text()
    assert "OPENAI_KEY looks like a secret" in said


PIXI_HEAD = '[workspace]\nname = "x"\nchannels = ["conda-forge"]\nplatforms = {}\n'


@pytest.mark.parametrize(
    ("platforms", "more", "cuda"),
    [
        ('["osx-arm64", { platform = "linux-64", cuda = "12.0" }]', "", "12.9"),
        ('[{ name = "linux-64", cuda = { driver = "12.8", arch = "8.6" } }]', "", "12.9"),
        ('[{ platform = "linux-64", __cuda = "13.0" }, { platform = "linux-aarch64", cuda = "12.9" }]', "", "13.2"),
        ('["linux-64", { name = "gpu", platform = "linux-64", cuda = "12.8" }]', "", "12.6"),
        (
            '["linux-64", { name = "gpu", platform = "linux-64", cuda = "12.8" }]',
            '[feature.gpu]\nplatforms = ["gpu"]\n[environments]\ndefault = ["gpu"]\n',
            "12.9",
        ),
        (
            '["linux-64", { platform = "linux-64", cuda = "12.8" }, { platform = "linux-64", cuda = "13.0" }]',
            '[feature.gpu]\nplatforms = ["linux-64-cuda-13-0"]\n[environments]\ndefault = ["gpu"]\n',
            "13.2",
        ),
        ('[{ platform = "linux-64", cuda = "12.8" }]', '[pypi-dependencies]\ntorch = "==2.7.1+cu118"\n', "11.8"),
    ],
)
def test_cuda_of_pixis_platform_is_asked_for(platforms: str, more: str, cuda: str, tmp_path: Path) -> None:
    found, said = init(tmp_path, "pixi.toml", PIXI_HEAD.format(platforms) + '[dependencies]\npytorch = "*"\n' + more)
    assert [str(it) for it in found.cuda] == [cuda]
    assert expand_cells(found)[0]
    assert said == ""


def test_packages_of_a_named_platform_are_taken_and_those_of_an_unknown_one_told(tmp_path: Path) -> None:
    platforms = '["osx-arm64", { name = "gpu-big", platform = "linux-64", cuda = "12.8" }]'
    more = '[target."gpu-*".dependencies]\npytorch-gpu = "*"\n'
    more += '[target.osx-arm64.dependencies]\nnumpy = "*"\n[target.tpu.dependencies]\nnumpy = "*"\n'
    found, said = init(tmp_path, "pixi.toml", PIXI_HEAD.format(platforms) + more)
    assert [str(it) for it in found.cuda] == ["12.9"]
    assert [line.split(": left out: ")[1] for line in said.splitlines()] == ["[target.tpu]: it is not for linux-64"]


def test_environment_without_what_all_others_have_says_so(tmp_path: Path) -> None:
    more = '[dependencies]\npytorch = "*"\n[target.linux-64.dependencies]\ntqdm = "*"\n'
    more += '[feature.a.dependencies]\nnumpy = "*"\n'
    more += '[environments]\ndefault = { features = ["a"], no-default-feature = true }\n'
    found, said = init(tmp_path, "pixi.toml", PIXI_HEAD.format('["linux-64"]') + more)
    assert found.conda == ("numpy",)
    for key in ("dependencies", "target"):
        assert f"left out: [{key}]: the default environment is without" in said


@pytest.mark.parametrize("odd", ["[5]", "[{}]", "5"])
def test_platform_that_is_no_name_is_told(odd: str, tmp_path: Path) -> None:
    more = f'[feature.a]\nplatforms = {odd}\n[environments]\ndefault = ["a"]\n'
    error = refuse(tmp_path, "pixi.toml", PIXI_HEAD.format('[{ platform = "linux-64", cuda = "12.8" }, 5]') + more)
    assert "platforms" in error.message


def test_channels_of_features_come_before_those_of_the_workspace(tmp_path: Path) -> None:
    more = (
        '[feature.a]\nchannels = ["nvidia", {channel = "bioconda", priority = -1}]\n[environments]\ndefault = ["a"]\n'
    )
    found, _ = init(tmp_path, "pixi.toml", PIXI_HEAD.format('["linux-64"]') + more + '[dependencies]\nnumpy = "*"\n')
    assert found.channels == ("nvidia", "conda-forge", "bioconda")


def test_what_pixi_says_of_solving_and_of_indexes_is_taken_or_told(tmp_path: Path) -> None:
    more = (
        'exclude-newer = "2025-01-01"\n[workspace.pypi-options]\nindex-strategy = "first-index"\n'
        'extra-index-urls = [{ url = "https://download.pytorch.org/whl/cu118", exclude-newer = false }]\n'
        '[pypi-options]\nindex-url = "https://pip.example/simple"\n[pypi-dependencies]\ntorch = "*"\n'
    )
    found, said = init(tmp_path, "pixi.toml", PIXI_HEAD.format('["linux-64"]') + more)
    assert [str(it) for it in found.cuda] == ["11.8"]
    told = [line.split(": left out: ")[1].split(":")[0] for line in said.splitlines()]
    assert told == ["pypi-options.index-strategy", "https", "exclude-newer"]


def test_any_character_of_a_variable_comes_through(tmp_path: Path) -> None:
    greeting = 'ü \U0001f600 \\ " \u2028 \x85 \x7f' + "word " * 40
    asked = {"dependencies": ["python=3.11"], "variables": {"GREETING": greeting}}
    found, _ = init(tmp_path, "environment.yml", yaml.safe_dump(asked))
    assert dict(found.env)["GREETING"] == greeting


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("torch[opt-einsum]>=2", "its extras are not taken"),
        ("./foo-1.0-py3-none-any.whl", "a definition has only names and versions"),
        ("foo-1.0-py3-none-any.whl", "a lock holds wheels of an index only"),
        ("foo-1.0.tar.gz", "a lock holds wheels of an index only"),
    ],
)
def test_what_a_requirement_says_beyond_name_and_version_is_told(line: str, why: str, tmp_path: Path) -> None:
    found, said = init(tmp_path, "requirements.txt", f"tqdm\n{line}\n")
    assert f"requirements.txt:2: left out: {line}: {why}" in said
    assert found.pip == ("tqdm",)


def test_line_of_an_item_is_that_of_the_whole_item(tmp_path: Path) -> None:
    text = '[project]\ndependencies = [\n  "foo-extra",\n  "tqdm",\n  "foo",\n]\n'
    text += '[tool.uv.sources]\nfoo = { git = "https://x.example" }\n'
    assert "pyproject.toml:5: left out: foo:" in init(tmp_path, "pyproject.toml", text)[1]


@pytest.mark.parametrize(
    ("python", "torch", "cuda"),
    [("python=3.7", "pytorch", "11.7"), ("python=3.8", "pytorch", "12.4"), ("python>=3.7,<3.9", "pytorch", "12.4")],
)
def test_cuda_is_one_whose_torch_has_the_python(python: str, torch: str, cuda: str, tmp_path: Path) -> None:
    found, said = init(tmp_path, "environment.yml", json.dumps({"dependencies": [python, torch]}))
    assert [str(it) for it in found.cuda] == [cuda]
    assert expand_cells(found)[0]
    assert said == ""


def test_python_that_nobody_has_is_told_beside_markers_too(tmp_path: Path) -> None:
    text = "[project]\nrequires-python = '>=3.99'\ndependencies = ['tqdm', 'tomli; python_version < \"3.11\"']\n"
    found, said = init(tmp_path, "pyproject.toml", text)
    assert f"left out: python >=3.99: no Python that is known fits it; {found.python[0]} was taken" in said


def test_uvs_sources_are_judged_for_pixis_python(tmp_path: Path) -> None:
    index = '[[tool.uv.index]]\nname = "{0}"\nurl = "https://download.pytorch.org/whl/{0}"\nexplicit = true\n'
    text = '[project]\ndependencies = ["torch"]\n' + index.format("cu118") + index.format("cu130")
    old = """{ index = 'cu118', marker = "python_version < '3.11'" }"""
    text += f"[tool.uv.sources]\ntorch = [{old}, {{ index = 'cu130' }}]\n"
    found, _ = init(tmp_path, "pyproject.toml", text + '[tool.pixi.dependencies]\npython = "3.10.*"\n')
    assert [str(it) for it in (*found.python, *found.cuda)] == ["3.10", "11.8"]
