"""The scripts of a step, as far as they can be run outside one: templates/host."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import sysconfig
import tarfile
import threading
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.host_scripts import HOST, load

if TYPE_CHECKING:
    from collections.abc import Iterator

install = load("install")
neutral = load("neutral")
capabilities = load("capabilities")


def test_explicit_list() -> None:
    md5, sha256 = "0" * 32, "A" * 64
    first, second = install.parse_explicit(
        f"# platform: linux-64\n@EXPLICIT\n\nhttps://c.example/a-1-0.conda#{md5}\n"
        f"https://c.example/b-1-0.tar.bz2#sha256:{sha256}\n"
    )
    assert (first.file_name, first.algorithm, first.digest) == ("a-1-0.conda", "md5", md5)
    assert (second.file_name, second.algorithm, second.digest) == ("b-1-0.tar.bz2", "sha256", sha256.lower())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "numpy\n",
        "@EXPLICIT\nhttps://c.example/a-1-0.conda\n",
        "@EXPLICIT\nhttps://c.example/a-1-0.conda#sha256:00\n",
        f"@EXPLICIT\nhttps://c.example/a-1-0.whl#{'0' * 32}\n",
        f"@EXPLICIT\nhttps://c.example/a-1-0.conda#sha1:{'0' * 32}\n",
    ],
)
def test_explicit_list_without_verifiable_packages_is_refused(text: str) -> None:
    with pytest.raises(install.InstallError):
        install.parse_explicit(text)


def test_a_failed_installation_is_told_in_one_line(tmp_path: Path) -> None:
    listing = tmp_path / "list"
    listing.write_text("numpy\n")
    argv = [sys.executable, HOST / "install.py", tmp_path / "prefix", listing, tmp_path / "cache"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "install.py: the file is not an @EXPLICIT list\n"


def make_package(path: Path, name: str) -> str:
    """Write a conda package with one file, and return its line of an @EXPLICIT list without the place."""
    text = f"I am {name}\n".encode()
    digest = hashlib.sha256(text).hexdigest()
    told = {"_path": f"share/{name}", "path_type": "hardlink", "sha256": digest, "size_in_bytes": len(text)}
    index = {"name": name, "version": "1", "build": "0", "build_number": 0, "depends": [], "subdir": "noarch"}
    files = {
        "info/index.json": json.dumps(index),
        "info/paths.json": json.dumps({"paths_version": 1, "paths": [told]}),
        f"share/{name}": text.decode(),
    }
    with tarfile.open(path / f"{name}-1-0.tar.bz2", "w:bz2") as archive:
        for member, content in files.items():
            info = tarfile.TarInfo(member)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content.encode()))
    data = (path / f"{name}-1-0.tar.bz2").read_bytes()
    return f"{name}-1-0.tar.bz2#sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class Channel:
    """A conda channel on loopback, and the paths that were asked of it."""

    folder: Path
    url: str
    asked: list[str]


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[Channel]:
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(tmp_path / "channel"))

        def log_request(self, *_: object) -> None:
            asked.append(self.path)

    folder = tmp_path / "channel" / "noarch"
    folder.mkdir(parents=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield Channel(folder, f"http://127.0.0.1:{server.server_port}/noarch", asked)
        server.shutdown()


def test_package_is_kept_unpacked_alone_and_downloaded_once(channel: Channel, tmp_path: Path) -> None:
    first, second, third, cache = (tmp_path / name for name in ("first", "second", "third", "cache"))
    packages = install.parse_explicit(f"@EXPLICIT\n{channel.url}/{make_package(channel.folder, 'one')}\n")
    for prefix in (first, second):
        asyncio.run(install.install_packages(packages, prefix, cache))
        assert not list(cache.rglob("*.tar.bz2"))
    assert len(channel.asked) == 1
    assert (second / "share" / "one").read_text() == "I am one\n"
    records = [(prefix / "conda-meta" / "one-1-0.json").read_text() for prefix in (first, second)]
    assert records[0].replace("first", "second") == records[1]
    assert json.loads(records[1])["url"] == packages[0].url
    (unpacked,) = cache.glob("one-1-0*/")
    shutil.rmtree(unpacked)
    asyncio.run(install.install_packages(packages, third, cache))
    assert (third / "share" / "one").exists()
    assert len(channel.asked) == 2


def test_package_that_cannot_be_had_is_named(channel: Channel, tmp_path: Path) -> None:
    packages = install.parse_explicit(f"@EXPLICIT\n{channel.url}/six-1-0.conda#{'0' * 32}\n")
    with pytest.raises(install.InstallError, match=f"^{channel.url}/six-1-0.conda: .*404"):
        asyncio.run(install.install_packages(packages, tmp_path / "prefix", tmp_path / "cache"))


def test_an_installation_ends_without_waiting_for_threads_of_rattler(tmp_path: Path) -> None:
    """They may abort a Python that takes itself down; that of a step does not, as no exit handler is run."""
    listing = tmp_path / "list"
    listing.write_text("@EXPLICIT\n")
    start = (
        f"import atexit, runpy; atexit.register(print, 'taken down'); runpy.run_path({str(HOST / 'install.py')!r}, "
    )
    argv = [sys.executable, "-c", f"{start}run_name='__main__')", tmp_path / "prefix", listing, tmp_path / "cache"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", ["end", "forget", "strip"])
def test_script_of_a_step_refuses_to_run_outside_one(name: str, tmp_path: Path) -> None:
    done = subprocess.run(["sh", HOST / name, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "build steps" in done.stderr


class Attributes:
    """Extended attributes of files, which only root may give: `given` are those of capabilities, by path."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **failures: int) -> None:
        self.given: set[str] = set()
        self.failures = failures
        monkeypatch.setattr("os.getxattr", self.get)
        monkeypatch.setattr("os.removexattr", self.remove)

    def get(self, path: str, attribute: str, *, follow_symlinks: bool) -> bytes:
        assert (attribute, follow_symlinks) == ("security.capability", False)
        if path not in self.given:
            raise OSError(self.failures.get("get", errno.ENODATA), "", path)
        return b"x"

    def remove(self, path: str, attribute: str, *, follow_symlinks: bool) -> None:
        assert (attribute, follow_symlinks) == ("security.capability", False)
        if "remove" in self.failures:
            raise OSError(self.failures["remove"], os.strerror(self.failures["remove"]), path)
        self.given.remove(path)


