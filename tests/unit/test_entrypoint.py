"""What a container starts with, run by this machine's bash on a /proc and a /dev of the test's own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ENTRYPOINT = Path(__file__).parents[2] / "templates/image/etc/imgbuild/entrypoint"


def start(root: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Return what the entrypoint did with a command, on a machine whose /proc and /dev are in a folder."""
    text = ENTRYPOINT.read_text()
    for folder in ("/proc/", "/dev/nvidia", "/dev/dxg"):
        assert f" {folder}" in text
        text = text.replace(f" {folder}", f" {root}{folder}")
    script = root / "entrypoint"
    script.write_text(text)
    env = {"PATH": "/usr/bin:/bin", "HOME": str(root), "CONDA_PREFIX": str(root), "USER": "user"} | variables
    return subprocess.run(["bash", str(script), *command], capture_output=True, text=True, env=env)


def add_driver(root: Path, version: str) -> None:
    path = root / "proc/driver/nvidia/version"
    path.parent.mkdir(parents=True)
    path.write_text(f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}  Sun May 12 19:39:15 UTC 2024\n")


def add_gpu(root: Path) -> None:
    (root / "dev").mkdir()
    (root / "dev/nvidiactl").touch()


def test_home_that_can_be_written_stays(tmp_path: Path) -> None:
    assert start(tmp_path, "sh", "-c", 'echo "$HOME"').stdout == f"{tmp_path}\n"


def test_home_that_cannot_be_written_is_a_new_folder(tmp_path: Path) -> None:
    done = start(tmp_path, "sh", "-c", 'echo "$HOME"', HOME="/nowhere", TMPDIR=str(tmp_path))
    assert Path(done.stdout.strip()).parent == tmp_path


def test_home_stays_where_nothing_can_be_written(tmp_path: Path) -> None:
    done = start(tmp_path, "sh", "-c", 'echo "$HOME"', HOME="/nowhere", TMPDIR="/nowhere")
    assert (done.stdout, done.stderr) == ("/nowhere\n", "")


@pytest.mark.parametrize("command", ["-c", "-l", "--version"])
def test_command_that_begins_with_a_dash_is_no_option_of_the_shell(command: str, tmp_path: Path) -> None:
    done = start(tmp_path, command, "env")
    assert done.returncode == 127
    assert f"{command}: not found" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("driver", "least", "words"),
    [
        ("525.60.13", "525.60.13", ""),
        ("525.60.11", "525.60.13", "driver 525.60.11 is older than CUDA 12.6 needs (525.60.13)"),
        ("470.256.02", "525.60.13", "driver 470.256.02 is older"),
        ("1000.1.1", "525.60.13", ""),
        ("470.256.02", "", ""),
    ],
)
@pytest.mark.parametrize("visible", ["all", "void"])  # void is what a CDI device sets
def test_driver_is_compared_as_a_whole(driver: str, least: str, words: str, visible: str, tmp_path: Path) -> None:
    add_driver(tmp_path, driver)
    add_gpu(tmp_path)
    variables = {"IMGBUILD_CUDA": "12.6", "NVIDIA_VISIBLE_DEVICES": visible}
    done = start(tmp_path, "true", **variables, **({"IMGBUILD_DRIVER": least} if least else {}))
    assert done.returncode == 0
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == bool(words)


def test_line_says_nothing_of_a_driver_that_nobody_knows(tmp_path: Path) -> None:
    done = start(tmp_path, "true", IMGBUILD_CUDA="13.9")
    assert "use a machine with an NVIDIA driver, and --gpus all" in done.stderr
    done = start(tmp_path, "true", IMGBUILD_CUDA="12.6", IMGBUILD_DRIVER="525.60.13")
    assert "use a machine with an NVIDIA driver of 525.60.13 or newer, and --gpus all" in done.stderr


def test_void_asks_for_no_gpu(tmp_path: Path) -> None:
    add_driver(tmp_path, "550.54.15")
    assert start(tmp_path, "true", IMGBUILD_CUDA="12.6", NVIDIA_VISIBLE_DEVICES="void").stderr == ""


def add_script(root: Path, text: str, name: str = "one.sh") -> None:
    folder = root / "etc/conda/activate.d"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def test_variables_of_the_user_stay(tmp_path: Path) -> None:
    add_script(tmp_path, "export ACTIVE=$#")
    variables = {"script": "train.py", "found": "x", "IMGBUILD_CUDA": "12.6", "NVIDIA_VISIBLE_DEVICES": "void"}
    done = start(tmp_path, "sh", "-c", 'echo "$script $found $ACTIVE"', **variables)
    assert (done.stdout, done.stderr) == ("train.py x 0\n", "")


@pytest.mark.parametrize("text", ["set -- other words", "shift $#", "set -e; false", "set -eu", "set -f", "return 1"])
def test_script_of_a_package_changes_neither_the_command_nor_the_shell(text: str, tmp_path: Path) -> None:
    add_script(tmp_path, text)
    add_script(tmp_path, "[ -z ] || false; echo ${unset}; export ACTIVE=yes", "two.sh")
    done = start(tmp_path, "sh", "-c", 'echo "$1 $ACTIVE"', "sh", "a  b", IMGBUILD_CUDA="12.6")
    assert done.stdout == "\na  b yes\n"
    assert done.returncode == 0
    assert len(done.stderr.splitlines()) == 1
