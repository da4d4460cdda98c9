"""What unit tests share: a wheel index and a conda channel, made in the test and served here; scripts of checks."""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import builder.checks
from builder import cli
from builder.registry import transport
from builder.registry.place import Place
from builder.registry.writing import Writer
from tests.registry import FakeRegistry, run_fake
from tests.samples import digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from tests.conftest import Server

Serve = Callable[..., "Server"]
"""The fixture `serve`."""

Run = Callable[..., tuple[int, str, str]]
"""The fixtures `run` and `imgbuild`."""


class Index:
    """A PEP 503 index in a folder: `add` puts a file there and lists it, its name decides what it is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def add(self, file: str, *requires: str, under: str = "simple", files: str = "files") -> str:
        """Return the sha256 of the wheel or source archive that was added."""
        name, version = file.split("-")[:2]
        project = name.replace("_", "-").lower()
        path = self.folder / files / file
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_wheel(path, name, version.removesuffix(".tar.gz"), requires)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        page = self.folder / under / project / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        up = "../" * len(page.relative_to(self.folder).parent.parts)
        link = f'<a href="{up}{files}/{file}#sha256={sha256}">{file}</a>\n'
        page.write_text((page.read_text() if page.exists() else "") + link)
        return sha256


def _write_wheel(path: Path, name: str, version: str, requires: Iterable[str]) -> None:
    info = f"{name}-{version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    metadata += [f"Requires-Dist: {item}" for item in requires]
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{info}/METADATA", "\n".join(metadata) + "\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with run_fake() as made:
        yield made


@pytest.fixture
def writer(fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> Iterator[Writer]:
    monkeypatch.setattr(transport, "_PAUSES", (0.01,) * 7)
    with Writer(Place(host=fake.address, url=f"http://{fake.address}"), lambda _: None) as made:
        yield made


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index(tmp_path / "index")


def write_channel(folder: Path, packages: Iterable[dict[str, Any]]) -> None:
    """Write the repodata of a conda channel that has these packages: name, version, build, depends, constrains."""
    found = {}
    for package in packages:
        build = package.get("build", "0")
        file = f"{package['name']}-{package['version']}-{build}.tar.bz2"
        hashes = {"md5": digest(file, "md5"), "sha256": digest(file)}
        found[file] = {"build": build, "build_number": 0, "depends": [], "size": 1, "subdir": "linux-64"} | hashes
        found[file] |= package
    for subdir, content in (("linux-64", found), ("noarch", {})):
        path = folder / subdir / "repodata.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        data = {"info": {"subdir": subdir}, "packages": content, "packages.conda": {}, "repodata_version": 1}
        path.write_text(json.dumps(data))


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """A project on disk with one image of two Pythons, and the sources file that serves what it asks for."""

    root: Path
    channel: Path
    index: Index
    sources: Path

    @property
    def definition(self) -> Path:
        return self.root / "images" / "demo" / "image.yaml"

    @property
    def lock(self) -> Path:
        return self.definition.with_name("imgbuild.lock")

    def offer(self, *versions: str) -> None:
        """Let the channel and the index have these versions of `some_tool` and `wheely`."""
        pythons = [{"name": "python", "version": version} for version in ("3.10.16", "3.11.9")]
        tools = [{"name": "some_tool", "version": version, "depends": ["python"]} for version in versions]
        pip = {"name": "pip", "version": "26.0", "depends": ["python"]}
        write_channel(self.channel, [*pythons, *tools, pip])
        for version in versions:
            self.index.add(f"wheely-{version}-py3-none-any.whl")


@pytest.fixture
def demo(bare_host: Path, index: Index, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Demo:
    monkeypatch.setenv("XDG_CACHE_HOME", str(bare_host / "cache"))
    url = serve(index.folder).url
    sources = tmp_path / "sources.yaml"
    sources.write_text(f"conda: {{conda-forge: '{url}/forge'}}\npip: {{index-url: '{url}/simple'}}\n")
    made = Demo(root=tmp_path / "project", channel=index.folder / "forge", index=index, sources=sources)
    made.definition.parent.mkdir(parents=True)
    made.definition.write_text(
        "name: demo\nbase: miniforge\nmatrix: {python: ['3.10', '3.11'], cuda: [cpu], torch: none}\n"
        "conda: [some_tool]\npip: [wheely]\n"
    )
    made.offer("1.0")
    return made


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs the command line in this process: exit code, stdout, stderr."""

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["imgbuild", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as leave:
            code = int(leave.code or 0)
        return (code, *capsys.readouterr())

    return call


@pytest.fixture
def imgbuild(demo: Demo, run: Run) -> Run:
    """Return a function that runs a command on the demo project."""
    return lambda command, *arguments: run("--project", demo.root, command, *arguments)


@pytest.fixture(scope="module")
def scripts() -> Iterator[dict[str, ModuleType]]:
    """The modules of `builder/checks/scripts` by name; they import each other as they do in a container."""
    folder = Path(builder.checks.__file__).parent / "scripts"
    names = sorted(path.stem for path in folder.glob("*.py"))
    sys.path.insert(0, str(folder))
    yield {name: importlib.import_module(name) for name in names}
    sys.path.remove(str(folder))
    for name in names:
        del sys.modules[name]
