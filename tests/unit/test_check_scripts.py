"""What the check scripts find, as far as it can be shown outside an image."""

from __future__ import annotations

import errno
import json
import py_compile
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType


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
        (".env", "OPENAI_API_KEY=sk-" + "a1" * 20),
        (".env", "KEY=sk-ant-api03-" + "a1" * 20),
        (".env", "DATABASE_URL=postgres://u:pw@db.example/x"),
        (".condarc", "channels: [https://conda.example/t/tk-1234-abcd/private]"),
        (".npmrc", "//npm.example/:_authToken=npm_" + "a1" * 18),
        (".npmrc", "//npm.example/:_authToken=0123abcd-89"),
        (".gitconfig", "url = https://0123456789abcdef0123@git.example/a/b"),
        (".kube/config", "apiVersion: v1"),
        (".pgpass", "db.example:5432:*:u:pw"),
        ("auth.conf", "machine index.example\n  login bob\n  password hunter2"),
        ("settings.py", "CACHE = 'redis://:hunter2@cache.example/0'"),
        (".condarc", "channel_alias: https://conda.example/t/tk-1234-abcd"),
        ("config", "aws_secret_access_key = " + "Ab1/" * 10),
        ("x", "ghs_" + "a1" * 18),
        ("config", "[http]\n\textraheader = AUTHORIZATION: basic eC1hY2Nlc3MtdG9rZW46"),
        ("config.json", '{"auths": {"r.example": {"auth": "dXNlcjpodW50ZXIy"}}}'),
        ("netrc", "default login bob password hunter2"),
        ("me.ppk", "PuTTY-User-Key-File-3: ssh-ed25519"),
        ("rclone.conf", "[s3]"),
        (".env", "# what the app reads\nexport DB_PASSWORD='hunter2'"),
        ("prod.env", "SECRET_KEY=0a1b2c"),
    ],
)
def test_logins_are_secrets(name: str, text: str, tmp_path: Path, scripts: dict[str, ModuleType]) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    assert scripts["leftovers"].is_secret(str(path))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pip.conf", "index-url = https://pypi.example/simple"),
        ("x", "git@example.org:a/b"),
        (".netrc", ""),
        ("x", "https://forum.example/t/how-to-install/ and ssh://git@git.example/a"),
        (".npmrc", "//npm.example/:_authToken=${NPM_TOKEN}"),
        ("x", "task-management-of-everything risk-assessment sk-container"),
        ("x.py", 'client("s3", aws_secret_access_key=aws_secret_access_key)'),
        ("start.sh", 'echo "machine git.example login x password $TOKEN" > ~/.netrc'),
        (".env", "DB_PASSWORD=${DB_PASSWORD}\n# API_KEY=0a1b2c\nDEBUG=true\nMAX_TOKENS=128000\nPAD_TOKEN=<pad>\n"),
        ("api.json", '{"auth": "required1", "auths": {}}'),
        ("x", "hf_text_generation_pipeline npm_config_registry_settings_file pypi-attestation-models==1"),
    ],
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
    assert leftovers.no_setuid({"volumes": []}) == "none"
    assert leftovers.size({"max-size": 1_000_000, "volumes": []})
    with pytest.raises(failed, match=r"GB unpacked, the definition allows 0\.00 GB"):
        leftovers.size({"max-size": 10_000, "volumes": []})
    monkeypatch.setattr(leftovers, "ROOT", str(tmp_path / "bad"))
    with pytest.raises(failed, match=r"1 setuid or setgid files: .*plain"):
        leftovers.no_setuid({"volumes": []})


