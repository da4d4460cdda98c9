"""A workflow of this project as GitHub reads it, and its steps run as a runner runs them: bash, files, variables."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

GITHUB = Path(__file__).parents[1] / ".github"
EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")


def read_jobs(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((GITHUB / "workflows" / name).read_text())["jobs"])


def read_steps(action: str) -> dict[str, Any]:
    """Return the steps of an action of this project by their names."""
    found = yaml.safe_load((GITHUB / "actions" / action / "action.yml").read_text())["runs"]["steps"]
    return {step["name"]: step for step in found}


@dataclass(kw_only=True)
class Runner:
    """A runner that has done its `uses` steps: a folder, an environment, and what GitHub's expressions are worth."""

    folder: Path
    scratch: Path
    environment: Mapping[str, str]
    values: Mapping[str, str]

    def run(self, job: Mapping[str, Any]) -> tuple[list[subprocess.CompletedProcess[str]], dict[str, str]]:
        """Run the steps of a job up to the first that fails; return how they ended, and the outputs that they set."""
        output = self.scratch / "output"
        output.write_text("")
        ended = []
        for step in job["steps"]:
            if "run" not in step:
                continue
            given = {**job.get("env", {}), **step.get("env", {})}
            ended.append(
                subprocess.run(
                    # docs.github.com, "Workflow syntax": what `shell: bash` is.
                    ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
                    cwd=self.folder,
                    env=self.environment
                    | {key: self.evaluate(value) for key, value in given.items()}
                    | {
                        "GITHUB_ACTIONS": "true",
                        "GITHUB_OUTPUT": str(output),
                        "GITHUB_PATH": str(self.scratch / "path"),
                        "GITHUB_STEP_SUMMARY": str(self.scratch / "summary.md"),
                        "RUNNER_TEMP": str(self.scratch),
                    },
                    capture_output=True,
                    text=True,
                    check=False,
                )
            )
            if ended[-1].returncode:
                break
        return ended, dict(line.split("=", 1) for line in output.read_text().splitlines())

    def evaluate(self, text: str) -> str:
        """Return a text with the values of its expressions; KeyError for one that the test does not know."""
        values = {"runner.temp": str(self.scratch), **self.values}
        return EXPRESSION.sub(lambda found: values[found[1]], text)


def with_programs(folder: Path) -> str:
    """Return a PATH on which the programs of a folder come first."""
    return f"{folder}{os.pathsep}{os.environ['PATH']}"
