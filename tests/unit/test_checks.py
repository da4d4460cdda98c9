"""The checks without an engine: how verdicts are read, and that the scripts can fail."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import defaultdict
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Literal, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

import builder.checks.container
import builder.checks.suites
from builder.checks import GpuUse, Verdict, read_verdicts, require_pass, run_checks
from builder.checks.container import GpuError
from builder.checks.suites import SUITES, Suite, digest_checks
from builder.errors import CheckError, EngineError
from tests.samples import make_definition

if TYPE_CHECKING:
    from collections.abc import Mapping

SCRIPTS = Path(builder.checks.__file__).parent / "scripts"
EXPECTED = {"prefix": "/elsewhere", "pkgs-dir": "/nowhere", "python": "3.0.0", "cuda": None, "torch": None}
EXPECTED |= {
    "command": ["python"],
    "arches": [],
    "requested": ["six"],
    "constraints": ["six==1"],
    "max-size": None,
    "gpu": "none",
    "no-gpu": "",
}


HARMLESS = [suite for suite in SUITES if suite.script != "leftovers.py"]
"""Those that do not look at all of this machine's disk."""


def run_script(script: Path, tmp_path: Path, env: Mapping[str, str] = {}) -> dict[str, Verdict]:
    """Return the verdicts of a script that this machine's Python runs."""
    expected = tmp_path / "expected.json"
    expected.write_text(json.dumps(EXPECTED | {"conda": [["six", "1", "0", "url"]], "pip": []}))
    command = [sys.executable, "-B", str(script), str(expected)]
    return read_verdicts(subprocess.run(command, capture_output=True, text=True, env=env).stdout)


def write_script(tmp_path: Path, body: str) -> Path:
    path = tmp_path / "script.py"
    path.write_text(f"import sys\nsys.path.insert(0, {str(SCRIPTS)!r})\nfrom verdict import *\n{body}\n")
    return path


@pytest.mark.parametrize("suite", HARMLESS, ids=lambda suite: suite.script)
def test_each_script_gives_the_verdicts_that_its_suite_promises(suite: Suite, tmp_path: Path) -> None:
    assert tuple(run_script(SCRIPTS / suite.script, tmp_path)) == suite.checks


@pytest.mark.parametrize("optimize", ["", "1", "2"])
def test_checks_fail_on_a_wrong_image_whatever_pythonoptimize_says(optimize: str, tmp_path: Path) -> None:
    env = {"PYTHONOPTIMIZE": optimize, "PATH": "/nowhere", "PIP_INDEX_URL": "https://pypi.example"}
    found = run_script(SCRIPTS / "packages.py", tmp_path, env)
    failed = {verdict.check for verdict in found.values() if verdict.verdict == "fail"}
    assert failed >= {"python", "command", "conda-packages", "pip-packages", "constraint"}


def test_passes_skips_failures_and_surprises_are_told_apart(tmp_path: Path) -> None:
    body = """
def good(expected): return "all"
def spared(expected): raise Skip("not here")
def bad_one(expected): raise Failed("wrong")
def broken(expected): return expected["absent"]
run_checks([good, spared, bad_one, broken])
"""
    found = run_script(write_script(tmp_path, body), tmp_path)
    assert found["good"] == Verdict(check="good", verdict="pass", detail="all")
    assert found["spared"] == Verdict(check="spared", verdict="skip", detail="not here")
    assert found["bad-one"] == Verdict(check="bad-one", verdict="fail", detail="wrong")
    assert found["broken"].verdict == "fail"
    assert "KeyError" in found["broken"].detail


def test_check_that_never_ends_is_ended_and_says_where_it_was(tmp_path: Path) -> None:
    body = """
import time, verdict
verdict.PATIENCE = 0.3
def good(expected): pass
def stuck(expected): time.sleep(600)
run_checks([good, stuck])
"""
    script, expected = write_script(tmp_path, body), tmp_path / "expected.json"
    expected.write_text("{}")
    done = subprocess.run([sys.executable, "-B", str(script), str(expected)], capture_output=True, text=True)
    assert done.returncode == 1
    assert list(read_verdicts(done.stdout)) == ["good"]
    assert " in stuck\n" in done.stderr


def test_what_leaves_the_script_is_a_failure(tmp_path: Path) -> None:
    found = run_script(write_script(tmp_path, "def leave(expected): sys.exit(0)\nrun_checks([leave])"), tmp_path)
    assert (found["leave"].verdict, "SystemExit" in found["leave"].detail) == ("fail", True)


def test_lines_that_are_no_verdicts_are_ignored(tmp_path: Path) -> None:
    body = 'sys.stdout.write("welcome")\nrun_checks([lambda expected: "x"])\nprint(1, [], "{", {}, sep="\\n")'
    assert list(run_script(write_script(tmp_path, body), tmp_path)) == ["<lambda>"]