@pytest.mark.parametrize(("code", "found"), [(0, True), (errno.ENODATA, False), (errno.EOPNOTSUPP, False)])
def test_capabilities_of_a_file_are_an_attribute(
    code: int, *, found: bool, scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(path: str, attribute: str, *, follow_symlinks: bool) -> bytes:
        assert (path, attribute, follow_symlinks) == ("/usr/bin/ping", "security.capability", False)
        if code:
            raise OSError(code, "")
        return b"x"

    monkeypatch.setattr("os.getxattr", read)
    assert scripts["leftovers"].has_capabilities("/usr/bin/ping") is found


def test_capabilities_that_cannot_be_read_are_not_taken_for_none(
    scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, follow_symlinks: bool) -> bytes:
        raise PermissionError(errno.EPERM, str(follow_symlinks))

    monkeypatch.setattr("os.getxattr", refuse)
    with pytest.raises(PermissionError):
        scripts["leftovers"].has_capabilities("/usr/bin/ping")


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


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("HF_TOKEN", "x", True),
        ("WANDB_KEY", "x", True),
        ("DATABASE_URL", "postgres://u:pw@db.example/x", True),
        ("build.note", "ghp_" + "a" * 36, True),
        ("GITHUB_PAT", "x", True),
        ("MYSQL_PWD", "x", True),
        ("DB_PASS", "x", True),
        ("PGPASSWORD", "x", True),
        ("SSHPASS", "x", True),
        ("com.example.authToken", "x", True),
        ("DB_PASSWORD", "123456", True),
        ("HF_TOKEN", "123456", True),
        ("MAX_TOKENS", "128000", False),
        ("PAD_TOKEN", "<pad>", False),
        ("OLDPWD", "/workspace", False),
        ("TOKENIZATION_MODE", "fast", False),
        ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1", False),
        ("HF_TOKEN", "", False),
        ("TOKENIZERS_PARALLELISM", "false", False),
        ("GPG_KEY", "A035C8C1", False),
        ("PATH", "/opt/env/bin:/usr/bin", False),
        ("org.opencontainers.image.source", "https://git.example/a/b", False),
    ],
)
def test_variables_and_labels_are_logins_by_name_or_value(
    name: str, value: str, *, found: bool, scripts: dict[str, ModuleType]
) -> None:
    assert scripts["leftovers"].logs_in(name, value) is found


