from __future__ import annotations

import ast
import inspect
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import rattler
import yaml

import builder.lock
from builder.errors import LockError
from builder.lock import Lock, dump_lock, read_lock, split_conda_url, write_lock
from tests.samples import FORGE, make_conda, make_environment, make_python, make_wheel

if TYPE_CHECKING:
    from pathlib import Path

TORCH = make_wheel(
    "torch",
    "2.7.1+cu118",
    url="https://download.pytorch.org/whl/cu118/torch-2.7.1%2Bcu118-cp310-cp310-manylinux_2_28_x86_64.whl",
    size=905_000_000,
    requires=("nvidia-cudnn-cu11", "sympy"),
)


@pytest.fixture
def lock() -> Lock:
    return Lock(
        environments=(
            make_environment(pip=(make_wheel("sympy"), TORCH), channels=(FORGE, "https://conda.example/team")),
            make_environment("py311-cpu", conda=make_python("3.11.9")),
        )
    )


@pytest.fixture
def path(lock: Lock, tmp_path: Path) -> Path:
    write_lock(lock, tmp_path / "imgbuild.lock")
    return tmp_path / "imgbuild.lock"


def test_round_trip_loses_nothing(lock: Lock, path: Path) -> None:
    assert read_lock(path) == lock


def test_equal_locks_are_equal_bytes(path: Path) -> None:
    first = path.read_bytes()
    write_lock(read_lock(path), path)
    assert path.read_bytes() == first
    assert b"&id" not in first


def test_a_lock_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert read_lock(tmp_path / "imgbuild.lock") == Lock()


def test_replace_keeps_the_order_of_the_matrix_and_drops_orphans(lock: Lock) -> None:
    newer = make_environment("py310-cu118", conda=[make_conda("python", "3.10.99")])
    replaced = lock.replace([newer], names=["py311-cpu", "py310-cu118"])
    assert [environment.name for environment in replaced.environments] == ["py311-cpu", "py310-cu118"]
    assert replaced.find("py310-cu118") == newer
    assert [found.name for found in lock.replace([], names=["py311-cpu"]).environments] == ["py311-cpu"]


def test_rattler_reads_it_with_its_wheels(path: Path) -> None:
    environments = dict(rattler.LockFile.from_path(path).environments())
    assert set(environments) == {"default", "py310-cu118", "py311-cpu"}
    environment = environments["py310-cu118"]
    packages = {package.name: package for package in environment.packages(_linux(environment)) or ()}
    assert packages["numpy"].location == f"{FORGE}/linux-64/numpy-1.26.4-py310h0_0.conda"
    assert str(packages["torch"].version) == "2.7.1+cu118"
    assert packages["torch"].hashes.sha256.hex() == TORCH.sha256
    assert [str(channel) for channel in environment.channels()] == [f"{FORGE}/", "https://conda.example/team/"]


def _linux(environment: rattler.LockFile) -> rattler.Platform:
    (platform,) = environment.platforms()
    assert str(platform) == "linux-64"
    return platform


def test_it_keeps_the_rules_of_conda_lockfiles(path: Path) -> None:
    """conda-lockfiles needs conda itself, which no index of wheels has; so its model is stated here again.

    Origin of the rules: conda_lockfiles/rattler_lock/v6.py of conda-lockfiles 0.2.2.
    """
    data = yaml.load(path.read_text(), yaml.CSafeLoader)
    assert data["version"] == 6
    assert "default" in data["environments"]
    known = [_reference(node) for node in data["packages"]]
    assert len(known) == len(set(known))
    for environment in data["environments"].values():
        assert all(isinstance(channel["url"], str) for channel in environment["channels"])
        for references in environment["packages"].values():
            assert set(map(_reference, references)) <= set(known)
    types = {"sha256": str, "md5": str, "license": str, "size": int, "timestamp": int, "depends": list}
    for node in data["packages"]:
        assert all(isinstance(node[key], kind) for key, kind in types.items() if key in node)


