from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder import errors
from builder.lock import read_lock

if TYPE_CHECKING:
    from tests.unit.conftest import Demo, Run

CLASSES = [value for value in vars(errors).values() if isinstance(value, type) and value.__module__ == errors.__name__]
HEAVY = (
    "docker",
    "rattler",
    "jinja2",
    "pydantic",
    "testcontainers",
    "rich",
    "requests",
    "yaml",
    "cyclonedx",
    "spdx_tools",
)


def spawn(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from builder.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def lock(imgbuild: Run, demo: Demo, *more: str) -> tuple[int, str, str]:
    return imgbuild("lock", "--sources", demo.sources, "--progress", "plain", *more)


def test_codes_are_all_different_but_for_kinds_of_one_failure() -> None:
    families = [kind for kind in CLASSES if kind.exit_code != getattr(kind.__base__, "exit_code", None)]
    codes = [kind.exit_code for kind in families]
    assert len(set(codes)) == len(codes)
    assert not {0, 2} & set(codes)


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_has_its_code_and_no_traceback(
    kind: type[errors.ImgbuildError], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise kind("it went wrong", hint="do this", path=Path("image.yaml"), line=3)

    monkeypatch.setattr("builder.project.load_project", fail)
    assert run("matrix") == (kind.exit_code, "", "imgbuild: image.yaml:3: it went wrong\n  → do this\n")


def test_words_of_a_failed_step_are_no_commands_to_github(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise errors.BuildError("RUN make: exit code 1\n    ::error::forged")

    monkeypatch.setattr("builder.project.load_project", fail)
    for github, said in (("true", "    \\::error::forged"), ("", "    ::error::forged")):
        monkeypatch.setenv("GITHUB_ACTIONS", github)
        assert run("matrix")[2].splitlines()[1] == said


def test_interruption_has_its_code(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("builder.project.load_project", interrupt)
    code, out, err = run("matrix")
    assert (code, out) == (130, "")
    assert "interrupted" in err


def test_codes_of_real_failures_in_a_process_of_its_own(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    at = ("--project", demo.root)
    locked = spawn(*at, "lock", "--sources", demo.sources)
    assert (locked.returncode, locked.stdout) == (0, "")
    failures = {
        (*at, "build"): 2,
        (*at, "build", "--all", "--sources", "absent"): 3,
        (*at, "build", "--py", "3.9"): 4,
        (*at, "build", "--all"): 7,
    }
    for arguments, code in failures.items():
        done = spawn(*arguments)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert "Traceback" not in done.stderr
        assert done.stderr


def test_help_loads_nothing_heavy() -> None:
    script = f"""
import sys
from builder.cli import main
sys.argv = ["imgbuild", "build", "--help"]
try:
    main()
except SystemExit:
    pass
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "Usage: imgbuild build" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_tells_the_exit_codes(run: Run) -> None:
    _, out, _ = run("--help")
    for kind in CLASSES:
        assert f"{kind.exit_code} " in out.rpartition("Exit codes")[2]


@pytest.mark.parametrize(
    "arguments",
    [
        ("build", "--cud", "11.8"),
        ("build", "--all", "--stage"),
        ("build", "--all", "--insecure"),
        ("build", "--all", "--no-documents"),
        ("test", "--all", "--promote"),
        ("test", "--all", "--registry", "r.example/team", "--no-documents"),
        ("test", "--all", "--registry", "r.example/team", "--sign-key", "pyproject.toml"),
        ("nonsense",),
        ("render",),
        ("lock", "--progress", "loud"),
        (),
    ],
)
def test_wrong_usage_is_2(arguments: tuple[str, ...], run: Run) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert "Usage:" in err


def test_matrix_is_json_on_stdout(imgbuild: Run) -> None:
    code, out, err = imgbuild("matrix", "--json")
    assert (code, err) == (0, "")
    assert [cell["id"] for cell in json.loads(out)["cells"]] == ["demo-py3.10-cpu", "demo-py3.11-cpu"]


def test_matrix_is_a_table_for_people(imgbuild: Run) -> None:
    code, out, _ = imgbuild("matrix", "demo")
    assert code == 0
    assert "Python 3.11  no torch" in out
    assert imgbuild("matrix", "dmeo")[0] == 4


def test_lock_writes_the_lock_and_says_when_there_is_nothing_to_do(demo: Demo, imgbuild: Run) -> None:
    code, out, err = lock(imgbuild, demo)
    assert (code, out) == (0, "")
    assert "locked 2 cells" in err
    before = demo.lock.read_bytes()
    code, out, err = lock(imgbuild, demo)
    assert (code, out, err) == (0, "", "every lock is up to date\n")
    assert demo.lock.read_bytes() == before


def test_check_changes_nothing(demo: Demo, imgbuild: Run) -> None:
    code, out, err = imgbuild("lock", "--check")
    assert (code, out) == (5, "")
    assert "demo-py3.10-cpu is not in the lock" in err
    assert not demo.lock.exists()
    lock(imgbuild, demo)
    assert imgbuild("lock", "--check") == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "tool", "wheel"),
    [
        ((), "1.0", "1.0"),
        (("--upgrade",), "2.0", "2.0"),
        (("--upgrade", "some_tool"), "2.0", "1.0"),
        (("--upgrade", "Some-Tool"), "2.0", "1.0"),
        (("--upgrade", "wheely", "demo"), "1.0", "2.0"),
        (("--upgrade", "wheely", "--upgrade", "some_tool"), "2.0", "2.0"),
        (("demo", "--upgrade"), "2.0", "2.0"),
        (("--upgrade=wheely",), "1.0", "2.0"),
    ],
)
def test_upgrade_moves_what_it_names(
    arguments: tuple[str, ...], tool: str, wheel: str, demo: Demo, imgbuild: Run
) -> None:
    lock(imgbuild, demo)
    demo.offer("1.0", "2.0")
    code, _, err = lock(imgbuild, demo, *arguments)
    assert code == 0, err
    environment = read_lock(demo.lock).find("py310-cpu")
    assert environment
    found = {package.name: package.version for package in (*environment.conda, *environment.pip)}
    assert (found["some_tool"], found["wheely"]) == (tool, wheel)


def test_upgrade_of_what_no_lock_has_is_refused(demo: Demo, imgbuild: Run) -> None:
    lock(imgbuild, demo)
    code, _, err = lock(imgbuild, demo, "--upgrade", "some_tol")
    assert code == 2
    assert "no such package in these locks; did you mean some-tool?" in err
    assert lock(imgbuild, demo, "--upgrade", "--check")[0] == 2


def test_failures_of_solvers_tell_no_credentials(demo: Demo, imgbuild: Run) -> None:
    address = "http://user-1:s3cr3t-1@127.0.0.1:9/kit"
    demo.sources.write_text(f"conda: {{conda-forge: '{address}'}}\n")
    code, _, err = lock(imgbuild, demo)
    assert code == 6, err
    assert "s3cr3t-1" not in err
    assert "127.0.0.1:9" not in err


def test_render_prints_the_folders_that_it_wrote(demo: Demo, imgbuild: Run, tmp_path: Path) -> None:
    assert imgbuild("render", "--out", tmp_path / "out")[0] == 5
    lock(imgbuild, demo)
    code, out, _ = imgbuild("render", "--out", tmp_path / "out", "--py", "3.11")
    assert (code, out) == (0, f"{tmp_path}/out/demo-py3.11-cpu\n")
    assert (tmp_path / "out" / "demo-py3.11-cpu" / "Dockerfile").is_file()
    again = imgbuild("render", "--out", tmp_path / "out", "--py", "3.11")
    assert again[0] == 0


def test_locked_build_solves_nothing_and_says_so_before_it_asks_for_an_engine(
    imgbuild: Run, demo: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    code, out, _ = imgbuild("build", "--all", "--locked", "--sources", demo.sources)
    assert (code, out) == (5, "")
    assert not demo.lock.exists()
    lock(imgbuild, demo)
    assert imgbuild("build", "--all", "--locked", "--sources", demo.sources)[0] == 7


def test_indexes_on_this_disk_are_said_to_be_left_out(
    demo: Demo, imgbuild: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel, _, pip = demo.sources.read_text().partition("pip: {index-url: ")
    demo.sources.write_text(channel)
    monkeypatch.setenv("PIP_INDEX_URL", pip.strip("'}\n"))
    monkeypatch.setenv("PIP_FIND_LINKS", "/opt/wheels")
    code, _, err = lock(imgbuild, demo)
    assert code == 0
    assert "not used, a build cannot reach this machine's disk: /opt/wheels" in err
