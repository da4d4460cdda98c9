"""Real engine, real builds: a project of its own for each test, served by the kit, on each image store."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import docker
import pytest
import yaml

from tests.docker.served import run_registry
from tests.kit.__main__ import lock_kit
from tests.kit.base import import_base
from tests.kit.debian import install_packages
from tests.kit.engine import ensure_engine, find_engine
from tests.kit.errors import KitError
from tests.kit.workspace import Workspace, find_kit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.docker.served import Registry

IMGBUILD = Path(sys.executable).with_name("imgbuild")
CHANNEL = "https://conda.example.org/kit"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.docker)


@dataclass(kw_only=True)
class Lab:
    """A project folder, the engine that builds it, and the sources that serve it."""

    root: Path
    sources: Path
    url: str
    env: dict[str, str] = field(default_factory=dict)
    name: str = field(default_factory=lambda: f"lab-{secrets.token_hex(4)}")

    @cached_property
    def client(self) -> docker.DockerClient:
        return docker.DockerClient(base_url=self.url, version="auto")

    @property
    def ref(self) -> str:
        return f"{self.name}:cpu-py311"

    @property
    def folder(self) -> Path:
        return self.root / "images" / self.name

    def define(self, **changes: object) -> None:
        """Write images/NAME/image.yaml: one small cell without torch, with the changes."""
        image = {
            "name": self.name,
            "base": "kit",
            "channels": [CHANNEL],
            "matrix": {"python": ["3.11"], "cuda": ["cpu"], "torch": "none"},
            "conda": ["six"],
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "image.yaml").write_text(yaml.safe_dump(image | changes, sort_keys=False))

    def add_step(self, command: str, *, first: bool = False) -> None:
        """Give the project a Dockerfile template of its own: imgbuild's, with one more RUN, after the installation."""
        shipped = Path(__file__).parents[2] / "templates" / "Dockerfile.j2"
        folder = self.root / "templates"
        folder.mkdir(exist_ok=True)
        marker = "\nFROM ${BASE}\nUSER 0\n" if first else "WORKDIR /workspace\n"
        text = shipped.read_text()
        assert text.count(marker) == 1
        (folder / "Dockerfile.j2").write_text(text.replace(marker, f"{marker}RUN {command}\n"))

    def command(self, *arguments: str) -> list[str]:
        return [str(IMGBUILD), "--project", str(self.root), *arguments]

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"DOCKER_HOST": self.url, "IMGBUILD_SOURCES": str(self.sources)} | self.env

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, env=self.environment)

    def build(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("build", "--all", "--progress", "plain", *arguments)

    def shell(self, ref: str, script: str, **options: object) -> str:
        """Return what a shell script prints in a container of the image."""
        output = self.client.containers.run(
            ref, ["sh", "-c", script], entrypoint="", remove=True, network_mode="none", **options
        )
        return str(output.decode())


def give_up(reason: str) -> NoReturn:
    """Skip, or fail where IMGBUILD_REQUIRE_ENGINE says that an engine can be had."""
    if os.environ.get("IMGBUILD_REQUIRE_ENGINE"):
        pytest.fail(reason)
    pytest.skip(reason)


def require_programs(scratch: Path, *names: str) -> None:
    """Have programs on the PATH, each of Debian's package of that name; give up where they may not be installed."""
    missing = [name for name in names if shutil.which(name) is None]
    if not missing:
        return
    if not os.environ.get("IMGBUILD_REQUIRE_ENGINE"):
        give_up(f"not installed: apt-get install {' '.join(missing)}")
    root = find_kit()
    root.mkdir(parents=True, exist_ok=True)
    install_packages(Workspace(root=root, scratch=scratch, log=scratch / "apt.log"), missing)


@pytest.fixture(scope="session")
def kit() -> Path:
    """The kit's folder, when `python -m tests.kit up` has made it."""
    root = find_kit()
    sources = root / "sources.yaml"
    if not sources.is_file():
        give_up("the kit is not up: run `python -m tests.kit up`")
    if not find_engine(root, "default").answers():
        give_up("no container engine answers")
    return root


@contextlib.contextmanager
def open_lab(kit: Path, url: str, root: Path) -> Iterator[Lab]:
    """Yield a lab; the images that it tagged go away afterwards."""
    lab = Lab(root=root, sources=kit / "sources.yaml", url=url)
    lab.env["XDG_CACHE_HOME"] = str(kit / "cache")
    lab.root.mkdir(exist_ok=True)
    yield lab
    for image in lab.client.images.list(name=lab.name):
        lab.client.images.remove(image.id, force=True)
    lab.client.close()


@pytest.fixture
def make_lab(kit: Path, tmp_path: Path) -> Iterator[Callable[..., Lab]]:
    """Make labs in one project."""
    with contextlib.ExitStack() as labs:
        yield lambda url: labs.enter_context(open_lab(kit, url, tmp_path / "project"))


@pytest.fixture
def lab(kit: Path, make_lab: Callable[..., Lab]) -> Lab:
    """A lab on the machine's own engine."""
    return make_lab(find_engine(kit, "default").url)


@pytest.fixture
def second_engine(kit: Path) -> str:
    """The URL of the kit's second engine, which has the containerd image store."""
    try:
        with lock_kit(kit):  # another worker may want it, too
            engine = ensure_engine(kit, "containerd")
            import_base(engine, kit)
    except KitError as error:
        give_up(f"no second engine: {error}")
    return engine.url


@pytest.fixture(params=["machine", "containerd"])
def any_lab(request: pytest.FixtureRequest, kit: Path, make_lab: Callable[..., Lab]) -> Lab:
    """A lab on each engine: the machine's own, and the second with the containerd store."""
    if request.param == "machine":
        return make_lab(find_engine(kit, "default").url)
    return make_lab(request.getfixturevalue("second_engine"))


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """A real registry, without login and TLS."""
    require_programs(tmp_path, "docker-registry")
    with run_registry(tmp_path) as served:
        yield served