@pytest.mark.parametrize(
    "line",
    [
        {"check": "a", "verdict": "passed", "detail": ""},
        {"check": "a", "verdict": "PASS", "detail": ""},
        {"check": "a", "verdict": ["pass"], "detail": ""},
        {"check": "a", "verdict": "pass", "detail": 3},
        {"check": "a", "verdict": "pass"},
        {"check": "a", "detail": ""},
    ],
)
def test_verdict_in_other_words_is_a_failure(line: dict[str, object]) -> None:
    (verdict,) = read_verdicts(json.dumps(line)).values()
    assert (verdict.check, verdict.verdict) == ("a", "fail")
    assert verdict.detail.startswith("no verdict: ")


def test_name_that_is_not_utf8_can_be_written() -> None:
    (verdict,) = read_verdicts('{"check": "a\\ud800", "verdict": "fail", "detail": "no file caf\\udce9"}').values()
    assert (verdict.check, verdict.detail) == ("a?", "no file caf?")


WORDS = st.sampled_from(["pass", "fail", "skip", "ok"])


@given(words=st.lists(WORDS, min_size=1, max_size=4))
def test_failure_is_not_taken_back_by_another_line(words: list[str]) -> None:
    lines = [json.dumps({"check": "a", "verdict": word, "detail": ""}) for word in words]
    failed = not {"fail", "ok"}.isdisjoint(words)
    assert (read_verdicts("\n".join(lines))["a"].verdict == "fail") is failed


def test_failed_checks_are_named() -> None:
    verdicts = (Verdict(check="a", verdict="pass", detail=""), Verdict(check="b", verdict="fail", detail="why"))
    require_pass(verdicts[:1], "cell")
    with pytest.raises(CheckError, match=r"cell: 1 of 2 checks failed: b\n  ✗ b: why"):
        require_pass(verdicts, "cell")


def test_a_new_suite_changes_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    definition = make_definition()
    before = digest_checks(definition)
    assert digest_checks(make_definition(max_size=9_000_000_000)) != before
    monkeypatch.setattr(builder.checks.suites, "SUITES", (*SUITES, Suite(script="leftovers.py")))
    assert digest_checks(definition) != before


@pytest.mark.parametrize(("state", "started"), [("gpus", 2), ("cdi", 2), ("none", 1), ("out of reach", 1)])
def test_container_that_gets_no_gpu_is_started_once_without(
    state: Literal["gpus", "cdi", "none", "out of reach"], started: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(*_: object, gpu: str) -> NoReturn:
        asked.append(gpu)
        raise GpuError("nvidia-container-cli: no")

    monkeypatch.setattr(builder.checks.container, "start_container", refuse)
    expected, gpu = {"prefix": "/opt/env", "cuda": "12.6"}, GpuUse(state=state)
    with pytest.raises(GpuError):
        run_checks("image", make_definition(), expected, gpu=gpu, cancelled=threading.Event())
    assert asked == [state, "out of reach"][:started]


OWN = "own_server.py"
TOGETHER = {"packages.py", "ownership.py", "torch_build.py"}


class Container:
    """One whose scripts pass, those of `TOGETHER` only once all have begun; it notes which run beside which."""

    def __init__(self) -> None:
        self.running: set[str] = set()
        self.beside: defaultdict[str, set[str]] = defaultdict(set)
        self.met = threading.Barrier(len(TOGETHER), timeout=120)

    def exec_run(self, command: list[str], **_: object) -> SimpleNamespace:
        name = next(Path(word).name for word in command if word.endswith(".py"))
        self.running.add(name)
        for other in self.running - {name}:
            self.beside[other].add(name)
            self.beside[name].add(other)
        if name in TOGETHER:
            self.met.wait()
        time.sleep(0.1)  # another may begin beside it
        self.running.remove(name)
        (suite,) = (it for it in (*SUITES, Suite(script=OWN, checks=("own",))) if it.script == name)
        lines = [json.dumps({"check": check, "verdict": "pass", "detail": ""}) for check in suite.checks]
        return SimpleNamespace(output=("\n".join(lines).encode(), b""), exit_code=0)


def test_scripts_run_side_by_side_but_for_those_that_others_would_disturb(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    container = Container()
    monkeypatch.setattr(builder.checks.container, "start_container", lambda *_, **__: nullcontext(container))
    (tmp_path / "server.py").touch()
    definition = make_definition(checks=(tmp_path / "server.py",))
    expected, gpu = {"prefix": "/opt/env", "cuda": None}, GpuUse(state="none")
    verdicts = run_checks("image", definition, expected, gpu=gpu, cancelled=threading.Event())
    assert [it.check for it in verdicts] == [*(check for suite in SUITES for check in suite.checks), "own"]
    assert container.beside["leftovers.py"] == container.beside[OWN] == set()


def test_engine_that_is_gone_is_an_engine_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    expected, image, gpu = {"prefix": "/opt/env", "cuda": None}, "sha256:" + "0" * 64, GpuUse(state="none")
    with pytest.raises(EngineError) as caught:
        run_checks(image, make_definition(), expected, gpu=gpu, cancelled=threading.Event())
    assert caught.value.hint
