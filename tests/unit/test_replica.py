"""The benchmark's inputs: a replica has the sample's shape, its archives are real, and its lock is taken."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import (
    archives,
    chart,
    copies,
    dockerfiles,
    install_time,
    replica,
    replica_project,
    throwaway,
)
from benchmarks.archives import File
from benchmarks.copies import KIT, PYTHONS, Copy, ReplicaCell
from benchmarks.measure import Row, check_disk, write_targets
from benchmarks.report import draw_picture, draw_table
from benchmarks.result import Input, Result
from benchmarks.sample import SampleCell, read_sample
from builder.locking import find_stale, read_locks
from builder.matrix import expand_cells
from tests.kit.errors import KitError

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.dockerfiles import Target

SERVER = "http://127.0.0.1:9"
TINY = (
    Copy(name="native", version="1.0", build="h0_0", subdir="linux-64", size=300_000),
    Copy(
        name="pure-noarch",
        version="2",
        build="py_0",
        subdir="noarch",
        noarch="python",
        depends=("python",),
        size=50_000,
    ),
    Copy(name="zstd", version="1.5", build="h1_0", subdir="linux-64", size=10),
    Copy(name="bleach", version="6.1.0", size=2_000, tag="py3-none-any"),
)


@pytest.fixture(scope="module")
def sample() -> tuple[SampleCell, ...]:
    return read_sample()


@pytest.fixture
def tiny(tmp_path: Path) -> replica.Replica:
    """A replica of two cells that was written for real, with nothing of the kit."""
    cells = (
        ReplicaCell(python="3.11", cuda="12.1", copies=TINY),
        ReplicaCell(python="3.13", cuda="12.1", copies=TINY[1:]),
    )
    folder = tmp_path / "replica"
    replica.write_replica(folder, cells, (), tmp_path)
    hashes = json.loads((folder / "hashes.json").read_text())
    return replica.Replica(folder=folder, cells=cells, hashes=hashes, kit={"3.11": (), "3.13": ()})


def test_sample_is_the_real_lock(sample: tuple[SampleCell, ...]) -> None:
    distinct = {package for cell in sample for package in cell.packages}
    assert (len(sample), len(distinct)) == (12, 421)
    assert sum(package.size for cell in sample for package in cell.packages) == 43_085_257_579
    assert sum(package.size for package in distinct) == 24_093_719_947


def test_copies_are_shared_by_as_many_cells_as_the_packages(sample: tuple[SampleCell, ...]) -> None:
    packages = Counter(package for cell in sample for package in cell.packages if package.name not in KIT)
    copied = Counter(copy for cell in copies.plan_copies(sample, 20) for copy in cell.copies)
    assert sorted(packages.values()) == sorted(copied.values())
    assert len({copy.path for copy in copied}) == len(copied)
    assert sum(copy.size for copy in copied) == pytest.approx(sum(package.size for package in packages) / 20, rel=1e-3)


def test_each_python_has_its_own_copies(sample: tuple[SampleCell, ...]) -> None:
    cells = copies.plan_copies(sample, 20)
    assert {cell.python for cell in cells} == set(PYTHONS.values())
    assert all(copy.python in ("", cell.python) for cell in cells for copy in cell.copies)
    tags = Counter(copy.tag.split("-")[0] for cell in cells for copy in set(cell.copies) if copy.tag)
    assert set(tags) == {"py3", "cp39", "cp311", "cp313"}


def test_no_two_packages_of_a_cell_write_the_same_file(sample: tuple[SampleCell, ...]) -> None:
    for cell in copies.plan_copies(sample, 100_000):
        files = Counter(file.path for copy in cell.copies for file in copies.write_files(copy))
        # NVIDIA's wheels share their package's __init__.py in truth; these do not even do that.
        assert not [path for path, count in files.items() if count > 1]


@pytest.mark.parametrize("copy", TINY, ids=lambda copy: copy.name)
def test_content_has_the_size_and_is_another_in_another_version(copy: Copy) -> None:
    files, again, newer = (list(copies.write_files(one)) for one in (copy, copy, copies.bump(copy)))
    assert files == again
    assert sum(len(file.data) for file in files) == pytest.approx(copy.size, rel=0.05, abs=2_000)
    assert {file.path for file in files} == {file.path for file in newer}
    assert {file.data for file in files} != {file.data for file in newer}
    for file in files:
        if file.path.endswith(".py"):
            compile(file.data, file.path, "exec")


@settings(max_examples=15)
@given(st.lists(st.integers(0, 3 * archives.StoredFrame.BLOCK), max_size=3))
def test_conda_package_is_unpacked_by_rattler(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    from rattler.package_streaming import extract

    folder = tmp_path_factory.mktemp("conda")
    files = [File(path=f"lib/{number}.bin", data=os.urandom(size)) for number, size in enumerate(sizes)]
    index = {"name": "one", "version": "1", "build": "0", "build_number": 0, "subdir": "linux-64", "depends": []}
    archives.write_conda(folder / "one-1-0.conda", index, files)
    extract(folder / "one-1-0.conda", folder / "out")
    assert all((folder / "out" / file.path).read_bytes() == file.data for file in files)
    assert json.loads((folder / "out" / "info" / "index.json").read_text()) == index


def test_wheel_is_installed_by_pip(tmp_path: Path) -> None:
    wheel = tmp_path / "one_two-1.0-py3-none-any.whl"
    archives.write_wheel(wheel, [File(path="one_two/__init__.py", data=b"VALUE = 5\n")])
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", tmp_path / "out")
    subprocess.run([*pip, wheel], check=True)
    found = subprocess.run(
        [sys.executable, "-c", "import one_two, importlib.metadata as m; print(one_two.VALUE, m.version('one-two'))"],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "out")},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert found.stdout == "5 1.0\n"


def test_definitions_have_the_cells_of_the_sample_and_no_other(sample: tuple[SampleCell, ...], tmp_path: Path) -> None:
    cells = copies.plan_copies(sample, 20)
    replica_project.write_replica_project(tmp_path, cells, SERVER)
    project = replica_project.load_project(tmp_path)
    found = [cell for definition in project.definitions for cell in expand_cells(definition)[0]]
    assert sorted((str(cell.python), str(cell.cuda)) for cell in found) == sorted(
        (cell.python, cell.cuda) for cell in cells
    )


def test_lock_is_fresh_and_a_bump_changes_one_package(tiny: replica.Replica, tmp_path: Path) -> None:
    replica_project.write_replica_project(tmp_path, tiny.cells, SERVER)
    packages = []
    for bumped in (frozenset(), tiny.find_bumped("conda"), tiny.find_bumped("pip")):
        project = replica_project.write_replica_locks(tmp_path, tiny, bumped)
        cells = [cell for definition in project.definitions for cell in expand_cells(definition)[0]]
        locks = read_locks(project, cells)
        assert not find_stale(project, cells, locks)
        (environment,) = (environment for environment in locks["replica"].environments if "311" in environment.name)
        packages.append({(package.name, package.sha256) for package in (*environment.conda, *environment.pip)})
    first, conda, pip = packages
    assert {name for name, _ in conda - first} == {"zstd"}
    assert {name for name, _ in pip - first} == {"bleach"}


def test_hashes_are_those_of_the_files(tiny: replica.Replica) -> None:
    for path, hashes in tiny.hashes.items():
        data = (tiny.folder / path).read_bytes()
        assert hashes == {"md5": hashlib.md5(data).hexdigest(), "sha256": hashlib.sha256(data).hexdigest()}


def test_dockerfile_asks_the_server_for_what_the_lock_says(tiny: replica.Replica, tmp_path: Path) -> None:
    replica_project.write_replica_project(tmp_path, tiny.cells, SERVER)
    project = replica_project.write_replica_locks(tmp_path, tiny, frozenset())
    first, _ = targets = write_targets(project, tmp_path / "contexts")
    lines = (first.folder / "conda.txt").read_text().splitlines()
    with replica.serve_folder(tiny.folder) as server:
        for line in lines[1:]:
            url, digest = line.split("#sha256:")
            assert url.startswith(SERVER)
            connection = http.client.HTTPConnection(server.removeprefix("http://"))
            connection.request("GET", url.removeprefix(SERVER))
            assert hashlib.sha256(connection.getresponse().read()).hexdigest() == digest
            connection.close()
    assert lines[0] == "@EXPLICIT"
    assert (first.folder / "pip.txt").read_text().startswith(f"--index-url {SERVER}/simple\nbleach==6.1.0 --hash=")
    dockerfiles.write_bake_file(tmp_path / "bake.json", targets, "registry.example:5000")
    bake = json.loads((tmp_path / "bake.json").read_text())
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]+", name) for name in bake["target"])
    tags = {target["context"]: target["tags"] for target in bake["target"].values()}
    assert tags[str(first.folder)] == [f"registry.example:5000/{first.image}"]
    assert set(bake["group"]["default"]["targets"]) == set(bake["target"])


def test_what_has_two_names_counts_once(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "one").write_bytes(os.urandom(1 << 20))
    before = throwaway.measure_folder(tmp_path)
    (tmp_path / "two").hardlink_to(tmp_path / "folder" / "one")
    assert throwaway.measure_folder(tmp_path) == before > 1 << 20
    shutil.copyfile(tmp_path / "two", tmp_path / "three")
    assert throwaway.measure_folder(tmp_path) >= before + (1 << 20)


def test_install_time_is_the_span_of_the_run_steps() -> None:
    vertexes = [
        ("[1/3] FROM base", "2026-01-01T00:00:00Z", "2026-01-01T00:00:09Z"),
        ("[2/3] RUN one", "2026-01-01T00:00:10.5Z", "2026-01-01T00:00:12Z"),
        ("[3/3] RUN two", "2026-01-01T00:00:12Z", "2026-01-01T00:00:14.123456789Z"),
        ("exporting", "2026-01-01T00:00:15Z", "2026-01-01T00:00:19Z"),
    ]
    lines = [
        json.dumps({"vertexes": [{"name": name, "started": started, "completed": completed}]})
        for name, started, completed in vertexes
    ]
    assert install_time.measure_span([*lines, "not JSON"]) == pytest.approx(3.623456)
    with pytest.raises(ValueError, match="no RUN step"):
        install_time.measure_span(lines[:1])


def make_result() -> Result:
    rows = tuple(
        Row(
            way=way,
            phase=phase,
            seconds=seconds,
            pushed_bytes=2_000_000,
            image_bytes=1_500_000,
            registry_bytes=300_000_000,
            engine_bytes=4,
        )
        for way, seconds in (("docker", 100.0), ("imgbuild", 25.0))
        for phase in ("cold", "one <package> newer")
    )
    described = Input(title="a lock", cells=2, naive_bytes=600_000_000, unique_bytes=200_000_000)
    return Result(input=described, cores=2, docker="27", buildx="0.29", rows=rows, installs=())


def test_table_has_a_column_for_each_way() -> None:
    lines = draw_table(make_result()).splitlines()
    assert lines[0] == "| a lock: 2 cells, 600 MB of packages, 200 MB distinct; 2 cores | | docker | imgbuild |"
    assert lines[2] == "| cold | time | 100.0 s | 25.0 s |"
    assert lines[3] == "|  | pushed | 2.0 MB | 2.0 MB |"
    assert lines[4] == "|  | pushed, images alone | 1.5 MB | 1.5 MB |"
    assert {line.count("|") for line in lines} == {5}


def test_picture_is_well_formed_and_bars_are_to_scale() -> None:
    picture = ElementTree.fromstring(draw_picture(make_result()))
    space = "{http://www.w3.org/2000/svg}"
    first = next(picture.iter(f"{space}g"))
    docker, imgbuild = (float(bar.attrib["width"]) for bar in first.iter(f"{space}rect"))
    assert docker == pytest.approx(4 * imgbuild, rel=0.01)
    assert any("one <package> newer" in (text.text or "") for text in picture.iter(f"{space}text"))
    right = [float(text.attrib["x"]) for text in picture.iter(f"{space}text")]
    assert max(right) < chart.WIDTH / 2


def test_run_that_would_fill_the_disk_does_not_start(tmp_path: Path) -> None:
    fits, fills = (
        Input(title="", cells=1, naive_bytes=size, unique_bytes=size)
        for size in (1, shutil.disk_usage(tmp_path).total // 4)
    )
    check_disk(tmp_path / "home", fits, 4)
    with pytest.raises(KitError, match="GB of disk left"):
        check_disk(tmp_path / "home", fills, 4)


def test_target_knows_its_packages(tiny: replica.Replica, tmp_path: Path) -> None:
    replica_project.write_replica_project(tmp_path, tiny.cells, SERVER)
    targets: tuple[Target, ...] = write_targets(
        replica_project.write_replica_locks(tmp_path, tiny, frozenset()), tmp_path / "contexts"
    )
    assert [len(target.packages) for target in targets] == [4, 3]
    assert targets[0].size == sum((tiny.folder / copy.path).stat().st_size for copy in TINY)
