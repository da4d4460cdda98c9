"""The scripts of a step, as far as they can be run outside one: templates/host."""

from __future__ import annotations

import errno
import os
import shutil
import struct
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.unit.host_scripts import HOST, load

neutral = load("neutral")
capabilities = load("capabilities")


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
