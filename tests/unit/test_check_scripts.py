"""What the check scripts find, as far as it can be shown outside an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType


@pytest.mark.parametrize(
    ("compiled", "arch", "covered"),
    [
        ("sm_80 sm_90", "sm_80", True),
        ("sm_80 sm_90", "sm_86", True),
        ("sm_80 sm_90", "sm_75", False),
        ("sm_80 sm_90", "sm_120", False),
        ("sm_80 compute_90", "sm_120", True),
        ("sm_86", "sm_80", False),
        ("sm_90a", "sm_90", True),
        ("sm_90a", "sm_95", False),
        ("compute_90a", "sm_90", True),
        ("compute_90a", "sm_100", False),
        ("sm_100f", "sm_103", True),
        ("sm_100f", "sm_120", False),
        ("compute_100f", "sm_120", False),
        ("compute_90", "sm_90", True),
        ("", "sm_80", False),
    ],
)
def test_kernels_serve_their_major_version_and_ptx_what_is_newer(
    compiled: str, arch: str, *, covered: bool, scripts: dict[str, ModuleType]
) -> None:
    assert scripts["torch_build"].covers(compiled.split(), arch) is covered


@pytest.mark.parametrize(
    ("result", "newest", "words"),
    [
        (803, 12020, "kernel module differ"),
        (100, 12020, "sees no device"),
        (35, 11040, "runs CUDA up to 11.4, torch needs CUDA 12.6"),
        (999, 12080, "nvidia_uvm"),
        (719, 12080, "answers cuInit with 719"),
    ],
)
def test_driver_that_does_not_start_is_explained(
    result: int, newest: int, words: str, scripts: dict[str, ModuleType]
) -> None:
    assert words in scripts["diagnosis"].explain_driver(result, newest, "12.6")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (".netrc", "machine a login b password c"),
        ("notes.txt", "-----BEGIN OPENSSH PRIVATE KEY-----"),
        ("pip.conf", "[global]\nindex-url = https://user:hunter2@pypi.example/simple"),
        (".docker/config.json", "{}"),
        ("x", "hf_" + "a" * 34),
    ],
)
def test_logins_are_secrets(name: str, text: str, tmp_path: Path, scripts: dict[str, ModuleType]) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    assert scripts["leftovers"].is_secret(str(path))


@pytest.mark.parametrize(
    ("name", "text"),
    [("pip.conf", "index-url = https://pypi.example/simple"), ("x", "git@example.org:a/b"), (".netrc", "")],
)
def test_addresses_without_a_login_are_none(
    name: str, text: str, tmp_path: Path, scripts: dict[str, ModuleType]
) -> None:
    (tmp_path / name).write_text(text)
    assert not scripts["leftovers"].is_secret(str(tmp_path / name))


def test_setuid_files_and_size_are_found(
    tmp_path: Path, scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    leftovers, failed = scripts["leftovers"], scripts["verdict"].Failed
    for name, mode in (("good", 0o755), ("bad", 0o4755)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "plain").write_bytes(b"x" * 100_000)
        (tmp_path / name / "plain").chmod(mode)
    monkeypatch.setattr(leftovers, "ROOT", str(tmp_path / "good"))
    assert leftovers.no_setuid({}) == "none"
    assert leftovers.size({"max-size": 1_000_000})
    with pytest.raises(failed, match=r"GB unpacked, the definition allows 0\.00 GB"):
        leftovers.size({"max-size": 10_000})
    monkeypatch.setattr(leftovers, "ROOT", str(tmp_path / "bad"))
    with pytest.raises(failed, match=r"1 setuid or setgid files: .*plain"):
        leftovers.no_setuid({})


@pytest.mark.parametrize(
    ("path", "module"),
    [
        ("six.py", "six"),
        ("numpy/__init__.py", "numpy"),
        ("numpy/linalg/__init__.py", None),
        ("_cffi_backend.cpython-311-x86_64-linux-gnu.so", None),
        ("yaml-6.0.dist-info/METADATA", None),
        ("../../../bin/tqdm", None),
    ],
)
def test_modules_are_those_at_the_top(path: str, module: str | None, scripts: dict[str, ModuleType]) -> None:
    assert scripts["packages"].find_module(path) == module


@pytest.fixture
def user_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What the check of the command expects, of an environment that is whole and a user who has a home."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text("")
    (tmp_path / "bin" / "python").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr("site.getusersitepackages", lambda: str(tmp_path / "home" / "site-packages"))
    return {"prefix": str(tmp_path), "command": ["python"]}


def test_command_of_the_image_is_looked_for(user_python: dict[str, object], scripts: dict[str, ModuleType]) -> None:
    assert scripts["packages"].command(user_python)
    with pytest.raises(scripts["verdict"].Failed, match="the image's command is not in PATH: jupyter"):
        scripts["packages"].command(user_python | {"command": ["jupyter", "lab"]})


def test_site_of_the_user_is_empty(
    user_python: dict[str, object], tmp_path: Path, scripts: dict[str, ModuleType]
) -> None:
    folder = tmp_path / "home" / "site-packages"
    folder.mkdir(parents=True)
    assert scripts["packages"].command(user_python)
    (folder / "yaml").mkdir()
    with pytest.raises(scripts["verdict"].Failed, match="home/site-packages has modules that are imported before"):
        scripts["packages"].command(user_python)
