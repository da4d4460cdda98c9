"""The kit's parts that need no engine and no network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import threading
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest
import yaml
from rattler import IndexJson, PathsJson

from tests.kit import cpython, debian, engine, native, project, server, torch_wheel, wheels
from tests.kit.conda_package import PLACEHOLDER, Package, write_package
from tests.kit.errors import KitError
from tests.kit.processes import read_pid
from tests.kit.registry import hold_port
from tests.kit.steps import SOURCES, Step, is_done, run_step, run_steps
from tests.kit.workspace import Workspace, find_kit

if TYPE_CHECKING:
    from collections.abc import Iterator

DEB822 = """\
# Third parties come first
Types: deb
URIs: https://apt.example/tools
Suites: tools-bookworm
Components: main

Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
Enabled: no

Types: deb-src deb
# http://old.example/debian
URIs: http://mirror.example/debian/ http://other.example/debian
Suites: bookworm
 bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
ONE_LINE = """\
# deb http://off.example/debian bookworm main
deb-src http://source.example/debian bookworm main
deb http://security.example/debian-security bookworm-security main
deb [arch=amd64 signed-by=/etc/apt/keyrings/debian.gpg] http://mirror.example/debian trixie main contrib # ours
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "scratch").mkdir()
    return Workspace(root=tmp_path, scratch=tmp_path / "scratch", log=tmp_path / "log")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("debian.sources", DEB822, "signed-by=/usr/share/keyrings/debian-archive-keyring.gpg"),
        ("debian.list", ONE_LINE, "signed-by=/etc/apt/keyrings/debian.gpg"),
        ("debian.list", "deb http://mirror.example/debian stable main", ""),
    ],
)
def test_mirror_is_the_machines_own(tmp_path: Path, name: str, text: str, expected: str) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / name).write_text(text)
    (tmp_path / "sources.list.d" / f"{name}.disabled").write_text("deb http://off.example/debian bookworm main")
    mirror = debian.find_mirror(tmp_path)
    options = f"check-valid-until=no {expected}".strip()
    assert mirror.source_line("deb", "sid") == f"deb [{options}] http://mirror.example/debian sid main"


def test_mirror_list_is_followed(tmp_path: Path) -> None:
    listed = tmp_path / "mirrors.list"
    listed.write_text("http://near.example/debian/\nhttp://far.example/debian\n")
    (tmp_path / "sources.list").write_text(f"deb mirror+file:{listed} bookworm main\n")
    assert debian.find_mirror(tmp_path).uri == "http://near.example/debian"


def test_key_inside_a_source_is_not_a_keyring(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    text = "Types: deb\nURIs: http://m.example/d\nSuites: sid\nComponents: main\nSigned-By:\n -----BEGIN PGP\n .\n x\n"
    (tmp_path / "sources.list.d" / "debian.sources").write_text(text)
    assert debian.find_mirror(tmp_path).signed_by is None


def test_machine_without_debian_mirror_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text("deb http://mirror.example/ubuntu noble main\n")
    with pytest.raises(KitError, match=r"no Debian mirror[^→]*→ the kit needs a Debian machine"):
        debian.find_mirror(tmp_path)


@pytest.mark.parametrize(
    ("debian_version", "upstream"),
    [
        ("1:1.2.13.dfsg-1", "1.2.13"),
        ("3.0.17-1~deb12u2", "3.0.17"),
        ("20230311+deb12u1", "20230311"),
        ("8.2-1.3", "8.2"),
    ],
)
def test_upstream_version(debian_version: str, upstream: str) -> None:
    assert native.read_upstream_version(debian_version) == upstream


def test_native_pin_stays_within_the_major_version() -> None:
    assert native.pin_library("openssl", "3.0.17") == "openssl >=3.0.17,<4.0a0"


@pytest.mark.parametrize("arguments", [["create", "--surprise"], ["search"], ["clean"], ["create", "--prefix", "/x"]])
def test_conda_refuses_what_it_does_not_know(arguments: list[str]) -> None:
    argv = [sys.executable, str(SOURCES / "conda.py"), *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "usage: conda" in done.stderr


def make_tree(tree: Path) -> None:
    (tree / "bin").mkdir(parents=True)
    (tree / "bin" / "tool").write_text(f"#!{PLACEHOLDER}/bin/python\n")
    (tree / "bin" / "tool").chmod(0o750)
    (tree / "bin" / "alias").symlink_to("tool")
    (tree / "lib.so").write_bytes(b"\x7fELF\0" + PLACEHOLDER.encode() + b"/lib\0")
    (tree / "plain").write_text("plain\n")


def test_package_bytes_depend_on_content_only(workspace: Workspace, tmp_path: Path) -> None:
    package = Package(name="tool", version="1.0", license="MIT", depends=("zlib",))
    archives = []
    for number, umask in enumerate((0o022, 0o077)):
        before = os.umask(umask)
        make_tree(tmp_path / str(number))
        os.umask(before)
        os.utime(tmp_path / str(number) / "plain", (number, number))
        archives.append(write_package(workspace, package, tmp_path / str(number)).read_bytes())
    assert archives[0] == archives[1]


def test_package_says_where_the_prefix_is(workspace: Workspace, tmp_path: Path) -> None:
    make_tree(tmp_path / "tree")
    path = write_package(workspace, Package(name="tool", version="1.0", license="MIT"), tmp_path / "tree")
    assert len(PLACEHOLDER) == 255
    paths = {str(entry.relative_path): entry for entry in PathsJson.from_package_archive(path).paths}
    assert sorted(paths) == ["bin/alias", "bin/tool", "lib.so", "plain"]
    placeholders = {name: entry.prefix_placeholder for name, entry in paths.items()}
    assert placeholders["bin/tool"] is not None
    assert placeholders["bin/tool"].file_mode.text
    assert placeholders["lib.so"] is not None
    assert placeholders["lib.so"].file_mode.binary
    assert placeholders["plain"] is None
    assert placeholders["bin/alias"] is None
    assert paths["bin/alias"].path_type.softlink
    with tarfile.open(path) as archive:
        assert archive.getmember("bin/tool").mode == 0o755
    assert str(IndexJson.from_package_archive(path).version) == "1.0"


def make_wheel(folder: Path, tag: str) -> Path:
    path = folder / f"Demo_Tool-2.0-{tag}.whl"
    info = "Demo_Tool-2.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("demo_tool/__init__.py", "")
        archive.writestr("Demo_Tool-2.0.data/scripts/demo.sh", "#!/bin/sh\n")
        archive.writestr("Demo_Tool-2.0.data/data/share/demo.txt", "x")
        archive.writestr(
            f"{info}/METADATA",
            "Metadata-Version: 2.4\nName: Demo_Tool\nVersion: 2.0\nLicense-Expression: MIT\n"
            "Requires-Python: >=3.8, <4\n"
            "Requires-Dist: Typing.Extensions >=4,!=4.1 ; python_version < '3.12'\n"
            "Requires-Dist: colorama ; sys_platform == 'win32'\nRequires-Dist: rich ; extra == 'nice'\n\n",
        )
        archive.writestr(f"{info}/entry_points.txt", "[console_scripts]\ndemo = demo_tool.cli:app.main\n[x]\ny = z\n")
        archive.writestr(f"{info}/RECORD", "demo_tool/__init__.py,,\nDemo_Tool-2.0.data/scripts/demo.sh,,\n")
    return path


def test_pure_wheel_becomes_noarch(workspace: Workspace, tmp_path: Path) -> None:
    path = wheels.convert_wheel(workspace, make_wheel(tmp_path, "py3-none-any"), "3.11", noarch=True)
    index = IndexJson.from_package_archive(path)
    assert path.parent.name == "noarch"
    assert index.name.normalized == "demo-tool"
    assert index.noarch.python
    assert index.depends == ["python >=3.8,<4", "typing_extensions !=4.1,>=4"]
    with tarfile.open(path) as archive:
        link = json.load(archive.extractfile("info/link.json"))  # type: ignore[arg-type]
        names = {name for name in archive.getnames() if not name.startswith("info/")}
    assert link["noarch"]["entry_points"] == ["demo = demo_tool.cli:app.main"]
    info = "site-packages/Demo_Tool-2.0.dist-info"
    metadata = {f"{info}/{name}" for name in ("METADATA", "RECORD", "INSTALLER", "entry_points.txt")}
    assert names == {"site-packages/demo_tool/__init__.py", "python-scripts/demo.sh", "share/demo.txt", *metadata}


def test_binary_wheel_belongs_to_one_python(workspace: Workspace, tmp_path: Path) -> None:
    path = wheels.convert_wheel(workspace, make_wheel(tmp_path, "cp313-cp313-linux_x86_64"), "3.13", noarch=False)
    index = IndexJson.from_package_archive(path)
    assert path.parent.name == "linux-64"
    assert str(index.build).startswith("py313h")
    assert index.depends == ["python >=3.13,<3.14.0a0", native.GLIBC]
    with tarfile.open(path) as archive:
        script = archive.extractfile("bin/demo")
        assert script is not None
        lines = script.read().decode().splitlines()
        record = archive.extractfile("lib/python3.13/site-packages/Demo_Tool-2.0.dist-info/RECORD")
        assert record is not None
        assert record.read() == b"demo_tool/__init__.py,,\nDemo_Tool-2.0.dist-info/INSTALLER,,\n"
    assert lines[0] == f"#!{PLACEHOLDER}/bin/python3.13"
    assert "from demo_tool.cli import app" in lines
    assert "    sys.exit(app.main())" in lines


def test_requirements_are_those_of_the_python() -> None:
    requirements = ["tomli; python_version < '3.11'", "six"]
    assert wheels.translate_requirements(requirements, "3.9") == ("six", "tomli")
    assert wheels.translate_requirements(requirements, "3.13") == ("six",)


def test_every_requirement_within_the_channel_can_be_met() -> None:
    names = [requirement.split("==")[0] for requirement in (*wheels.NOARCH, *wheels.PER_PYTHON)]
    assert len(names) == len(set(names))
    assert "tqdm" not in names, "the demo installs it with pip"


def test_newest_cpu_build_is_chosen() -> None:
    listing = "torch (2.15.0)\nAvailable versions: 2.15.0, 2.9.0+cpu, 2.13.0+cpu, 2.13.0, 2.14.0+cu126\n"
    assert str(torch_wheel.choose_cpu_version(listing)) == "2.13.0+cpu"
    assert torch_wheel.choose_cpu_version("Available versions: 2.15.0, 2.14.0+cu126") is None


@pytest.mark.parametrize("failures", [0, 1, engine.STARTS])
def test_engine_that_ends_at_once_is_started_again(failures: int, tmp_path: Path) -> None:
    program = """