def test_capabilities_are_taken_from_files_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Attributes(monkeypatch)
    ping, plain, link = tmp_path / "bin" / "ping", tmp_path / "plain", tmp_path / "link"
    ping.parent.mkdir()
    ping.touch()
    plain.touch()
    link.symlink_to(ping)
    found.given = {str(ping), str(link), str(tmp_path / "bin")}
    assert capabilities.take_capabilities(str(tmp_path)) == [str(ping)]
    assert found.given == {str(link), str(tmp_path / "bin")}, "links and folders have none that count"


def test_file_system_without_attributes_has_no_capabilities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Attributes(monkeypatch, get=errno.EOPNOTSUPP)
    (tmp_path / "ping").touch()
    assert capabilities.take_capabilities(str(tmp_path)) == []


def test_capabilities_that_stay_fail_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ping"
    path.touch()
    Attributes(monkeypatch, remove=errno.EPERM).given = {str(path)}
    monkeypatch.setattr(sys, "argv", ["/host/capabilities.py", str(tmp_path)])
    with pytest.raises(SystemExit, match=f"{path}: its capabilities cannot be taken away: Operation not permitted"):
        capabilities.main()


def test_capabilities_that_cannot_be_read_fail_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Attributes(monkeypatch, get=errno.EACCES)
    (tmp_path / "ping").touch()
    with pytest.raises(PermissionError):
        capabilities.take_capabilities(str(tmp_path))


def test_folder_that_cannot_be_listed_fails_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    real = os.scandir

    def scan(path: str) -> object:
        if path == str(closed):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real(path)

    monkeypatch.setattr("os.scandir", scan)
    monkeypatch.setattr(sys, "argv", ["/host/capabilities.py", str(tmp_path)])
    with pytest.raises(SystemExit, match=f"{closed}: its capabilities cannot be taken away: Permission denied"):
        capabilities.main()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give capabilities")
def test_capabilities_of_real_files_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "ping"
    path.touch()
    # struct vfs_cap_data of linux/capability.h: revision 2, in effect from the start, CAP_NET_RAW (13).
    os.setxattr(path, "security.capability", struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0))
    assert capabilities.take_capabilities(str(tmp_path)) == [str(path)]
    assert os.listxattr(path) == []


def test_capabilities_of_this_machine_are_left_alone(tmp_path: Path) -> None:
    argv = [sys.executable, HOST / "capabilities.py", tmp_path]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "build steps" in done.stderr