@pytest.fixture
def image(tmp_path: Path, scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of an image, with what the checks were told beside it."""
    root = tmp_path / "root"
    root.mkdir()
    leftovers = scripts["leftovers"]
    leftovers.walk_disk.cache_clear()
    monkeypatch.setattr(leftovers, "ROOT", str(root))
    monkeypatch.setattr(leftovers, "EMPTY", [str(root / "var/cache/apt")])
    monkeypatch.setattr(leftovers, "COPIED", (f"{root}/var/lib/dpkg",))
    monkeypatch.setattr(leftovers, "SCRATCH", (f"{root}/tmp/",))
    monkeypatch.setattr(leftovers.os, "environ", {})
    monkeypatch.setattr("sys.argv", ["leftovers.py", str(tmp_path / "told" / "expected.json")])
    return root


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def tell(image: Path) -> dict[str, object]:
    """Return what the checks are told now: what is written after this is younger."""
    write(image.parent / "told" / "expected.json", "")
    return {
        "prefix": str(image / "opt/env"),
        "pkgs-dir": str(image / "opt/conda/pkgs"),
        "labels": {},
        "volumes": [],
        "history": [],
    }


LOGIN = "https://user:hunter2@index.example/simple"


@pytest.mark.parametrize(
    "path", ["app/.env", "opt/env/pip.conf", "usr/local/etc/x", "usr/src/app/.env", "opt/env/conda-meta/x-1-0.json"]
)
def test_login_is_found_wherever_no_package_put_it(path: str, image: Path, scripts: dict[str, ModuleType]) -> None:
    write(image / path, json.dumps({"url": LOGIN, "files": []}))
    with pytest.raises(scripts["verdict"].Failed, match=f"looks like a secret: .*{path};"):
        scripts["leftovers"].no_secrets(tell(image))


def test_examples_in_what_packages_brought_are_no_logins(image: Path, scripts: dict[str, ModuleType]) -> None:
    site = "opt/env/lib/python3.11/site-packages"
    for path in ("usr/share/doc/x", "var/lib/dpkg/info/x.templates", "opt/env/etc/of-conda", f"{site}/tool.py"):
        write(image / path, LOGIN)
    write(image / "opt/env/conda-meta/x-1-0.json", json.dumps({"files": ["etc/of-conda"]}))
    write(image / site / "tool-1.dist-info/METADATA", LOGIN)
    write(
        image / site / "tool-1.dist-info/RECORD", "tool.py,,\ntool-1.dist-info/METADATA,,\ntool-1.dist-info/RECORD,,\n"
    )
    assert scripts["leftovers"].no_secrets(tell(image)) == "none found"


@pytest.mark.parametrize("mode", list(py_compile.PycInvalidationMode))
def test_bytecode_of_any_kind_is_of_the_source_beside_it(
    mode: py_compile.PycInvalidationMode,
    tmp_path: Path,
    scripts: dict[str, ModuleType],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    monkeypatch.setattr(scripts["ownership"], "LIBRARY", "lib/python3")
    source, elsewhere = tmp_path / "lib/python3/tool.py", tmp_path / "share/gdb/tool.py"
    for path in (source, elsewhere):
        write(path, "a = 1\n")
        py_compile.compile(str(path), invalidation_mode=mode)
    write(elsewhere, "a = 22\n")
    assert scripts["ownership"].bytecode({}) == "1 modules"
    write(source, "a = 22\n")
    with pytest.raises(
        scripts["verdict"].Failed, match="1 of 1 compiled modules are not of their sources: lib/python"
    ):
        scripts["ownership"].bytecode({})
    source.unlink()
    assert scripts["ownership"].bytecode({}) == "1 modules"


@pytest.mark.parametrize("text", ["password: yes\n", "password = getpass()\n", "secret: ${SECRET_VALUE}\n"])
def test_setting_that_holds_no_login_is_none(text: str, image: Path, scripts: dict[str, ModuleType]) -> None:
    write(image / "app/settings.yaml", text)
    assert scripts["leftovers"].no_secrets(tell(image)) == "none found"


def test_pip_that_a_python_brings_along_is_no_leftover(image: Path, scripts: dict[str, ModuleType]) -> None:
    write(image / "usr/local/lib/python3.11/ensurepip/_bundled/pip-25-py3-none-any.whl", "x")
    write(image / "srv/pip-25-py3-none-any.whl", "x")
    with pytest.raises(scripts["verdict"].Failed, match=r"1 files left: .*/srv/pip-25-py3-none-any\.whl"):
        scripts["leftovers"].no_caches(tell(image))


def test_label_that_logs_in_is_named(image: Path, scripts: dict[str, ModuleType]) -> None:
    expected = tell(image) | {"labels": {"build.note": LOGIN}}
    with pytest.raises(scripts["verdict"].Failed, match=r"looks like a secret: label build\.note;"):
        scripts["leftovers"].no_secrets(expected)


@pytest.mark.parametrize(
    "path",
    [
        "var/cache/apt/pkgcache.bin",
        "opt/env/pkgs/x.conda",
        "opt/conda/pkgs/x.conda",
        "tmp/pip-unpack-1/x.whl",
        "var/lib/dpkg/status-old",
    ],
)
def test_what_was_downloaded_or_copied_is_found(path: str, image: Path, scripts: dict[str, ModuleType]) -> None:
    write(image / path, "x")
    with pytest.raises(scripts["verdict"].Failed, match=f"1 files left: .*{path}"):
        scripts["leftovers"].no_caches(tell(image))


def test_what_debians_packages_go_by_is_no_leftover(image: Path, scripts: dict[str, ModuleType]) -> None:
    write(image / "var/lib/dpkg/status", "x")
    assert scripts["leftovers"].no_caches(tell(image)) == "nothing left"


@pytest.mark.parametrize(
    "path",
    ["/var/log/dpkg.log", "/var/log/apt/history.log", "/var/log/alternatives.log", "/var/cache/ldconfig/aux-cache"],
)
def test_logs_are_looked_for_where_debian_keeps_them(path: str, scripts: dict[str, ModuleType]) -> None:
    assert path.startswith(tuple(f"{folder}/" for folder in scripts["leftovers"].EMPTY))


def test_what_the_checks_before_wrote_is_not_left_in_the_image(image: Path, scripts: dict[str, ModuleType]) -> None:
    expected = tell(image)
    time.sleep(0.05)  # a file system cannot tell times apart that are a clock tick apart
    write(image / "tmp/tmpabc/x", "x")
    assert scripts["leftovers"].no_caches(expected) == "nothing left"