def _reference(node: dict[str, Any]) -> str:
    (url,) = (node[kind] for kind in ("conda", "pypi") if kind in node)
    assert isinstance(url, str)
    return url


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a lock"),
        ("- a\n", "not a lock"),
        ("version: 7\nenvironments: {}\npackages: []\n", "version 7"),
        ("version: 6\n", "not a lock"),
        ("version: 6\nenvironments: {\n", "not a lock"),
        ("version: 6\nenvironments: []\npackages: []\n", "not a lock"),
        ("version: 6\nenvironments: {}\npackages: [{}]\n", "not a lock"),
        ("version: 6\nenvironments: {}\npackages: [{conda: short}]\n", "not a lock"),
        ("version: 6\nenvironments: {a: {imgbuild: {}, packages: {}}}\npackages: []\n", "not a lock"),
        ("<<<<<<< HEAD\nversion: 6\n=======\n", "not a lock"),
        ("!!python/object/apply:os.system [touch owned]\n", "not a lock"),
        ("version: 2001-99-99\n", "not a lock"),
        ("[" * 5000, "not a lock"),
    ],
)
def test_malformed_lock_is_refused_with_a_hint(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "imgbuild.lock"
    path.write_text(text)
    with pytest.raises(LockError, match=says) as caught:
        read_lock(path)
    assert caught.value.path == path
    assert "imgbuild lock" in str(caught.value.hint)


def test_binary_or_unreadable_lock_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    (tmp_path / "folder").mkdir()
    for name in ("binary", "folder"):
        with pytest.raises(LockError):
            read_lock(tmp_path / name)


def test_failed_write_leaves_the_old_lock_and_no_litter(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()
    full = os.open("/dev/full", os.O_RDWR)
    monkeypatch.setattr("builder.files.os.open", lambda *_: full)
    with pytest.raises(LockError, match="No space left"):
        write_lock(Lock(), path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_new_lock_appears_whole(lock: Lock, path: Path) -> None:
    """A reader that opened the old lock still reads it whole: the new one is another file under the same name."""
    with path.open() as old:
        write_lock(Lock(), path)
        assert old.read().endswith(dump_lock(lock))
    assert read_lock(path) == Lock()


def test_yaml_is_read_safely_and_in_c() -> None:
    tree = ast.parse(inspect.getsource(builder.lock))
    loaders = [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and "Loader" in node.attr]
    assert loaders == ["CSafeLoader"]


def test_file_name_gives_name_version_and_build() -> None:
    assert split_conda_url(f"{FORGE}/linux-64/py-open-cv-4.1-h1_0.tar.bz2") == ("py-open-cv", "4.1", "h1_0")


@pytest.mark.parametrize(
    ("name", "depends", "needs"),
    [
        ("python", (), True),
        ("python_abi", (), True),
        ("numpy", ("python >=3.10",), True),
        ("six", ("python>=3.6",), True),
        ("libtorch", ("libgcc >=13", "pythonic 1.0"), False),
    ],
)
def test_package_needs_python_when_its_files_depend_on_it(name: str, depends: tuple[str, ...], needs: bool) -> None:
    assert make_conda(name, depends=depends).needs_python is needs


@pytest.mark.parametrize(
    ("values", "noarch", "key"),
    [
        ({"subdir": "linux-64", "depends": ("python >=3.9",)}, None, None),
        ({"subdir": "noarch", "build": "pyhd8ed1ab_0"}, "python", None),
        ({"subdir": "noarch", "build": "h1_0"}, "generic", None),
        ({"subdir": "noarch", "build": "h1_0", "depends": ("python >=3.9",)}, "python", "python"),
        ({"subdir": "noarch", "build": "h1_0", "depends": ("python >=3.9",), "noarch": "generic"}, "generic", None),
        ({"subdir": "noarch", "build": "py313h1_0", "noarch": "generic"}, "generic", "generic"),
    ],
)
def test_noarch_is_guessed_with_care_and_written_where_readers_would_guess_wrong(
    tmp_path: Path, values: dict[str, Any], noarch: str | None, key: str | None
) -> None:
    package = make_conda("tool", **values)
    assert package.noarch == noarch
    path = tmp_path / "imgbuild.lock"
    write_lock(Lock(environments=(make_environment(conda=[package]),)), path)
    (node,) = yaml.safe_load(path.read_text())["packages"]
    assert node.get("noarch") == key
    assert read_lock(path).environments[0].conda == (package,)
    ((_, environment), *_) = rattler.LockFile.from_path(path).environments()
    (record,) = environment.conda_repodata_records()["linux-64"]
    read = "python" if record.noarch.python else "generic" if record.noarch.generic else None
    assert read == noarch


def test_wheel_that_asks_for_more_in_one_cell_asks_for_all(path: Path) -> None:
    few, more = (replace(TORCH, requires=requires) for requires in (("sympy",), ("numpy", "sympy")))
    both = Lock(environments=(make_environment("a", pip=(more,)), make_environment("b", pip=(few,))))
    write_lock(both, path)
    assert {it.requires for environment in read_lock(path).environments for it in environment.pip} == {
        ("numpy", "sympy")
    }
