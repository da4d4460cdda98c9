"""A layer's bytes depend on its packages alone: on no clock, no engine, no layer below; and none is stale."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import re
import threading
import time
import zipfile
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.docker.bench import Bench, Layer, connect
from tests.docker.conftest import CHANNEL
from tests.kit.base import IMAGE
from tests.kit.conda_package import Package, write_package
from tests.kit.engine import find_engine
from tests.kit.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.docker.conftest import Lab

SITE = "/opt/env/lib/python3.11/site-packages"

# What is in an image is looked at by its own Python, without site: nothing may be written by looking.
STALE = """
import os, sys, importlib.util as u
roots = [sys.argv[1], *(e.path for e in os.scandir(sys.argv[1] + "/site-packages") if e.is_symlink())]
found = [(d, f) for root in roots for d, _, fs in os.walk(root) for f in fs]
for d, f in found:
    path = os.path.join(d, f)
    if f.endswith(".pyc"):
        assert os.path.exists(u.source_from_cache(path)), ("no source", path)
    if f.endswith(".py"):
        source = open(path, "rb").read()
        try: compile(source, path, "exec")
        except (SyntaxError, ValueError): continue
        head = open(u.cache_from_source(path), "rb").read(16)
        assert head == u.MAGIC_NUMBER + bytes((1, 0, 0, 0)) + u.source_hash(source), ("stale", path)
