from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
import rattler
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import LockError
from builder.foreign import read_foreign_lock
from builder.lock import CondaPackage, Lock, PipPackage, dump_lock
from builder.nodes import NodeError, parse_nodes
from tests.samples import digest, make_conda, make_environment, make_wheel

LOCKS = Path(__file__).with_name("data") / "locks"
PIXI = ["pixi-v3.lock", "pixi-v4.lock", "pixi-v5.lock", "pixi-v6.lock", "pixi-v7.lock"]
FORGE = "https://conda.example/forge"
CONDA = {
    "_libgcc_mutex": (None, 2562),
    "cuda-version": ("generic", 20940),
    "libgcc": (None, 848745),
    "python": (None, 30624804),
    "typing-extensions": ("python", 10097),
    "typing_extensions": ("python", 39888),
    "tzdata": ("generic", 122354),
}


Package = TypeVar("Package", CondaPackage, PipPackage)


def find(packages: tuple[Package, ...], name: str) -> Package:
    (package,) = (package for package in packages if package.name == name)
    return package


@pytest.mark.parametrize("file", PIXI)
def test_every_version_of_pixi_tells_the_same_packages(file: str) -> None:
    (environment,) = read_foreign_lock(LOCKS / file)
    assert environment.channels == (FORGE,)
    known = {package.name: (package.noarch, package.size) for package in environment.conda if "://" in package.url}
    assert known == CONDA
    url = f"{FORGE}/linux-64/python-3.11.10-hc5c86c4_3_cpython.conda"
    assert replace(find(environment.conda, "python"), purls=()) == CondaPackage(
        name="python",
        version="3.11.10",
        build="hc5c86c4_3_cpython",
        url=url,
        md5=digest(url, "md5"),
        sha256=digest(url),
        size=30624804,
        depends=("libgcc >=13", "tzdata"),
    )
    url = "https://files.example/packages/matplotlib-3.9.2-cp311-cp311-manylinux_2_17_x86_64.whl"
    assert find(environment.pip, "matplotlib") == PipPackage(
        name="matplotlib", version="3.9.2", url=url, sha256=digest(url), requires=("cycler", "numpy")
    )
    assert find(environment.pip, "cycler").requires == ()


@pytest.mark.parametrize("file", [*PIXI, "conda-lock.yml"])
def test_py_rattler_reads_the_same(file: str) -> None:
    ((_, theirs),) = rattler.LockFile.from_path(LOCKS / file).environments()
    (platform,) = [platform for platform in theirs.platforms() if str(platform.subdir) == "linux-64"]
    locations = {package.location for package in theirs.packages(platform) or []}
    ours = read_foreign_lock(LOCKS / file)[-1]
    urls = [package.url for package in ours.conda] + [package.url for package in ours.pip]
    assert {url.rpartition("@ ")[2] for url in urls} == locations


@pytest.mark.parametrize("file", PIXI[1:])
def test_what_is_built_from_source_is_a_package_too(file: str) -> None:
    (environment,) = read_foreign_lock(LOCKS / file)
    tool = find(environment.pip, "tool")
    assert (tool.url, tool.sha256, tool.size, tool.requires) == ("./tool", "", None, ("cycler",))
    if file in {"pixi-v6.lock", "pixi-v7.lock"}:
        made = find(environment.conda, "made-here")
        assert (made.version, made.build, made.size, made.sha256) == ("1.0", "on_linux", 0, "")


def test_a_platform_with_a_name_of_its_own_is_named() -> None:
    (environment,) = read_foreign_lock(LOCKS / "pixi-v7.lock")
    assert environment.name == "default@gpu"


def test_a_category_of_conda_lock_comes_with_main() -> None:
    main, dev = read_foreign_lock(LOCKS / "conda-lock.yml")
    assert (main.name, dev.name) == ("main", "main+dev")
    assert {package.name for package in dev.conda} - {package.name for package in main.conda} == {"ruff"}
    assert len(dev.conda) == len(main.conda) + 1, "python stands in both categories and counts once"
    python = find(main.conda, "python")
    assert (python.build, python.size, python.depends) == ("hc5c86c4_3_cpython", 0, ("libgcc >=13", "tzdata"))
    assert python.url == f"{FORGE}/linux-64/python-3.11.10-hc5c86c4_3_cpython.conda"
    assert find(main.conda, "typing_extensions").noarch == "python"
    assert find(main.conda, "tzdata").noarch == "generic"
    assert [package.name for package in main.pip] == ["cycler", "matplotlib"]