import http.server, pathlib, socketserver, sys
tries = pathlib.Path("tries")
tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
if len(tries.read_text()) <= int(sys.argv[1]):
    sys.exit("containerd takes too long")

class Handler(http.server.BaseHTTPRequestHandler):
    address_string = lambda self: "a client"

    def do_GET(self):
        self.send_response(200)
        self.end_headers()

with socketserver.UnixStreamServer("socket", Handler) as server:
    server.handle_request()
"""
    argv = ["env", "-C", str(tmp_path), sys.executable, "-c", program, str(failures)]
    dockerd = engine.Engine(url=f"unix://{tmp_path / 'socket'}")
    log = tmp_path / "log"
    if failures < engine.STARTS:
        engine.start_dockerd(argv, log, dockerd)
        assert len((tmp_path / "tries").read_text()) == failures + 1
    else:
        with pytest.raises(KitError, match="dockerd did not start"):
            engine.start_dockerd(argv, log, dockerd)
    assert log.read_text().count("too long") == failures


def test_step_runs_once_for_its_inputs(tmp_path: Path) -> None:
    runs: list[str] = []

    def plan(text: str) -> Step:
        def make(workspace: Workspace) -> list[Path]:
            runs.append(text)
            made = workspace.scratch / "made"
            made.write_text(text)
            return [workspace.publish(made, workspace.root / f"out-{text}")]

        return Step(name="a step", doing="writing", make=make, sources=("errors.py",), inputs=(text,))

    for text in ("one", "one", "two", "two"):
        run_step(plan(text), tmp_path)
    assert runs == ["one", "two"]
    assert not (tmp_path / "out-one").exists(), "what an older version of the step left is removed"
    assert not is_done(plan("one"), tmp_path)
    (tmp_path / "out-two").unlink()
    run_step(plan("two"), tmp_path)
    assert runs == ["one", "two", "two"]


def test_killed_step_is_made_again(tmp_path: Path) -> None:
    program = """