print(len(found))
"""


@pytest.fixture(scope="module")
def bench(kit: Path) -> Iterator[Bench]:
    bench = Bench(kit=kit)
    yield bench
    for url, image in bench.made:
        with connect(url) as client:
            client.images.remove(image, force=True)


@pytest.fixture(scope="module")
def machine(kit: Path) -> str:
    return find_engine(kit, "default").url


@pytest.fixture(scope="module")
def parts(kit: Path) -> Mapping[str, str]:
    """The kit's packages of Python 3.11 by name, as lines of an explicit list."""
    found = {}
    for subdir in ("linux-64", "noarch"):
        repodata = json.loads((kit / "channel" / "kit" / subdir / "repodata.json").read_text())
        for name, package in repodata["packages"].items():
            other = package["name"] == "python" and not package["version"].startswith("3.11.")
            if not other and not re.match(r"py3(?!11)", package["build"]):
                found[package["name"]] = f"{CHANNEL}/{subdir}/{name}#sha256:{package['sha256']}"
    return found


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name that it has there)
        """Say nothing of requests."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """Two releases of a package `piece`, as conda packages and wheels, and of a neutral wheel, served; list lines."""
    folder = tmp_path_factory.mktemp("shop")
    handler = partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    workspace = Workspace(root=folder, scratch=folder / "scratch", log=folder / "log")
    workspace.scratch.mkdir()
    lines = {"links": f"--find-links {address}/wheels/"}
    for version in ("1.0", "2.0"):
        # The two have modules of the same size, as releases may have; one module is gone in the second.
        modules = {"piece/__init__.py": f"version = '{version}'\n"} | (
            {"piece/old.py": ""} if version == "1.0" else {}
        )
        for name, text in modules.items():
            path = folder / version / "site-packages" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        package = Package(
            name="piece",
            version=version,
            license="MIT",
            depends=("python",),
            noarch="python",
            entry_points=("piece = piece:main",),
        )
        made = write_package(workspace, package, folder / version)
        digest = hashlib.sha256(made.read_bytes()).hexdigest()
        lines[f"conda {version}"] = f"{address}/{made.relative_to(folder)}#sha256:{digest}"
        wheel = write_wheel(folder / "wheels", "piece", version, "any", modules)
        lines[f"wheel {version}"] = f"piece=={version} --hash=sha256:{wheel}"
        library = {"nvidia/__init__.py": "", "nvidia/piece/__init__.py": "", f"nvidia/piece/lib/{version}.so": version}
        wheel = write_wheel(folder / "wheels", "nvidia_piece", version, "manylinux_2_17_x86_64", library)
        lines[f"neutral {version}"] = f"nvidia-piece=={version} --hash=sha256:{wheel}"
    script = folder / "scripted" / "bin" / ".scripted-post-link.sh"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\nmkdir -p /srv/of/scripts && echo 1 > /srv/of/scripts/told\n")
    script.chmod(0o755)
    made = write_package(workspace, Package(name="scripted", version="1.0", license="MIT"), folder / "scripted")
    digest = hashlib.sha256(made.read_bytes()).hexdigest()
    lines["with a script"] = f"{address}/{made.relative_to(folder)}#sha256:{digest}"
    yield lines
    server.shutdown()
    server.server_close()


def write_wheel(folder: Path, name: str, version: str, platform: str, files: Mapping[str, str]) -> str:
    """Write a wheel and return its hash."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-{platform}\n",
    }
    record = [f"{path},sha256={urlsafe(text)},{len(text)}" for path, text in files.items()] + [f"{info}/RECORD,,"]
    made = folder / f"{name}-{version}-py3-none-{platform}.whl"
    with zipfile.ZipFile(made, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": "\n".join(record) + "\n"}.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return hashlib.sha256(made.read_bytes()).hexdigest()


def urlsafe(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def explicit(how: str, *lines: str) -> Layer:
    return Layer(how=how, lines=("@EXPLICIT", *lines))


def python(how: str, parts: Mapping[str, str]) -> Layer:
    names = ("bzip2", "libffi", "openssl", "readline", "sqlite", "xz", "zlib", "libuuid", "ncurses", "python", "pip")
    return explicit(how, *(parts[name] for name in (*names, "setuptools")))


def piece(how: str, version: str, shop: Mapping[str, str]) -> tuple[Layer, ...]:
    """Return the layers that install a release of `piece`; as neutral wheels that is unpacked, then linked."""
    if how in {"rattler", "conda"}:
        return (explicit(how, shop[f"conda {version}"]),)
    if how == "neutral":
        wheel = shop[f"neutral {version}"]
        return Layer(how=how, lines=(shop["links"], wheel)), Layer(how="link", lines=(wheel,))
    return (Layer(how=how, lines=(shop["links"], shop[f"wheel {version}"])),)


def conda_of(how: str) -> str:
    """Return what installs conda packages where wheels, or conda packages, are installed so."""
    return "conda" if how in {"conda", "pip"} else "rattler"


@pytest.mark.parametrize(("how", "wheels"), [("rattler", "uv"), ("conda", "pip")])
def test_same_packages_same_bytes(
    how: str,
    wheels: str,
    bench: Bench,
    machine: str,
    second_engine: str,
    parts: Mapping[str, str],
    shop: Mapping[str, str],
) -> None:
    first = explicit(how, parts["ca-certificates"])
    others = (
        python(how, parts),
        explicit(how, parts["numpy"], parts["click"]),
        Layer(how=wheels, lines=(shop["links"], shop["wheel 1.0"])),
    )
    image = bench.build(machine, first, *others)
    everything = bench.layers(machine, image, 4)
    assert len(set(everything)) == 4
    elsewhere = bench.build(second_engine, first, *others)
    assert bench.layers(second_engine, elsewhere, 4) == everything
    alone = bench.build(machine, *others)
    assert bench.layers(machine, alone, 3) == everything[1:]


def test_images_of_both_stores_have_the_same_layers(
    make_lab: Callable[..., Lab], machine: str, second_engine: str
) -> None:
    layers = []
    for url in (machine, second_engine):
        lab = make_lab(url)
        lab.name = "lab-of-both-stores"
        lab.define(conda=["numpy"], pip=["click"])
        done = lab.build()
        assert done.returncode == 0, done.stderr
        base = lab.client.images.get(IMAGE).attrs["RootFS"]["Layers"]  # of each engine's own
        layers.append(lab.client.images.get(lab.ref).attrs["RootFS"]["Layers"][len(base) :])
        assert lab.shell(lab.ref, "find /opt/env /workspace /home/user ! -newermt 1979-12-31") == ""
        assert lab.shell(lab.ref, "find /opt/env /workspace /home/user -newermt 1980-01-01") == ""
    assert len(layers[0]) >= 4
    assert layers[0] == layers[1]


@pytest.mark.parametrize("how", ["rattler", "conda", "uv", "pip", "neutral"])
def test_a_layer_that_replaces_packages_has_the_same_bytes_at_another_time(
    how: str, bench: Bench, second_engine: str, parts: Mapping[str, str], shop: Mapping[str, str]
) -> None:
    layers = (python(conda_of(how), parts), *piece(how, "1.0", shop), *piece(how, "2.0", shop))
    built = []
    for _ in range(2):
        image = bench.build(second_engine, *layers)
        assert bench.shell(second_engine, image, "find /opt/env -name '*piece-1.0*'") == ""  # it is in a layer below
        built.append((time.time(), bench.layers(second_engine, image, len(layers))))
    (earlier, first), (later, second) = built
    assert later - earlier > 2  # a layer tells times in seconds
    assert first == second


@pytest.mark.parametrize("how", ["rattler", "conda", "uv", "pip"])
def test_a_newer_version_replaces_all_of_the_older(
    how: str, bench: Bench, machine: str, parts: Mapping[str, str], shop: Mapping[str, str]
) -> None:
    image = bench.build(machine, python(conda_of(how), parts), *piece(how, "1.0", shop), *piece(how, "2.0", shop))
    said = bench.shell(
        machine,
        image,
        f"cd {SITE}; find . /opt/env/conda-meta -path '*piece*'; "
        "/opt/env/bin/python -c 'import piece; print(piece.version)'",
    )
    assert "1.0" not in said
    assert "old" not in said
    assert "piece/__pycache__/__init__.cpython-311.pyc" in said
    assert said.splitlines()[-1] == "2.0"


@pytest.mark.parametrize("how", ["rattler", "conda"])
def test_nobody_but_root_may_change_a_program(
    how: str, bench: Bench, machine: str, parts: Mapping[str, str], shop: Mapping[str, str]
) -> None:
    image = bench.build(machine, python(how, parts), *piece(how, "1.0", shop))
    said = bench.shell(machine, image, "stat -c %a /opt/env/bin/piece; find /opt/env ! -type l -perm /022")
    assert said == "755\n"


@pytest.mark.parametrize("how", ["rattler", "conda"])
def test_what_the_script_of_a_package_writes_outside_has_the_time_of_all(
    how: str, bench: Bench, machine: str, parts: Mapping[str, str], shop: Mapping[str, str]
) -> None:
    image = bench.build(machine, python(how, parts), explicit(how, shop["with a script"]))
    assert bench.shell(machine, image, "stat -c %Y /srv/of/scripts /srv/of/scripts/told") == "315532800\n" * 2


@pytest.mark.parametrize("how", ["rattler", "conda"])
def test_no_bytecode_is_stale_and_imports_write_none(
    how: str, bench: Bench, machine: str, parts: Mapping[str, str]
) -> None:
    image = bench.build(machine, python(how, parts), explicit(how, parts["numpy"], parts["click"], parts["six"]))
    library = SITE.removesuffix("/site-packages")
    looked = bench.shell(machine, image, f"/opt/env/bin/python -sSB -W ignore -c '{STALE}' {library}")
    assert int(looked) > 1000
    written = bench.shell(
        machine,
        image,
        "touch -d '1 second ago' /tmp/before; "
        "/opt/env/bin/python -W ignore -c 'import asyncio, numpy.linalg, click, six, pip, unittest'; "
        "find /opt/env -newer /tmp/before",
    )
    assert written == ""


WHERE = """
import ast, importlib.util, marshal
made = open(importlib.util.cache_from_source(ast.__file__), "rb").read()
print(marshal.loads(made[16:]).co_filename, ast.parse.__code__.co_filename)
"""


@pytest.mark.parametrize("how", ["rattler", "conda"])
def test_bytecode_of_a_conda_package_is_kept(how: str, bench: Bench, machine: str, parts: Mapping[str, str]) -> None:
    image = bench.build(machine, python(how, parts))
    where = bench.shell(machine, image, f"/opt/env/bin/python -sSB -c '{WHERE}'")
    assert where.split() == ["lib/python3.11/ast.py", "/opt/env/lib/python3.11/ast.py"]


def test_bytecode_goes_with_its_conda_package(
    bench: Bench, machine: str, parts: Mapping[str, str], shop: Mapping[str, str]
) -> None:
    image = bench.build(machine, python("rattler", parts), explicit("rattler", shop["conda 1.0"]))
    record = json.loads(bench.shell(machine, image, "cat /opt/env/conda-meta/piece-1.0-*.json"))
    compiled = "lib/python3.11/site-packages/piece/__pycache__/__init__.cpython-311.pyc"
    assert compiled in record["files"]
    assert {"_path": compiled, "path_type": "pyc_file"} in record["paths_data"]["paths"]
    assert record["url"] == shop["conda 1.0"].partition("#")[0]
    assert record["depends"] == ["python"]


@pytest.mark.parametrize(
    "replace",
    [
        "pip install --quiet --no-index $links nvidia-piece==2.0",
        "pip install --quiet --no-index $links --force-reinstall nvidia-piece==2.0",
        "pip uninstall --quiet --yes nvidia-piece && pip install --quiet --no-index $links nvidia-piece==2.0",
    ],
)
def test_neutral_wheels_can_be_replaced(
    replace: str, bench: Bench, machine: str, parts: Mapping[str, str], shop: Mapping[str, str]
) -> None:
    image = bench.build(
        machine,
        Layer(how="neutral", lines=(shop["links"], shop["neutral 1.0"])),
        python("rattler", parts),
        Layer(how="link", lines=(shop["neutral 1.0"],)),
    )
    library = SITE.removesuffix("/site-packages")
    assert int(bench.shell(machine, image, f"/opt/env/bin/python -sSB -W ignore -c '{STALE}' {library}")) > 1000
    said = bench.shell(
        machine,
        image,
        "export PATH=/opt/env/bin:$PATH PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1; "
        f"links='{shop['links']}'; cd {SITE}; ls nvidia/piece/lib; pip check; {replace}; "
        "ls -A nvidia/piece/lib; pip check; ls -d nvidia_piece*; python -c 'import nvidia.piece'; readlink nvidia",
    )
    before, checked, after, again, metadata, link = said.splitlines()
    assert (before, after) == ("1.0.so", "2.0.so")
    assert checked == again == "No broken requirements found."
    assert metadata == "nvidia_piece-2.0.dist-info"
    assert link == "../../neutral/nvidia"