def test_conda_lock_tells_the_commit_of_a_repository_where_other_packages_have_their_digest(tmp_path: Path) -> None:
    url = f"git+https://git.example/tool@{'c' * 40}"
    text = FLAT + f"  manager: pip\n  version: '1'\n  url: {url}\n  hash:\n    sha256: {'c' * 40}\n"
    (environment,) = read_foreign_lock(write(tmp_path, text))
    assert environment.pip == (PipPackage(name="a", version="1", url=url, sha256="", size=None),)


@pytest.mark.parametrize(
    "url",
    [
        "https://user:s3cr3t@conda.example/linux-64/a-1-0.conda",
        "https://s3cr3t@conda.example/linux-64/a-1-0.conda",
        "https://conda.example/t/s3cr3t/forge/linux-64/a-1-0.conda",
        "https://conda.example/linux-64/a-1-0.conda?token=s3cr3t",
    ],
)
def test_no_credentials_of_an_address_are_kept(url: str, tmp_path: Path) -> None:
    texts = [
        FLAT.replace("[]", f"[{url}]") + f"  manager: conda\n  url: {url}\n",
        V6 + f"      - conda: {url}\npackages:\n- conda: {url}\n",
    ]
    for text in texts:
        (environment,) = read_foreign_lock(write(tmp_path, text))
        assert "s3cr3t" not in str(environment)
        assert environment.conda[0].name == "a"
    with pytest.raises(LockError, match="is not among the packages") as caught:
        read_foreign_lock(write(tmp_path, V6 + f"      - conda: {url}\npackages: []\n"))
    assert "s3cr3t" not in str(caught.value)


def test_channels_of_early_conda_locks_are_texts(tmp_path: Path) -> None:
    text = FLAT.replace("[]", f"[{FORGE}, other]") + "  manager: conda\n  url: x\n"
    (environment,) = read_foreign_lock(write(tmp_path, text))
    assert environment.channels == (FORGE, "other")


def test_what_to_do_about_a_lock_of_another_kind_is_told(tmp_path: Path) -> None:
    for text, message, hint in (
        (
            FLAT.replace("linux", "win") + "  manager: conda\n  url: x\n",
            "its platforms: win-64",
            "name linux-64 among",
        ),
        ("version: 8\nenvironments: {}\npackages: []\n", "version 8", "write it anew"),
        ("# made\n@EXPLICIT\nhttps://conda.example/a-1-0.conda#beef\n", "an @EXPLICIT list", "give a pixi.lock"),
    ):
        with pytest.raises(LockError, match=message) as caught:
            read_foreign_lock(write(tmp_path, text))
        assert hint in (caught.value.hint or "")


def test_a_version_without_quotes_stays_what_was_written(tmp_path: Path) -> None:
    text = (LOCKS / "pixi-v5.lock").read_text().replace("version: 3.9.2", "version: 3.10")
    (environment,) = read_foreign_lock(write(tmp_path, text))
    assert find(environment.pip, "matplotlib").version == "3.10"


def test_packages_on_one_line_are_different_packages(tmp_path: Path) -> None:
    urls = [f"{FORGE}/linux-64/{name}-1-0.conda" for name in ("one", "two")]
    nodes = [{"conda": url} for url in urls]
    environments = {"default": {"channels": [], "packages": {"linux-64": nodes}}}
    text = json.dumps({"version": 6, "environments": environments, "packages": nodes})
    (environment,) = read_foreign_lock(write(tmp_path, text))
    assert [package.name for package in environment.conda] == ["one", "two"]


packages = st.builds(
    lambda name, build, subdir, noarch, depends: make_conda(
        name, "1.0", build, subdir=subdir, noarch=noarch if subdir == "noarch" else None, depends=depends
    ),
    st.sampled_from("abcdef"),
    st.sampled_from(["0", "py_0", "h1_0"]),
    st.sampled_from(["linux-64", "noarch"]),
    st.sampled_from(["python", "generic"]),
    st.sampled_from([(), ("python >=3.9",), ("zlib",)]),
)


@given(conda=st.lists(packages, unique_by=lambda package: package.name), size=st.none() | st.integers(0, 10**12))
def test_what_imgbuild_locks_is_read_whole(
    tmp_path_factory: pytest.TempPathFactory, conda: list[CondaPackage], size: int | None
) -> None:
    ordered = sorted(conda, key=lambda package: package.name)
    environments = (
        make_environment("py310-cu118", conda=ordered, pip=[make_wheel("tool", size=size, requires=("six",))]),
        make_environment("py311-cpu"),
    )
    path = tmp_path_factory.mktemp("own") / "imgbuild.lock"
    path.write_text(dump_lock(Lock(environments=environments)))
    assert read_foreign_lock(path) == environments


