"""Every check passes an environment that is whole and fails one that is spoilt in what that check is for.

The environment is a venv with pip, records as conda leaves them, and wheels, of which torch and triton are the
stand-ins of tests/unit/stand_ins: what real torch computes is in tests/docker/test_torch.py. Its own Python runs the
scripts.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import importlib.util
import json
import platform
import py_compile
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import builder.checks
from builder.checks import Verdict, read_verdicts
from builder.checks.suites import SUITES, Suite

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

SCRIPTS = Path(builder.checks.__file__).parent / "scripts"
STAND_INS = Path(__file__).parent / "stand_ins"
LIBRARY = f"lib/python{sys.version_info.major}.{sys.version_info.minor}"
SITE = f"{LIBRARY}/site-packages"
INFO = f"{SITE}/tool-1.0.dist-info"
TEXT = "x = 1\n"
URL = "https://conda.example/noarch/python-1-0.conda"
JWT = f"eyJ{'a' * 20}.eyJ{'b' * 20}.{'c' * 20}"
LOGIN = "https://user:hunter2@index.example/simple"

CHECKS = tuple((suite, check) for suite in SUITES for check in suite.checks)

RUN = """
import importlib, json, os, sys
sys.path.insert(0, sys.argv[2])
import verdict
module = importlib.import_module(sys.argv[3])
exec(sys.argv[4], vars(module))
verdict.run_checks([getattr(module, name.replace("-", "_")) for name in sys.argv[5:]])
"""

# What is not the image's here: the user may be root, the library is outside of the venv, and a disk is this machine's.
PREPARE = {
    "packages.py": "os.getuid = lambda: 1000",
    "ownership.py": f"LIBRARY = {LIBRARY!r}",
    "torch_build.py": "",
    "leftovers.py": """
ROOT = os.path.dirname(sys.prefix)
EMPTY, COPIED, SCRATCH = [ROOT + "/cache"], (), (ROOT + "/tmp/",)
""",
    "gpu.py": "read_driver = lambda: '550'; shutil.which = lambda name: name",
}


def leave(_prefix: Path) -> None:
    """Change no file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sabotage:
    """What is done to an environment, and what the check says of it.

    `spoil` changes its files, `prepare` is run in the script, `fault` is what its torch does wrong.
    """

    words: str
    spoil: Callable[[Path], object] = leave
    prepare: str = ""
    fault: str = ""
    env: dict[str, str] = field(default_factory=dict)
    expected: dict[str, object] = field(default_factory=dict)


def write(path: Path, text: str = TEXT) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def leave_cache(prefix: Path) -> None:
    """Leave what a tool keeps in the home of a user of the image's own."""
    write(prefix.parent / "etc/passwd", "mamba:x:57439:57439::/home/mamba:/bin/bash\n")
    write(prefix.parent / "home/mamba/.cache/pip/x")


def leave_settings(path: str, text: str) -> Callable[[Path], object]:
    return lambda prefix: write(prefix.parent / path, text)


def compiled(module: str) -> str:
    """Return where a module of the environment is compiled to, below its prefix."""
    return f"{SITE}/__pycache__/{module}.{sys.implementation.cache_tag}.pyc"


def compile_another(prefix: Path) -> None:
    """Leave bytecode of a text that is not the source's any more, which Python runs without looking."""
    source = prefix.parent / "another.py"
    write(source, "print(1)\n")
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(source), cfile=str(prefix / compiled("tool")), invalidation_mode=mode)


def append(path: str, text: str) -> Callable[[Path], object]:
    def spoil(prefix: Path) -> None:
        with (prefix / path).open("a") as stream:
            stream.write(text)

    return spoil


