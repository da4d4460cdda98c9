"""Which package each file of an environment belongs to: told by the script, read with care."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import CheckError
from builder.sbom.inventory import SCRIPT, Inventory, Owned, parse_inventory, read_scripts
from tests.samples import PROJECT, make_conda, make_environment, make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

SITE = "lib/python3.10/site-packages"
TAG = sys.implementation.cache_tag
CELL = make_environment(conda=[make_conda("zlib")], pip=[make_wheel("tqdm", "4.67.0")])
TOLD: dict[str, Any] = {
    "prefix": "/opt/env",
    "packages": [
        {"kind": "conda", "name": "zlib", "version": "1.0", "build": "0", "files": ["lib/libz.so"]},
        {"kind": "pypi", "name": "tqdm", "version": "4.67.0", "build": None, "files": [f"{SITE}/tqdm.py"]},
    ],
    "unclaimed": ["conda-meta/history"],
}


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The script as a module, from where `read_scripts` would put it."""
    folder = tmp_path_factory.mktemp("scripts")
    for name, data in read_scripts().items():
        (folder / name).write_bytes(data)
    sys.path.insert(0, str(folder))
    import inventory

    yield inventory
    sys.path.remove(str(folder))
    for name in read_scripts():
        del sys.modules[name.removesuffix(".py")]


def write(prefix: Path, *paths: str, text: str = "") -> None:
    for path in paths:
        (prefix / path).parent.mkdir(parents=True, exist_ok=True)
        (prefix / path).write_text(text)


def take(prefix: Path, script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setattr(script.sys, "prefix", str(prefix))
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(prefix / SITE))
    script.main()
    return json.loads(capsys.readouterr().out)


def test_files_of_both_kinds_of_packages_are_told(
    tmp_path: Path, script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    conda = ["bin/python3.10", "lib/python3.10/os.py", "lib/gone.so"]
    record = json.dumps({"name": "python", "version": "3.10.1", "build": "h0_0", "files": conda})
    info = f"{SITE}/Tqdm-4.67.dist-info"
    rows = [f"tqdm.py,sha256=x,1\n{info.rpartition('/')[2]}/RECORD,,\n../../../bin/tqdm,,\n"]
    write(tmp_path, "conda-meta/python-3.10.1-h0_0.json", text=record)
    write(tmp_path, f"{info}/METADATA", text="Metadata-Version: 2.1\nName: Tqdm\nVersion: 4.67\n")
    write(tmp_path, f"{info}/RECORD", text="".join(rows))
    write(tmp_path, f"{info}/REQUESTED", f"{info}/licenses/LICENSE", f"{SITE}/tqdm.py", "bin/tqdm", *conda[:2])
    bytecode = f"lib/python3.10/__pycache__/os.{TAG}.opt-1.pyc", f"{SITE}/__pycache__/tqdm.{TAG}.pyc"
    write(tmp_path, *bytecode, f"{SITE}/__pycache__/nobody.{TAG}.pyc", "conda-meta/history")
    (tmp_path / "lib64").symlink_to("lib")

    told = take(tmp_path, script, monkeypatch, capsys)

    python, tqdm = told["packages"]
    assert (python["kind"], python["name"], python["version"], python["build"]) == (
        "conda",
        "python",
        "3.10.1",
        "h0_0",
    )
    assert python["files"] == sorted([*conda[:2], "conda-meta/python-3.10.1-h0_0.json", bytecode[0]])
    assert (tqdm["kind"], tqdm["name"], tqdm["version"], tqdm["build"]) == ("pypi", "tqdm", "4.67", None)
    metadata = [f"{info}/{name}" for name in ("METADATA", "RECORD", "REQUESTED", "licenses/LICENSE")]
    assert tqdm["files"] == sorted(["bin/tqdm", f"{SITE}/tqdm.py", bytecode[1], *metadata])
    assert told["unclaimed"] == ["conda-meta/history", f"{SITE}/__pycache__/nobody.{TAG}.pyc", "lib64"]


def test_wheel_that_all_pythons_share_has_its_files_where_they_are(tmp_path: Path, script: ModuleType) -> None:
    """`templates/host/neutral.py` leaves two such wheels, of one namespace, with links in `site-packages`."""
    host = runpy.run_path(str(PROJECT / "templates" / "host" / "neutral.py"))
    claims = []
    for name in ("nvidia_a", "nvidia_b"):
        files = [f"nvidia/{name}/lib/x.so", f"nvidia/{name}/__init__.py", f"{name}-1.dist-info/RECORD"]
        write(tmp_path, *(f"lib/neutral/{path}" for path in files))
        write(tmp_path, f"lib/neutral/{files[-1]}", text="".join(f"{path},,\n" for path in files))
        site = tmp_path / SITE
        site.mkdir(parents=True, exist_ok=True)
        host["link_distribution"](tmp_path / "lib" / "neutral" / f"{name}-1.dist-info", site)
        write(tmp_path, f"lib/neutral/nvidia/{name}/__pycache__/__init__.{TAG}.pyc")
        own = {f"{SITE}/{path}" for path in files}
        claims.append({"identity": {"name": name}, "files": own, "folder": f"{SITE}/{name}-1.dist-info"})
    packages, unclaimed = script.assign_files(*script.list_files(str(tmp_path)), claims)
    assert unclaimed == []
    for name, package in zip(("nvidia_a", "nvidia_b"), packages, strict=True):
        assert {path for path in package["files"] if "nvidia_" in path} == {
            f"lib/neutral/nvidia/{name}/lib/x.so",
            f"lib/neutral/nvidia/{name}/__init__.py",
            f"lib/neutral/nvidia/{name}/__pycache__/__init__.{TAG}.pyc",
            f"lib/neutral/{name}-1.dist-info/RECORD",
            f"{SITE}/{name}-1.dist-info/RECORD",
        }


def test_link_belongs_to_who_names_it_and_its_end_to_who_names_that(tmp_path: Path, script: ModuleType) -> None:
    write(tmp_path, "lib/real.so.1")
    (tmp_path / "lib" / "real.so").symlink_to("real.so.1")
    (tmp_path / "lib" / "loop").symlink_to(".")
    (tmp_path / "lib" / "out").symlink_to("/usr/lib")
    files = ({"lib/real.so", "lib/loop/loop/real.so", "lib/out/libc.so"}, {"lib/real.so.1"})
    claims = [
        {"identity": {"name": name}, "files": own, "folder": None} for name, own in zip("ab", files, strict=True)
    ]
    (first, second), unclaimed = script.assign_files(*script.list_files(str(tmp_path)), claims)
    assert first["files"] == ["lib/loop", "lib/out", "lib/real.so"]
    assert second["files"] == ["lib/real.so.1"]
    assert unclaimed == []


PATHS = st.sampled_from([f"{folder}{name}" for folder in ("", "a/", "a/__pycache__/") for name in ("x.py", "y", "z")])
BYTECODE = st.sampled_from([f"a/__pycache__/x.{TAG}{more}.pyc" for more in ("", ".opt-2", "-pytest-9")])


@given(present=st.sets(PATHS | BYTECODE), claims=st.lists(st.sets(PATHS), max_size=4))
def test_every_file_is_told_and_none_that_is_not_there(
    present: set[str], claims: list[set[str]], script: ModuleType
) -> None:
    made = [{"identity": {"name": str(number)}, "files": files, "folder": None} for number, files in enumerate(claims)]
    packages, unclaimed = script.assign_files(present, {}, made)
    owned = {path for package in packages for path in package["files"]}
    assert owned | set(unclaimed) == present
    assert not owned & set(unclaimed)
    assert set(unclaimed).isdisjoint(set().union(*claims))


def test_a_real_environment_has_hardly_a_file_without_an_owner(script: ModuleType) -> None:
    assert script.__file__
    command = [sys.executable, "-E", "-B", script.__file__]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    own = [path for path in told["unclaimed"] if "/site-packages/" in path]
    named = sum(len(package["files"]) for package in told["packages"])
    assert named > 1000
    assert len(own) <= 0.001 * named, own[:20]


def test_script_comes_with_all_that_it_imports(tmp_path: Path) -> None:
    for name, data in read_scripts().items():
        (tmp_path / name).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path = ['{tmp_path}', *sys.path]; import inventory"],
        check=False,
    )
    assert done.returncode == 0
    assert SCRIPT in read_scripts()


