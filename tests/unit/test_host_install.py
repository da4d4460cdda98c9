"""The installer of conda packages that a step runs, templates/host/install.py, against a channel on loopback."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import threading
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.host_scripts import HOST, load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

install = load("install")


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


def make_package(path: Path, name: str, changed: Mapping[str, str | None] | None = None) -> str:
    """Write a conda package with one file, and return its line of an @EXPLICIT list without the place.

    `changed` is what else its files have; those with None are not in it.
    """
    text = f"I am {name}\n".encode()
    digest = hashlib.sha256(text).hexdigest()
    told = {"_path": f"share/{name}", "path_type": "hardlink", "sha256": digest, "size_in_bytes": len(text)}
    index = {"name": name, "version": "1", "build": "0", "build_number": 0, "depends": [], "subdir": "noarch"}
    files: dict[str, str | None] = {
        "info/index.json": json.dumps(index),
        "info/paths.json": json.dumps({"paths_version": 1, "paths": [told]}),
        f"share/{name}": text.decode(),
    }
    with tarfile.open(path / f"{name}-1-0.tar.bz2", "w:bz2") as archive:
        for member, content in (files | dict(changed or {})).items():
            if content is None:
                continue
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


def lose(*names: str) -> Callable[[Path, Path], None]:
    """Return what removes these files of an unpacked package."""

    def spoil(unpacked: Path, _: Path) -> None:
        for name in names:
            (unpacked / name).unlink()

    return spoil


def cut(name: str, data: bytes) -> Callable[[Path, Path], None]:
    """Return what leaves this of an unpacked file."""

    def spoil(unpacked: Path, _: Path) -> None:
        (unpacked / name).write_bytes(data)

    return spoil


def forget(_: Path, folder: Path) -> None:
    """Leave a record that nobody wrote."""
    (folder / "record.json").write_text("{}")


def tear(name: str) -> Callable[[Path, Path], None]:
    """Return what empties a file of a package's own folder, as a loss of power may, and removes the unpacked one."""

    def spoil(unpacked: Path, folder: Path) -> None:
        shutil.rmtree(unpacked)
        (folder / name).write_bytes(b"")

    return spoil


def age(unpacked: Path, folder: Path) -> None:
    """Leave what versions before the record left: an archive, and files beside it."""
    shutil.rmtree(unpacked)
    (folder / "record.json").rename(folder / "index.json")
    (folder / "one-1-0.tar.bz2").write_bytes(b"older")


@pytest.mark.parametrize(
    "spoil",
    [
        lose("share/one"),
        lose("info/index.json"),
        lose("info/paths.json"),
        lose("info/index.json", "info/paths.json", "share/one"),
        cut("share/one", b""),
        cut("info/paths.json", b"{}"),
        forget,
        tear("record.json"),
        tear("one-1-0.tar.bz2"),
        age,
    ],
)
def test_what_a_cache_has_lost_is_had_anew(
    channel: Channel, tmp_path: Path, spoil: Callable[[Path, Path], None]
) -> None:
    lines = "\n".join(f"{channel.url}/{make_package(channel.folder, name)}" for name in ("one", "two"))
    packages, cache = install.parse_explicit(f"@EXPLICIT\n{lines}\n"), tmp_path / "cache"
    asyncio.run(install.install_packages(packages, tmp_path / "first", cache))
    (unpacked,) = cache.glob("one-1-0*/")
    spoil(unpacked, cache / "packages" / packages[0].digest)
    for prefix in (tmp_path / "second", tmp_path / "third"):
        asyncio.run(install.install_packages(packages, prefix, cache))
        for name in ("one", "two"):
            assert (prefix / "share" / name).read_text() == f"I am {name}\n"
            assert json.loads((prefix / "conda-meta" / f"{name}-1-0.json").read_text())["url"].startswith(channel.url)
    assert sorted(channel.asked) == [*["/noarch/one-1-0.tar.bz2"] * 2, "/noarch/two-1-0.tar.bz2"]
    assert not list(cache.rglob("*.tar.bz2"))


def test_package_that_lists_what_it_lacks_fails_each_time(channel: Channel, tmp_path: Path) -> None:
    line = make_package(channel.folder, "one", {"share/one": None})
    packages = install.parse_explicit(f"@EXPLICIT\n{channel.url}/{line}\n")
    for asked in (1, 2):
        with pytest.raises(Exception, match="share/one"):
            asyncio.run(install.install_packages(packages, tmp_path / "prefix", tmp_path / "cache"))
        assert len(channel.asked) == asked


