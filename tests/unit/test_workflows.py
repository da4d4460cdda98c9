"""What GitHub is told to do: nothing that others can change, nothing that others can inject, no right too many."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.sigstore import WORKFLOW
from tests.workflow import EXPRESSION, GITHUB, Runner, read_jobs, with_programs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FILES = [*WORKFLOWS, *sorted((GITHUB / "actions").glob("*/action.yml"))]
IMAGES = read_jobs("images.yml")
SIGN_AS = "vars.IMGBUILD_SIGN_KEYLESS == 'true' && format('https://github.com/{0}', github.workflow_ref)"
"""Whose certificate Sigstore gives a job on GitHub (github.com/sigstore/fulcio, docs/oidc.md, "GitHub")."""


def steps(path: Path) -> Iterator[dict[str, Any]]:
    data = yaml.safe_load(path.read_text())
    for job in data["jobs"].values() if "jobs" in data else [data["runs"]]:
        yield from job["steps"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_actions_of_others_are_pinned_by_their_whole_commit(path: Path) -> None:
    used = re.findall(r"^ *-? *uses: (\S+)(.*)", path.read_text(), re.MULTILINE)
    assert len(used) == sum("uses" in step for step in steps(path))
    for action, comment in used:
        if not action.startswith("./"):
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action)
            assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment)


def test_libraries_of_others_are_pinned_by_their_hashes() -> None:
    """`make pins` writes them; a dependency that it has not seen would be installed by nobody."""
    project = tomllib.loads((GITHUB.parent / "pyproject.toml").read_text())
    wanted = [
        Requirement(text)
        for text in (
            *project["build-system"]["requires"],
            *project["project"]["dependencies"],
            *project["project"]["optional-dependencies"]["sign"],
            *project["project"]["optional-dependencies"]["sigstore"],
        )
    ]
    text = (GITHUB / "requirements.txt").read_text()
    pins = {
        found[1]: found for found in re.finditer(r"^([a-z0-9-]+)==(\S+)( ;.*)? \\\n((?:    --hash=.*\n)+)", text, re.M)
    }
    assert len(pins) == len(re.findall(r"^\S", text, re.M))
    for requirement in wanted:
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)][2]), requirement
    assert "://" not in text


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_value_becomes_text_of_a_script(path: Path) -> None:
    assert not [step["run"] for step in steps(path) if EXPRESSION.search(step.get("run", ""))]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_checkout_leaves_no_token_behind(path: Path) -> None:
    for step in steps(path):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_job_ends_by_itself(path: Path) -> None:
    data = yaml.safe_load(path.read_text())
    assert data["concurrency"]["group"]
    assert all(1 <= job["timeout-minutes"] <= 360 for job in data["jobs"].values())


def test_only_jobs_that_publish_or_promote_may_write_and_pull_requests_do_not_reach_it() -> None:
    assert yaml.safe_load((GITHUB / "workflows" / "images.yml").read_text())["permissions"] == {}
    writing = {name for name, job in IMAGES.items() if "write" in job["permissions"].values()}
    assert writing == {"publish", "gpu"}
    needed = {"contents": "read", "packages": "write", "id-token": "write"}
    assert all(IMAGES[name]["permissions"] == needed for name in writing)
    assert IMAGES["publish"]["if"] == "github.ref == 'refs/heads/main'", "nor does a branch, by hand"
    assert IMAGES["build"]["if"] == "github.ref != 'refs/heads/main'"
    assert [name for name, job in IMAGES.items() if "secrets." in str(job)] == ["publish", "gpu"]
    assert "publish" in IMAGES["gpu"]["needs"]
    assert not [name for name in ("plan", "build") if "--push" in str(IMAGES[name])]


def test_login_does_not_stay_on_a_machine_that_stays(tmp_path: Path) -> None:
    """Where one's own machine has the GPU; RUNNER_TEMP is emptied after each job (docs.github.com, "Variables")."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("docker", "imgbuild"):
        (programs / name).write_text('#!/bin/sh\ncat > /dev/null\necho "$DOCKER_CONFIG" >> "$HOME/asked"\n')
        (programs / name).chmod(0o755)
    values = dict.fromkeys(EXPRESSION.findall(str(IMAGES["gpu"])), "") | {"runner.temp": "/temp"}
    environment = {"PATH": with_programs(programs), "HOME": str(tmp_path)}
    done, _ = Runner(folder=tmp_path, scratch=tmp_path, environment=environment, values=values).run(IMAGES["gpu"])
    assert [step.returncode for step in done] == [0, 0], done[-1].stderr
    assert (tmp_path / "asked").read_text().splitlines() == ["/temp/docker"] * 2


