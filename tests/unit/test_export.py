"""A cell's packages in the formats of other tools."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rattler
import yaml
from rattler.explicit_environment.environment import ExplicitEnvironmentSpec

from builder.export import export_environment, export_explicit, export_pixi_lock
from builder.foreign import read_foreign_lock
from builder.pipindex import find_default_index
from tests.samples import make_conda, make_environment, make_wheel

if TYPE_CHECKING:
    from pathlib import Path

INDEX = "https://wheels.example/cu118"
CELL = make_environment(
    conda=(make_conda("numpy", "1.26.4", "py310_0"), make_conda("tzdata", "2026a", "h0_0", subdir="noarch")),
    pip=(
        make_wheel("torch", "2.7.1+cu118", folder="https://wheels.example/cu118"),
        make_wheel("tqdm", "4.67.0", folder=f"https://pypi.example/packages/00/11/{'a' * 60}"),
    ),
)


def test_environment_pins_everything_and_names_the_index_of_wheels() -> None:
    data = yaml.safe_load(export_environment(CELL, INDEX))
    assert data["channels"] == ["conda-forge"]
    *conda, pip = data["dependencies"]
    assert conda == ["numpy=1.26.4=py310_0", "tzdata=2026a=h0_0"]
    assert pip == {"pip": [f"--extra-index-url {INDEX}", "torch==2.7.1+cu118", "tqdm==4.67.0"]}
    assert "pip" not in export_environment(make_environment(conda=CELL.conda), "")


def test_explicit_list_has_hashes_and_says_what_pip_installs() -> None:
    lines = export_explicit(CELL, INDEX).splitlines()
    assert lines[lines.index("@EXPLICIT") + 1 :] == [f"{it.url}#{it.md5}" for it in CELL.conda]
    command = " ".join(line.strip("# \\") for line in lines[2 : lines.index("@EXPLICIT")])
    assert command == f"pip install --no-deps --extra-index-url {INDEX} torch==2.7.1+cu118 tqdm==4.67.0"


def test_wheel_of_another_index_is_named_by_its_address() -> None:
    wheel = make_wheel("corp-lib", "1.0", folder="https://other.example/files")
    cell = make_environment(conda=CELL.conda, pip=(*CELL.pip, wheel))
    named = f"corp-lib @ {wheel.url}#sha256={wheel.sha256}"
    assert yaml.safe_load(export_environment(cell, INDEX))["dependencies"][-1]["pip"][-1] == named
    assert f'#   "{named}"\n@EXPLICIT' in export_explicit(cell, INDEX)


def test_wheels_of_pytorch_are_of_its_index_whichever_host_has_them() -> None:
    wheel = make_wheel("torch", "2.7.1+cu118", folder="https://files.pytorch.org/whl/cu118")
    cell = make_environment(conda=CELL.conda, pip=(wheel,))
    assert "- torch==2.7.1+cu118\n" in export_environment(cell, "https://download.pytorch.org/whl/cu118")


def test_explicit_list_is_read_by_rattler() -> None:
    packages = ExplicitEnvironmentSpec.from_str(export_explicit(CELL, "")).packages
    assert [package.url.partition("#")[0] for package in packages] == [it.url for it in CELL.conda]


def test_pixi_lock_is_read_by_rattler(tmp_path: Path) -> None:
    path = tmp_path / "pixi.lock"
    path.write_text(export_pixi_lock(CELL, ""))
    lock = rattler.LockFile.from_path(path)
    environment = lock.environment("default")
    assert environment is not None
    found = environment.packages(next(iter(environment.platforms())))
    assert sorted(package.name for package in found or ()) == ["numpy", "torch", "tqdm", "tzdata"]


def test_pixi_lock_names_the_indexes_of_its_wheels() -> None:
    (environment,) = yaml.safe_load(export_pixi_lock(CELL, INDEX))["environments"].values()
    assert environment["indexes"] == [find_default_index(), INDEX]
    (plain,) = yaml.safe_load(export_pixi_lock(make_environment(conda=CELL.conda), ""))["environments"].values()
    assert "indexes" not in plain


def test_pixi_lock_comes_back_with_its_packages(tmp_path: Path) -> None:
    path = tmp_path / "pixi.lock"
    path.write_text(export_pixi_lock(CELL, INDEX))
    (found,) = read_foreign_lock(path)
    assert [it.url for it in (*found.conda, *found.pip)] == [it.url for it in (*CELL.conda, *CELL.pip)]
    assert [it.sha256 for it in (*found.conda, *found.pip)] == [it.sha256 for it in (*CELL.conda, *CELL.pip)]