def test_steps_at_the_same_time_download_a_package_once(channel: Channel, tmp_path: Path) -> None:
    packages = install.parse_explicit(f"@EXPLICIT\n{channel.url}/{make_package(channel.folder, 'one')}\n")

    async def install_all(name: str) -> None:
        prefixes = (tmp_path / f"{name}-{number}" for number in range(4))
        await asyncio.gather(*(install.install_packages(packages, it, tmp_path / "cache") for it in prefixes))

    for asked, name in enumerate(("new", "damaged"), start=1):
        asyncio.run(install_all(name))
        assert len(list(tmp_path.glob(f"{name}-*/share/one"))) == 4
        assert len(channel.asked) == asked
        (unpacked,) = (tmp_path / "cache").glob("one-1-0*/")
        (unpacked / "share" / "one").unlink()


def test_package_of_the_older_form_is_kept_unpacked_too(channel: Channel, tmp_path: Path) -> None:
    line = make_package(channel.folder, "one", {"info/paths.json": None, "info/files": "share/one\n"})
    packages = install.parse_explicit(f"@EXPLICIT\n{channel.url}/{line}\n")
    for prefix in (tmp_path / "first", tmp_path / "second"):
        asyncio.run(install.install_packages(packages, prefix, tmp_path / "cache"))
        assert (prefix / "share" / "one").exists()
    assert len(channel.asked) == 1


def test_what_killed_steps_left_goes(channel: Channel, tmp_path: Path) -> None:
    packages = install.parse_explicit(f"@EXPLICIT\n{channel.url}/{make_package(channel.folder, 'one')}\n")
    there = install.Download(packages[0], tmp_path / "cache")
    half = there.unpacked.with_name(f".{there.unpacked.name}x7Yz")
    half.mkdir(parents=True)
    there.folder.mkdir(parents=True)
    (there.folder / "part-one-1-0.tar.bz2").write_bytes(b"half of it")
    asyncio.run(install.install_packages(packages, tmp_path / "prefix", tmp_path / "cache"))
    assert there.unpacked.exists()
    assert not half.exists()
    assert sorted(path.name for path in there.folder.iterdir()) == ["lock", "record.json"]


def test_archive_with_another_hash_is_refused_and_does_not_stay(channel: Channel, tmp_path: Path) -> None:
    make_package(channel.folder, "one")
    packages = install.parse_explicit(f"@EXPLICIT\n{channel.url}/one-1-0.tar.bz2#{'0' * 32}\n")
    with pytest.raises(install.InstallError, match=f"one-1-0.tar.bz2 does not have the md5 {'0' * 32}"):
        asyncio.run(install.install_packages(packages, tmp_path / "prefix", tmp_path / "cache"))
    assert [path.name for path in tmp_path.glob("cache/packages/*/*")] == ["lock"]


def test_archive_whose_description_cannot_be_read_is_refused(channel: Channel, tmp_path: Path) -> None:
    line = make_package(channel.folder, "one", {"info/index.json": "[]"})
    packages = install.parse_explicit(f"@EXPLICIT\n{channel.url}/{line}\n")
    with pytest.raises(install.InstallError, match=f"^{channel.url}/one-1-0.tar.bz2: "):
        asyncio.run(install.install_packages(packages, tmp_path / "prefix", tmp_path / "cache"))


def test_archive_stays_while_it_is_not_unpacked(channel: Channel, tmp_path: Path) -> None:
    packages = install.parse_explicit(f"@EXPLICIT\n{channel.url}/{make_package(channel.folder, 'one')}\n")
    cache = tmp_path / "cache"
    asyncio.run(install.install_packages(packages, tmp_path / "first", cache))
    (unpacked,) = cache.glob("one-1-0*/")
    shutil.rmtree(unpacked)
    for _ in range(2):
        asyncio.run(install.install_packages(packages, tmp_path / "first", cache))
    assert len(channel.asked) == 2, "the prefix has the package, so rattler unpacked nothing"
    asyncio.run(install.install_packages(packages, tmp_path / "second", cache))
    assert (tmp_path / "second" / "share" / "one").exists()
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