V6 = "version: 6\nenvironments:\n  default:\n    channels: []\n    packages:\n      linux-64:\n"
FLAT = "version: 1\nmetadata:\n  channels: []\npackage:\n- name: a\n  platform: linux-64\n"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", None, "one YAML document"),
        ("just text", 1, "a mapping should stand here"),
        ("name: pytorch\n", 1, "neither pixi, nor conda-lock, nor imgbuild"),
        ("[project]\nname = 'a'\n", 2, "no YAML"),
        ("version: 6\n<<<<<<< HEAD\n", 3, "no YAML"),
        ("\0\0", None, "no YAML"),
        ("a: 1\n---\nb: 2\n", None, "one YAML document"),
        ("a: *nothing\n", 1, "`nothing` is not defined"),
        ("version: 6\nversion: 6\n", 2, "`version` is given twice"),
        ("[" * 100_000, 1, "nested too deep"),
        ("- " * 100_000, 1, "nested too deep"),
        ("version: 8\nenvironments: {}\npackages: []\n", 1, "version 8; this imgbuild reads versions 4 to 7"),
        ("version: x\nenvironments: {}\npackages: []\n", 1, "`version` should be a whole number"),
        ("version: 6\nenvironments: {}\npackages: []\n", None, "not for linux-64; its platforms: none"),
        (V6.replace("linux-64", "win-64") + "      - conda: x\npackages: []\n", None, "its platforms: win-64"),
        (V6 + "      - conda: x\npackages: []\n", 7, "x is not among the packages"),
        (V6 + "      - x\npackages: []\n", 7, "a mapping should stand here"),
        (V6 + "      - color: x\npackages: []\n", 7, "a package without URL and path"),
        (V6 + "      - conda: x\npackages:\n- conda: x\n  size: big\n", 10, "`size` should be a whole number"),
        (V6 + "      - conda: x\npackages:\n- conda: x\n  size: " + "9" * 5000, 10, "`size` should be a whole number"),
        (V6 + "      - conda: x\npackages:\n- conda: x\n  sha256: beef\n", 10, "this is no sha256"),
        (V6 + "      - conda: x\npackages:\n- conda: x\n  depends: six\n", 10, "`depends` should be a list"),
        (V6 + "      - pypi: x\npackages:\n- pypi: x\n  version: 1\n", 9, "`name` is missing"),
        (FLAT + "  manager: npm\n  url: x\n", 5, "`npm` is neither conda nor pip"),
        (FLAT + "  manager: conda\n", 5, "`url` is missing"),
        (FLAT + "  manager: conda\n  url: x\n  hash: beef\n", 9, "a mapping should stand here"),
    ],
)
def test_a_file_that_is_no_lock_is_refused_where_it_is_wrong(
    tmp_path: Path, text: str, line: int | None, message: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(LockError) as caught:
        read_foreign_lock(path)
    assert message in caught.value.message
    assert (caught.value.path, caught.value.line) == (path, line)
    assert caught.value.hint


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LockError, match="No such file"):
        read_foreign_lock(tmp_path / "pixi.lock")
    with pytest.raises(LockError, match="directory"):
        read_foreign_lock(tmp_path)


@given(st.binary(max_size=200) | st.text(alphabet="ab:-[]{}&*!|>'\"\n #,?", max_size=60).map(str.encode))
def test_any_bytes_are_nodes_or_an_error(text: bytes) -> None:
    try:
        node = parse_nodes(text)
    except NodeError:
        return
    assert node.line >= 1


def test_an_alias_is_what_its_anchor_marks() -> None:
    nodes = parse_nodes(b"a: &x [1, ~]\nb: *x\n").mapping()
    assert nodes["a"] is nodes["b"]


def test_merge_key_is_refused_rather_than_lost() -> None:
    with pytest.raises(NodeError, match="merge key") as caught:
        parse_nodes(b"a: &x {size: 1}\nb:\n  <<: *x\n")
    assert caught.value.line == 3


def test_reading_does_not_import_what_starts_slowly() -> None:
    code = "import sys, builder.foreign; sys.exit(bool({'rattler', 'pydantic', 'docker'} & sys.modules.keys()))"
    subprocess.run([sys.executable, "-c", code], check=True)


def write(folder: Path, text: str) -> Path:
    path = folder / "some.lock"
    path.write_text(text)
    return path