import os, sys
from pathlib import Path
from tests.kit.steps import Step, run_step

def make(workspace):
    half = workspace.scratch / "half"
    assert not half.exists(), "scratch is not clean"
    half.write_text("x")
    if sys.argv[2] == "die":
        os.kill(os.getpid(), 9)
    return [workspace.publish(half, workspace.root / "out")]

run_step(Step(name="s", doing="d", make=make, sources=()), Path(sys.argv[1]))
"""
    for word, code, exists in (("die", -9, False), ("live", 0, True)):
        done = subprocess.run([sys.executable, "-c", program, str(tmp_path), word], check=False, capture_output=True)
        assert done.returncode == code, done.stderr
        assert (tmp_path / "out").exists() == exists


def test_step_depends_on_the_steps_before_it() -> None:
    def plan(text: str) -> Step:
        first = Step(name="first", doing="", make=lambda _: (), sources=(), inputs=(text,))
        return Step(name="second", doing="", make=lambda _: (), sources=(), after=(first,))

    assert plan("a").digest_inputs() != plan("b").digest_inputs()


def test_steps_are_made_side_by_side_and_after_those_that_they_need(tmp_path: Path) -> None:
    together = threading.Barrier(2, timeout=60)
    made: list[str] = []

    def plan(name: str, *after: Step, meets: bool = False) -> Step:
        def make(_: Workspace) -> tuple[Path, ...]:
            if meets:
                together.wait()
            made.append(name)
            return ()

        return Step(name=name, doing="", make=make, sources=(), after=after)

    one, two = plan("one", meets=True), plan("two", meets=True)
    run_steps((one, two, plan("last", one, two)), tmp_path)
    assert sorted(made[:2]) == ["one", "two"]
    assert made[2:] == ["last"]


def test_step_that_fails_is_told_and_none_that_needs_it_begins(tmp_path: Path) -> None:
    def fail(workspace: Workspace) -> NoReturn:
        workspace.run("false")
        raise AssertionError("the command fails")

    begun: list[Workspace] = []

    def begin(workspace: Workspace) -> tuple[Path, ...]:
        begun.append(workspace)
        return ()

    broken = Step(name="broken", doing="", make=fail, sources=())
    with pytest.raises(KitError, match="broken: `false` failed"):
        run_steps((broken, Step(name="next", doing="", make=begin, sources=(), after=(broken,))), tmp_path)
    assert not begun


def test_failed_command_names_its_log(tmp_path: Path) -> None:
    def make(workspace: Workspace) -> list[Path]:
        workspace.run("sh", "-c", "echo no space left >&2; exit 3")
        return []

    with pytest.raises(KitError) as failure:
        run_step(Step(name="base", doing="x", make=make, sources=()), tmp_path)
    assert failure.value.message == "base: `sh` failed with exit code 3"
    assert failure.value.hint is not None
    assert "no space left" in failure.value.hint
    assert str(tmp_path / "logs" / "base.log") in failure.value.hint


def test_missing_command_is_told(workspace: Workspace) -> None:
    with pytest.raises(KitError, match="`no-such-command` is not installed"):
        workspace.run("no-such-command")


def test_kit_is_never_in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMGBUILD_KIT", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/tmp/cache")
    assert find_kit() == Path("/var/tmp/cache/imgbuild-kit")
    monkeypatch.setenv("IMGBUILD_KIT", "/srv/kit")
    assert find_kit() == Path("/srv/kit")


@pytest.fixture
def port() -> Iterator[int]:
    with hold_port() as held:
        yield held


def test_server_serves_ranges_and_is_started_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setenv("IMGBUILD_KIT_PORT", str(port))
    (tmp_path / "channel").mkdir()
    (tmp_path / "channel" / "digits").write_text("0123456789")
    url = server.ensure_server(tmp_path)
    try:
        pid = read_pid(tmp_path / "server.pid", server.WORDS)
        assert pid is not None
        assert server.ensure_server(tmp_path) == url
        assert read_pid(tmp_path / "server.pid", server.WORDS) == pid
        for wanted, status, expected in (
            (None, 200, b"0123456789"),
            ("bytes=2-4", 206, b"234"),
            ("bytes=-3", 206, b"789"),
            ("bytes=8-", 206, b"89"),
            ("bytes=8-99", 206, b"89"),
            ("bytes=-", 200, b"0123456789"),
        ):
            request = urllib.request.Request(f"{url}/digits", headers={"Range": wanted} if wanted else {})
            with urllib.request.urlopen(request) as response:
                assert (response.status, response.read()) == (status, expected)
        beyond = urllib.request.Request(f"{url}/digits", headers={"Range": "bytes=10-"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(beyond)
        with refused.value:
            assert refused.value.code == 416
        other = tmp_path / "other"
        other.mkdir()
        with pytest.raises(KitError, match="something else answers on port"):
            server.ensure_server(other)
    finally:
        assert server.stop_server(tmp_path)
    assert not server.stop_server(tmp_path)


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1"])
def test_port_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    monkeypatch.setenv("IMGBUILD_KIT_PORT", port)
    with pytest.raises(KitError, match="is not a port"):
        server.read_port()


@pytest.mark.parametrize("cpu_torch", ["2.13.0", None])
def test_project_is_written_when_it_changes(tmp_path: Path, cpu_torch: str | None) -> None:
    paths = project.write_project(tmp_path, "http://127.0.0.1:1", cpu_torch)
    definition, sources = (yaml.safe_load(path.read_text()) for path in paths)
    assert definition["matrix"]["cuda"] == (["cpu", "12.6"] if cpu_torch else ["12.6"])
    assert set(definition["matrix"]["torch"]) == set(definition["matrix"]["cuda"])
    assert sources["conda"] == {definition["channels"][0]: "http://127.0.0.1:1/kit"}
    for path in paths:
        os.utime(path, (1, 1))
    project.write_project(tmp_path, "http://127.0.0.1:1", cpu_torch)
    assert [path.stat().st_mtime for path in paths] == [1, 1]
    project.write_project(tmp_path, "http://127.0.0.1:2", cpu_torch)
    assert paths[1].stat().st_mtime > 1


def test_plans_share_the_native_libraries() -> None:
    compiling, packing = cpython.plan_python("3.13")
    assert packing.after == (native.NATIVE, compiling)
    assert compiling.digest_inputs() != cpython.plan_python("3.11")[0].digest_inputs()