def test_what_the_script_prints_is_read() -> None:
    inventory = parse_inventory(f"a package said hello\n{json.dumps(TOLD)}\n", CELL)
    assert inventory == Inventory(
        prefix="/opt/env",
        packages=(
            Owned(kind="conda", name="zlib", version="1.0", build="0", files=("lib/libz.so",)),
            Owned(kind="pypi", name="tqdm", version="4.67.0", build=None, files=(f"{SITE}/tqdm.py",)),
        ),
        unclaimed=("conda-meta/history",),
    )
    assert inventory.share == pytest.approx(2 / 3)


def test_a_file_of_two_packages_counts_once() -> None:
    owned = [Owned(kind="conda", name=name, version="1", build="0", files=("a",)) for name in ("x", "y")]
    assert Inventory(prefix="/", packages=tuple(owned), unclaimed=("b",)).share == pytest.approx(0.5)
    assert Inventory(prefix="/", packages=(), unclaimed=()).share == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Traceback (most recent call last):",
        "[]",
        "null",
        json.dumps(TOLD | {"prefix": None}),
        json.dumps(TOLD | {"unclaimed": "lib"}),
        json.dumps(TOLD | {"packages": [1]}),
        json.dumps(TOLD | {"packages": [TOLD["packages"][0] | {"kind": "deb"}]}),
        json.dumps(TOLD | {"packages": [TOLD["packages"][0] | {"files": [1]}]}),
        json.dumps(TOLD)[:-9],
    ],
)
def test_anything_else_is_one_clear_error(text: str) -> None:
    with pytest.raises(CheckError, match="did not tell"):
        parse_inventory(text, CELL)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": "2.0"}, "zlib 1.0 0 is in the lock and not in the image"),
        ({"build": "9"}, "zlib 1.0 0 is in the lock and not in the image"),
        ({"name": "aaa"}, "aaa 1.0 0 is not in the lock"),
    ],
)
def test_image_of_another_lock_is_refused(change: dict[str, str], words: str) -> None:
    first, *others = TOLD["packages"]
    with pytest.raises(CheckError, match=words):
        parse_inventory(json.dumps(TOLD | {"packages": [first | change, *others]}), CELL)