SABOTAGES: dict[str, list[Sabotage]] = {
    "python": [
        Sabotage(expected={"python": "3.0.0"}, words="the lock has 3.0.0"),
        Sabotage(expected={"prefix": "/elsewhere"}, words="not in /elsewhere"),
    ],
    "command": [Sabotage(env={"PATH": "/usr/bin:/bin"}, words="not that of")],
    "user": [Sabotage(prepare="os.getuid = lambda: 0", words="the image's default user is root")],
    "conda-packages": [
        Sabotage(
            spoil=lambda prefix: write(
                prefix / "conda-meta/more-1-0.json",
                json.dumps({"name": "more", "version": "1", "build": "0", "url": URL}),
            ),
            words="not in the lock: more 1 0",
        ),
        Sabotage(spoil=lambda prefix: (prefix / "conda-meta/python-1-0.json").unlink(), words="missing: python 1 0"),
    ],
    "pip-packages": [
        Sabotage(spoil=lambda prefix: shutil.rmtree(prefix / INFO), words="missing: tool 1.0"),
        Sabotage(
            spoil=lambda prefix: write(prefix / SITE / "more-2.0.dist-info/METADATA", "Name: more\nVersion: 2.0\n"),
            words="not in the lock: more 2.0",
        ),
    ],
    "pip-check": [
        Sabotage(spoil=append(f"{INFO}/METADATA", "Requires-Dist: absent\n"), words="tool 1.0 requires absent")
    ],
    "imports": [
        Sabotage(spoil=append(f"{SITE}/tool.py", "raise OSError(7)\n"), words="import tool: OSError: 7"),
        Sabotage(
            spoil=lambda prefix: install(prefix, "deep", "1.0", {"deep/down/__init__.py": "raise OSError(7)\n"}),
            expected={"requested": ["deep"]},
            words="import deep.down: OSError: 7",
        ),
    ],
    "constraint": [
        Sabotage(env={"PIP_CONSTRAINT": ""}, words="PIP_CONSTRAINT names no file"),
        Sabotage(expected={"constraints": ["six==1", "torch==2.6.0"]}, words="missing: six==1"),
        Sabotage(
            spoil=lambda prefix: write(prefix / "pins", "torch>=2.6.0\n"),
            expected={"constraints": ["torch>=2.6.0"]},
            words="pip would replace torch",
        ),
    ],
    "owners": [
        Sabotage(spoil=lambda prefix: write(prefix / SITE / "sitecustomize.py"), words="belong to no package"),
        Sabotage(spoil=lambda prefix: write(prefix / SITE / "nvidia/libcudnn.so.9"), words="belong to no package"),
        Sabotage(spoil=lambda prefix: write(prefix / "sbin/tool"), words="belong to no package"),
        Sabotage(spoil=lambda prefix: write(prefix / f"{LIBRARY.replace('.', '')}.zip"), words="belong to no package"),
        Sabotage(spoil=append(f"{INFO}/RECORD", "../../../bin/python,,\n"), words="conda and pip both own 1 files"),
    ],
    "files": [
        Sabotage(spoil=append(f"{SITE}/tool.py", "\n"), words="tool.py has changed"),
        Sabotage(spoil=lambda prefix: (prefix / "bin/activate").unlink(), words="bin/activate is missing"),
    ],
    "bytecode": [
        Sabotage(spoil=compile_another, words="1 of 1 compiled modules are not of their sources: "),
        Sabotage(spoil=lambda prefix: write(prefix / compiled("tool"), "evil"), words="1 of 1 compiled modules"),
    ],
    "torch": [
        Sabotage(fault="another version", words="torch is 2.5.1, the lock has 2.6.0"),
        Sabotage(fault="another cuda", words="built for CUDA 11.8"),
        Sabotage(fault="cpu matmul", words="a matrix product on the CPU gave"),
    ],
    "arches": [Sabotage(fault="missing arch", words="no kernels for sm_80")],
    "cudnn": [
        Sabotage(fault="no cudnn", words="torch finds no cuDNN"),
        Sabotage(fault="another cudnn", words="torch finds cuDNN 9.1.0, the lock has 9.5.1.17"),
    ],
    "no-caches": [
        Sabotage(spoil=lambda prefix: write(prefix.parent / "cache/x"), words="1 files left"),
        Sabotage(spoil=leave_cache, words="1 files left"),
        Sabotage(spoil=lambda prefix: write(prefix.parent / "srv/a-1-py3-none-any.whl"), words="1 files left"),
    ],
    "no-settings": [
        Sabotage(env={"PIP_INDEX_URL": LOGIN}, words="set in the image: PIP_INDEX_URL"),
        Sabotage(env={"UV_DEFAULT_INDEX": "https://i.example"}, words="set in the image: UV_DEFAULT_INDEX"),
        *(
            Sabotage(spoil=leave_settings(path, text), words=f"set in the image: {name} in ")
            for path, text, name in (
                ("etc/pip.conf", "[global]\n# cert = x\nindex-url = https://i.example\n", "index-url"),
                ("root/.condarc", "channels: [x]\nproxy_servers:\n  http: http://p.example\n", "proxy_servers"),
                ("etc/apt/apt.conf.d/01proxy", 'Acquire::http::Proxy "http://p.example";\n', "Acquire::http::Proxy"),
                ("etc/uv/uv.toml", '[[index]]\nurl = "https://i.example"\n', "index"),
                ("etc/environment", "export HTTPS_PROXY=http://p.example\n", "HTTPS_PROXY"),
            )
        ),
    ],
    "no-secrets": [
        Sabotage(
            spoil=lambda prefix: write(prefix.parent / "srv/app.yaml", "password: hunter2!\n"), words="srv/app.yaml"
        ),
        Sabotage(spoil=lambda prefix: write(prefix.parent / "srv/session", JWT), words="srv/session"),
        Sabotage(
            spoil=lambda prefix: write(prefix.parent / "srv/sp.json", '{"a": 1, "client_secret": "Zk~8Qabcde"}'),
            words="srv/sp.json",
        ),
        Sabotage(spoil=lambda prefix: write(prefix.parent / "app/.env", LOGIN), words="app/.env; mount it"),
        Sabotage(env={"HF_TOKEN": "x"}, words="variable HF_TOKEN"),
        Sabotage(expected={"labels": {"note": LOGIN}}, words="label note"),
        Sabotage(expected={"history": ["USER 1", f"RUN curl {LOGIN}"]}, words="what `docker history` shows in line 2"),
        Sabotage(expected={"history": ["RUN |2 A=1 NPM_TOKEN=x /bin/sh -c make"]}, words="history` shows in line 1"),
    ],
    "no-setuid": [
        Sabotage(spoil=lambda prefix: (prefix / "bin/activate").chmod(0o4755), words="1 setuid or setgid files"),
        Sabotage(
            prepare="has_capabilities = lambda path: path.endswith('/activate')", words="1 files with capabilities"
        ),
    ],
    "size": [Sabotage(expected={"max-size": 1000}, words="GB unpacked, the definition allows 0.00 GB")],
    "device": [
        Sabotage(fault="missing arch", words="no kernels for A10, capability 8.6"),
        Sabotage(expected={"gpu": "out of reach", "no-gpu": "no runtime"}, words="no runtime"),
        Sabotage(
            fault="one of two", env={"CUDA_VISIBLE_DEVICES": "1"}, words="start CUDA: device >= 0 && device < num_gpus"
        ),
        Sabotage(fault="busy", words="torch sees a GPU and cannot start CUDA: CUDA-capable device(s) is/are busy"),
    ],
    "memory": [
        Sabotage(fault="memory not counted", words="0 bytes allocated"),
        Sabotage(fault="memory not freed", words="0 of 268435456 bytes came back"),
        Sabotage(fault="memory still reserved", words="268435456 are still reserved"),
    ],
    "matmul": [
        Sabotage(fault="matmul", words="too much for float32, tf32, float16, bfloat16"),
        Sabotage(fault="matmul not a number", words="too much for float32, tf32, float16, bfloat16"),
    ],
    "convolution": [Sabotage(fault="convolution", words="too much for float32, tf32, float16, bfloat16")],
    "libraries": [
        Sabotage(fault="another cudnn", words="cudnn is 9.1.0, the lock has 9.5.1.17"),
        Sabotage(prepare="read_nccl = lambda: (2, 19, 3)", words="nccl is 2.19.3, the lock has 2.21.5"),
    ],
    "training": [
        Sabotage(fault="training", words="the loss went from 1.0000 to 1.0000 in 300 steps"),
        Sabotage(fault="loss not finite", words="the loss went from 1.0000 to nan"),
    ],
    "compiled": [
        Sabotage(fault="compiled", words="what torch.compile made differs by"),
        Sabotage(
            spoil=append(f"{SITE}/triton.py", "raise ImportError('GLIBCXX_3.4.32 not found')\n"),
            words="triton cannot be imported: GLIBCXX_3.4.32 not found",
        ),
    ],
    "two-gpus": [
        Sabotage(fault="all-reduce", words="the sum of 1 and 2 is "),
        Sabotage(fault="no connection", words="NCCL: nobody answers"),
        Sabotage(
            fault="no connection",
            prepare="read_nccl = lambda: (2, 26, 2)",
            words="NCCL 2.26.2 in a container may need NCCL_CUMEM_HOST_ENABLE=0",
        ),
        Sabotage(
            prepare="NCCL = 'import time; time.sleep(600)'\nimport together\n"
            "run_together = lambda commands, folder: together.run_together(commands, folder, patience=0.2)",
            words="the processes have not met in 0.2 s",
        ),
    ],
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prefix of an environment in which nothing is wrong: Python and pip are conda's, the rest are wheels."""
    prefix = tmp_path_factory.mktemp("whole") / "env"
    venv.create(prefix, symlinks=True)
    spec = importlib.util.find_spec("pip")
    assert spec
    assert spec.submodule_search_locations
    (prefix / SITE / "pip").symlink_to(spec.submodule_search_locations[0])
    write(prefix / SITE / "pip-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: pip\nVersion: 1\n")
    files = sorted(str(path.relative_to(prefix)) for path in prefix.rglob("*") if path.is_file() or path.is_symlink())
    paths = [describe(prefix, file) for file in files if not file.startswith("lib64")]
    record = {"name": "python", "version": "1", "build": "0", "url": URL, "files": [it["_path"] for it in paths]}
    write(prefix / "conda-meta/python-1-0.json", json.dumps(record | {"paths_data": {"paths": paths}}))
    install(prefix, "tool", "1.0", {"tool.py": TEXT})
    stand_ins = {str(path.relative_to(STAND_INS)): path.read_text() for path in sorted(STAND_INS.rglob("*.py"))}
    install(prefix, "torch", "2.6.0", {name: text for name, text in stand_ins.items() if name.startswith("torch/")})
    install(prefix, "triton", "3.2.0", {"triton.py": stand_ins["triton.py"]})
    write(prefix / "pins", "torch==2.6.0\n")
    return prefix


def install(prefix: Path, name: str, version: str, files: dict[str, str]) -> None:
    """Leave what pip leaves of a wheel."""
    info = f"{name}-{version}.dist-info"
    files = files | {f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"}
    for path, text in files.items():
        write(prefix / SITE / path, text)
    write(prefix / SITE / info / "RECORD", "".join(f"{path},{sign(text)},\n" for path, text in files.items()))
    append(f"{SITE}/{info}/RECORD", f"{info}/RECORD,,\n")(prefix)


def sign(text: str) -> str:
    """Return a hash as a RECORD has it."""
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


def describe(prefix: Path, file: str) -> dict[str, str]:
    """Return a file as conda records it."""
    if (prefix / file).is_symlink():
        return {"_path": file, "path_type": "softlink"}
    return {"_path": file, "path_type": "hardlink", "sha256": hashlib.sha256((prefix / file).read_bytes()).hexdigest()}


def expect(prefix: Path) -> dict[str, Any]:
    """Return what the checks are told of the environment that is whole."""
    return {
        "prefix": str(prefix),
        "pkgs-dir": str(prefix / "pkgs"),
        "labels": {},
        "history": ["RUN pip install tool # buildkit"],
        "volumes": [],
        "command": ["python"],
        "python": platform.python_version(),
        "cuda": "12.6",
        "torch": "2.6.0",
        "libraries": {"cudnn": "9.5.1.17", "nccl": "2.21.5"},
        "arches": ["sm_80", "sm_90"],
        "conda": [["python", "1", "0", URL]],
        "pip": [["tool", "1.0"], ["torch", "2.6.0"], ["triton", "3.2.0"]],
        "requested": ["tool"],
        "constraints": ["torch==2.6.0"],
        "max-size": 10**9,
        "gpu": "gpus",
        "no-gpu": "",
    }


def run(prefix: Path, suite: Suite, checks: tuple[str, ...], sabotage: Sabotage | None = None) -> dict[str, Verdict]:
    """Return what checks say of an environment, after a sabotage of it."""
    done = sabotage or Sabotage(words="")
    done.spoil(prefix)
    expected = prefix.parent / "told" / "expected.json"
    write(expected, json.dumps(expect(prefix) | done.expected))
    env = {"PATH": f"{prefix}/bin:/usr/bin:/bin", "PIP_CONSTRAINT": f"{prefix}/pins", "HOME": str(prefix.parent)}
    env |= {"TORCH_FAULT": done.fault} | done.env
    # A file that is left open is told on stderr, where nothing may stand.
    command = [prefix / "bin/python", "-B", "-W", "error::ResourceWarning", "-c", RUN, expected, SCRIPTS]
    command += [suite.script.removesuffix(".py"), f"{PREPARE[suite.script]}\n{done.prepare}", *checks]
    said = subprocess.run(command, capture_output=True, text=True, env=env)
    assert not said.stderr, said.stderr
    return read_verdicts(said.stdout)


@pytest.fixture
def prefix(whole: Path, tmp_path: Path) -> Path:
    """A copy of the whole environment, for one test to spoil."""
    copy = tmp_path / "image" / "env"
    shutil.copytree(whole, copy, symlinks=True)
    return copy


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.script)
def test_environment_that_is_whole_passes_every_check(suite: Suite, prefix: Path) -> None:
    found = run(prefix, suite, suite.checks)
    assert {check: (it.verdict, it.detail) for check, it in found.items() if it.verdict != "pass"} == {}
    assert tuple(found) == suite.checks


@pytest.mark.parametrize(
    ("suite", "check", "sabotage"),
    [(suite, check, sabotage) for suite, check in CHECKS for sabotage in SABOTAGES.get(check, ())],
    ids=lambda it: it if isinstance(it, str) else it.words if isinstance(it, Sabotage) else "",
)
def test_check_fails_what_it_is_for(suite: Suite, check: str, sabotage: Sabotage, prefix: Path) -> None:
    verdict = run(prefix, suite, (check,), sabotage)[check]
    assert verdict.verdict == "fail", verdict
    assert sabotage.words in verdict.detail


def test_training_finds_the_scaler_of_an_older_torch(prefix: Path) -> None:
    suite = next(suite for suite in SUITES if suite.script == "gpu.py")
    found = run(prefix, suite, ("training",), Sabotage(words="", fault="torch of 2.2"))
    assert found["training"].verdict == "pass", found["training"]


def test_triton_without_a_compiler_is_said(prefix: Path) -> None:
    (suite,) = (suite for suite in SUITES if suite.script == "gpu.py")
    found = run(prefix, suite, ("compiled",), Sabotage(words="", prepare="shutil.which = lambda name: None"))
    assert found["compiled"].verdict == "skip"
    assert "list gcc and libc6-dev under apt" in found["compiled"].detail


@pytest.mark.parametrize(("compiler", "verdict"), [("cc", "pass"), ("absent", "skip")])
def test_compiler_that_is_named_is_the_one_that_triton_takes(compiler: str, verdict: str, prefix: Path) -> None:
    (suite,) = (suite for suite in SUITES if suite.script == "gpu.py")
    only = "shutil.which = lambda name: name if name in ('cc', 'gcc') else None"
    found = run(prefix, suite, ("compiled",), Sabotage(words="", prepare=only, env={"CC": compiler}))
    assert found["compiled"].verdict == verdict


@pytest.mark.parametrize(
    ("version", "advised"),
    [((2, 23, 4), False), ((2, 24, 3), True), ((2, 26, 2), True), ((2, 26, 3), False), (None, False)],
)
def test_nccl_is_advised_about_where_it_needs_what_docker_forbids(
    version: tuple[int, ...] | None, advised: bool, scripts: dict[str, ModuleType]
) -> None:
    assert ("NCCL_CUMEM_HOST_ENABLE=0" in scripts["gpu"].advise_nccl(version)) is advised


def test_of_gpus_in_mig_mode_the_first_is_taken(prefix: Path) -> None:
    told = prefix.parent / "expected.json"
    write(told, json.dumps(expect(prefix)))
    command = [prefix / "bin/python", "-E", "-B", Path(SCRIPTS) / "gpu.py", told]
    env = {"PATH": "/usr/bin:/bin", "TORCH_FAULT": "one of two"}
    said = subprocess.run(command, capture_output=True, text=True, env=env, check=True).stdout
    found = read_verdicts(said)
    assert found["memory"].verdict == found["matmul"].verdict == "pass"
    assert (found["two-gpus"].verdict, found["two-gpus"].detail) == ("skip", "one GPU")


def test_what_a_build_has_is_found_whatever_gpus_there_are(prefix: Path) -> None:
    told = prefix.parent / "expected.json"
    write(told, json.dumps(expect(prefix)))
    append(f"{SITE}/torch/__init__.py", "\nassert CHOSEN == '' and 'CUDA_VISIBLE_DEVICES' in os.environ\n")(prefix)
    command = [prefix / "bin/python", "-E", "-B", Path(SCRIPTS) / "torch_build.py", told]
    env = {"PATH": "/usr/bin:/bin", "CUDA_VISIBLE_DEVICES": "1"}
    found = read_verdicts(subprocess.run(command, capture_output=True, text=True, env=env, check=True).stdout)
    assert {it.verdict for it in found.values()} == {"pass"}


@pytest.mark.parametrize(("fault", "used"), [("display first", 1), ("display beside", 0)])
def test_card_of_the_display_beside_a_gpu_is_told_and_left_alone(fault: str, used: int, prefix: Path) -> None:
    (suite,) = (suite for suite in SUITES if suite.script == "gpu.py")
    spy = "import torch\ndef device(expected, real=device):\n    return real(expected) + f' {torch.USING}'"
    found = run(prefix, suite, ("device", "two-gpus"), Sabotage(words="", fault=fault, prepare=spy))
    assert found["device"].verdict == "pass"
    assert "no kernels for K620, capability 3.0" in found["device"].detail
    assert found["device"].detail.endswith(f" [{used}]")
    assert (found["two-gpus"].verdict, found["two-gpus"].detail) == ("skip", "one GPU")


def test_python_that_torch_cannot_compile_on_is_said(prefix: Path) -> None:
    (suite,) = (suite for suite in SUITES if suite.script == "gpu.py")
    found = run(prefix, suite, ("compiled",), Sabotage(words="", fault="newer python"))
    assert found["compiled"].verdict == "skip"
    assert "not supported on Python 3.14+" in found["compiled"].detail


def test_every_check_has_a_sabotage() -> None:
    assert {check for check, found in SABOTAGES.items() if found} == {check for _, check in CHECKS}


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.script)
def test_suite_has_every_check_that_its_script_runs(suite: Suite) -> None:
    tree = ast.parse((SCRIPTS / suite.script).read_text())
    calls = [it for it in ast.walk(tree) if isinstance(it, ast.Call) and ast.unparse(it.func) == "run_checks"]
    (names,) = (ast.unparse(call.args[0]).strip("[]").split(", ") for call in calls)
    assert tuple(name.replace("_", "-") for name in names) == suite.checks