def unpack(neutral_folder: Path, name: str, files: dict[str, str]) -> None:
    """Leave what an installer leaves of a wheel in the neutral folder."""
    metadata = f"{name.replace('-', '_')}-1.0.dist-info"
    files = {**files, f"{metadata}/METADATA": f"Name: {name}\n"}
    for path, text in files.items():
        (neutral_folder / path).parent.mkdir(parents=True, exist_ok=True)
        (neutral_folder / path).write_text(text)
    rows = [f"{path},," for path in [*files, f"{metadata}/RECORD"]]
    (neutral_folder / metadata / "RECORD").write_text("\n".join(rows) + "\n")


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    site = site_of(tmp_path)
    site.mkdir(parents=True)
    folder = tmp_path / "lib" / "neutral"
    unpack(folder, "nvidia-one", {"nvidia/__init__.py": "", "nvidia/one/lib/libone.so": "1"})
    unpack(folder, "nvidia-two", {"nvidia/__init__.py": "", "nvidia/two/lib/libtwo.so": "2", "extra/x.txt": "x"})
    unpack(folder, "nvidia-three", {"three/lib/libthree.so": "3"})
    return tmp_path


def site_of(prefix: Path) -> Path:
    return Path(sysconfig.get_path("platlib", vars={"base": str(prefix), "platbase": str(prefix)}))


def link_all(prefix: Path, *names: str) -> Path:
    listing = prefix / "neutral.txt"
    listing.write_text("--only-binary :all:\n" + "".join(f"{name}==1.0 --hash=sha256:00\n" for name in names))
    subprocess.run([sys.executable, "-sSB", HOST / "neutral.py", prefix, listing], check=True)
    return site_of(prefix)


def test_neutral_wheels_are_linked_and_their_metadata_copied(prefix: Path) -> None:
    site = link_all(prefix, "nvidia-one", "nvidia-two")
    assert (site / "nvidia").is_symlink()
    assert not Path((site / "nvidia").readlink()).is_absolute()
    assert (site / "nvidia" / "two" / "lib" / "libtwo.so").read_text() == "2"
    assert (site / "extra" / "x.txt").read_text() == "x"
    assert (site / "nvidia_one-1.0.dist-info" / "RECORD").is_file()
    assert not (site / "nvidia_one-1.0.dist-info").is_symlink()
    assert not (site / "three").exists()
    assert not (site / "nvidia_three-1.0.dist-info").exists()


def test_newer_neutral_wheel_takes_the_place_of_the_older(prefix: Path) -> None:
    link_all(prefix, "nvidia-one")
    folder = prefix / "lib" / "neutral"
    shutil.rmtree(folder / "nvidia_one-1.0.dist-info")
    unpack(folder, "nvidia-one", {"nvidia/__init__.py": "", "nvidia/one/lib/libone.so": "2"})
    metadata = (folder / "nvidia_one-1.0.dist-info").rename(folder / "nvidia_one-2.0.dist-info")
    (metadata / "RECORD").write_text((metadata / "RECORD").read_text().replace("-1.0.dist-info", "-2.0.dist-info"))
    site = link_all(prefix, "nvidia-one", "nvidia-two")
    assert sorted(path.name for path in site.glob("*.dist-info")) == [
        "nvidia_one-2.0.dist-info",
        "nvidia_two-1.0.dist-info",
    ]


def test_a_linked_folder_is_never_empty(prefix: Path) -> None:
    site = link_all(prefix, "nvidia-one", "nvidia-two")
    for folder in ("one", "two"):
        shutil.rmtree(site / "nvidia" / folder)
    (site / "nvidia" / "__init__.py").unlink()
    assert [path.name for path in (site / "nvidia").iterdir()] == [neutral.KEEPER]


def test_neutral_wheels_join_a_folder_that_is_there(prefix: Path) -> None:
    site = site_of(prefix)
    (site / "nvidia" / "own").mkdir(parents=True)
    link_all(prefix, "nvidia-one")
    assert not (site / "nvidia").is_symlink()
    assert (site / "nvidia" / "own").is_dir()
    assert (site / "nvidia" / "one" / "lib" / "libone.so").read_text() == "1"


def test_wheel_that_a_kept_index_page_does_not_know_is_looked_for_again(tmp_path: Path) -> None:
    begin = (HOST / "begin").read_text().replace("/cache", str(tmp_path)).replace("/dev/shm", str(tmp_path))
    (tmp_path / "begin").write_text(begin.replace(". /host/settings", f"PATH={tmp_path}:$PATH"))
    uv = tmp_path / "uv"
    uv.write_text('#!/bin/sh\necho "$@"\ncase "$*" in *--refresh*) ;; *) echo "no such version" >&2; exit 1;; esac\n')
    uv.chmod(0o755)
    done = subprocess.run(
        ["sh", "-euc", f". {tmp_path}/begin && uv_pip install --requirement pip.txt"], capture_output=True, text=True
    )
    assert done.stdout.splitlines() == [
        "pip install --requirement pip.txt --quiet",
        "pip install --requirement pip.txt --quiet --refresh",
    ]
    assert (done.returncode, done.stderr) == (0, "")