@pytest.mark.parametrize("job", ["publish", "gpu"])
@pytest.mark.parametrize("key", ["", "-----BEGIN KEY-----\nAA==\n-----END KEY-----"])
@pytest.mark.parametrize("identity", ["", WORKFLOW])
def test_who_publishes_or_promotes_signs_with_a_key_or_as_the_workflow(
    tmp_path: Path, job: str, key: str, identity: str
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "docker").write_text("#!/bin/sh\ncat > /dev/null\n")
    (programs / "imgbuild").write_text('#!/bin/sh\necho "$@" > "$HOME/asked"\nexec cat /dev/stdin > "$HOME/given"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    values = dict.fromkeys(EXPRESSION.findall(str(IMAGES[job])), "") | {"secrets.IMGBUILD_SIGN_KEY": key}
    assert SIGN_AS in values
    values[SIGN_AS] = identity
    environment = {"PATH": with_programs(programs), "HOME": str(tmp_path)}
    done, _ = Runner(folder=tmp_path, scratch=tmp_path, environment=environment, values=values).run(IMAGES[job])
    assert not any(step.returncode for step in done), done[-1].stderr
    asked = (tmp_path / "asked").read_text()
    assert ("--sign-key /dev/stdin" in asked) is bool(key)
    assert asked.count(f"--sign-as {WORKFLOW}\n") == asked.count("--sign-as") == bool(identity)
    assert (tmp_path / "given").read_text() == key + "\n"
    (tmp_path / "given").unlink()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if b"AA==" in path.read_bytes()], "a machine that stays keeps no key"


def test_runner_that_fails_stops_no_other() -> None:
    shared = [job for job in IMAGES.values() if "strategy" in job]
    assert len(shared) == 3
    for job in shared:
        assert job["strategy"] == {"fail-fast": False, "matrix": "${{ fromJSON(needs.plan.outputs.runners) }}"}
    assert {"!cancelled()", "needs.publish.result != 'skipped'"} < set(IMAGES["gpu"]["if"].split(" && "))


@pytest.mark.parametrize(
    ("results", "code"),
    [
        (("success", "skipped", "success", "success"), 0),
        (("success", "success", "skipped", "skipped"), 0),
        (("success", "skipped", "failure", "success"), 1),
        (("success", "skipped", "success", "cancelled"), 1),
        (("failure", "skipped", "skipped", "skipped"), 1),
    ],
)
def test_summary_fails_when_a_job_did(tmp_path: Path, results: tuple[str, ...], code: int) -> None:
    names = ("plan", "build", "publish", "gpu")
    values = {f"needs.{name}.result": result for name, result in zip(names, results, strict=True)}
    runner = Runner(folder=tmp_path, scratch=tmp_path, environment={"PATH": "/usr/bin:/bin"}, values=values)
    (done,), _ = runner.run(IMAGES["summary"])
    assert (done.returncode, done.stderr) == (code, "")
    assert IMAGES["summary"]["needs"] == list(names)
    table = (tmp_path / "summary.md").read_text()
    assert all(f"| {result} |\n" in table for result in results)
