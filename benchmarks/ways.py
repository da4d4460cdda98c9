"""The ways to build and push a matrix, each as the commands that a person would run."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.dockerfiles import Target, write_bake_file
from tests.kit.errors import KitError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

IMGBUILD = Path(sys.executable).with_name("imgbuild")
CHECKOUT = Path(__file__).parents[1]
"""What is measured, whatever else is installed beside the interpreter."""

JOBS = 2


def find_log(home: Path) -> Path:
    """Return where the commands of a way say what they do: beside its home, which is gone at the end."""
    return home.with_name(f"{home.name}.log")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Where a way works: a project with its lock, the same cells as Dockerfiles, an engine, a registry's address."""

    project: Path
    targets: tuple[Target, ...]
    engine: str
    registry: str
    home: Path

    @property
    def imgbuild(self) -> tuple[str | Path, ...]:
        """The imgbuild command, on this project."""
        return (IMGBUILD, "--project", self.project)

    def run(self, *argv: str | Path, merge: bool = False) -> str:
        """Return a command's stdout, with `merge` its stderr too; what is not returned goes to the log.

        Raises KitError when the command fails.
        """
        log = find_log(self.home)
        with log.open("ab") as output:
            errors = subprocess.STDOUT if merge else output
            done = subprocess.run(
                argv,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                check=False,
            )
            if done.returncode:
                output.write(done.stdout)
        if done.returncode:
            words = " ".join(map(str, argv))
            last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-3:]
            raise KitError(f"`{words}` failed with exit code {done.returncode}: {' | '.join(last)}", hint=f"see {log}")
        return done.stdout.decode(errors="replace")

    def _environment(self) -> Mapping[str, str]:
        own = {
            "DOCKER_HOST": self.engine,
            "BUILDX_CONFIG": str(self.home / "buildx"),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "PYTHONPATH": str(CHECKOUT),
            "IMGBUILD_SOURCES": str(self.project / "sources.yaml"),
        }
        return {key: value for key, value in os.environ.items() if key != "BUILDX_BUILDER"} | own


def build_with_docker(scene: Scene) -> None:
    """Build one image after the other with the docker command, then push them."""
    for target in scene.targets:
        ref = f"{scene.registry}/{target.image}"
        scene.run("docker", "buildx", "build", "--progress=plain", "--network=host", f"--tag={ref}", target.folder)
    for target in scene.targets:
        scene.run("docker", "push", f"{scene.registry}/{target.image}")


def build_with_bake(scene: Scene) -> None:
    """Build and push all images with one `docker buildx bake`, which runs them at the same time."""
    file = scene.home / "docker-bake.json"
    write_bake_file(file, scene.targets, scene.registry)
    allowed = ("--allow=network.host", f"--allow=fs.read={scene.home}")
    scene.run("docker", "buildx", "bake", "--progress=plain", *allowed, f"--file={file}", "--push")


def build_with_imgbuild(scene: Scene) -> None:
    """Plan, build, check and push all images with one `imgbuild build`."""
    scene.run(*scene.imgbuild, "build", "--all", f"--jobs={JOBS}", f"--push={scene.registry}")


WAYS: dict[str, Callable[[Scene], None]] = {
    "docker": build_with_docker,
    "bake": build_with_bake,
    "imgbuild": build_with_imgbuild,
}


def say(text: str) -> None:
    """Tell on stderr what is going on."""
    print(f"[benchmark] {text}", file=sys.stderr, flush=True)
