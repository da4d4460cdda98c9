"""What the GPU checks compute, on the CPU of a real torch: that they can pass, and that wrong results fail them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import builder.bench
import builder.checks
from builder.bench.figures import Figure, Measurement, read_measurement, write_measurement
from tests.docker.conftest import open_lab
from tests.kit.engine import find_engine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.docker.conftest import Lab

SCRIPTS = Path(builder.checks.__file__).parent / "scripts"
BENCH = Path(builder.bench.__file__).parent / "scripts"
BEGIN = """
import sys; sys.path.insert(0, "/scripts")
import torch, gpu
from verdict import Failed
pair = [torch.randn(64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) for _ in range(2)]
"""


@pytest.fixture(scope="module")
def with_torch(kit: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab whose image has the CPU torch that the kit found."""
    version = json.loads((kit / "torch.json").read_text())
    if not version:
        pytest.skip("pip offers no CPU build of torch here")
    with open_lab(kit, find_engine(kit, "default").url, tmp_path_factory.mktemp("torch")) as lab:
        lab.define(matrix={"python": ["3.11"], "cuda": ["cpu"], "torch": version}, conda=["numpy"])
        done = lab.build()
        assert done.returncode == 0, done.stderr
        yield lab


def run(lab: Lab, script: str, *options: str) -> subprocess.CompletedProcess[str]:
    ref = subprocess.run(lab.command("matrix", "--json"), capture_output=True, text=True, env=lab.environment).stdout
    (cell,) = json.loads(ref)["cells"]
    image = f"{lab.name}:{cell['torch']}-cpu-py311"
    argv = ["docker", "run", "--rm", "--network=none", f"--volume={SCRIPTS}:/scripts:ro", *options, image]
    argv += ["python", "-B", "-c", BEGIN + script]
    return subprocess.run(argv, capture_output=True, text=True, env=lab.environment)


def test_precisions_are_told_apart_and_wrong_results_fail(with_torch: Lab) -> None:
    done = run(with_torch, "print(gpu.compare(torch, lambda a, b: a @ b, pair, 'cpu'))")
    assert done.stdout.startswith("relative error against float64: float32 "), done.stderr
    wrong = "lambda a, b: (a @ b) * (1 if a.dtype == torch.float64 else 1.05)"
    done = run(with_torch, f"gpu.compare(torch, {wrong}, pair, 'cpu')")
    assert "Failed: relative error against float64" in done.stderr
    assert "too much for float32, tf32, float16, bfloat16" in done.stderr


def test_network_that_does_not_learn_fails(with_torch: Lab) -> None:
    done = run(with_torch, "print(*gpu.train(torch, 'cpu', torch.bfloat16))")
    first, last = map(float, done.stdout.split())
    assert last < 0.2 * first
    done = run(with_torch, "torch.optim.Adam.step = lambda *_: None\ngpu.train(torch, 'cpu', torch.bfloat16)")
    assert "Failed: the loss went from" in done.stderr


def test_gpu_that_is_there_but_cannot_be_used_fails_with_the_reason(with_torch: Lab) -> None:
    expected = "{'torch': '1', 'cuda': '12.6', 'gpu': 'gpus', 'no-gpu': ''}"
    done = run(with_torch, f"gpu.device({expected})")
    assert "is a CPU build: it cannot use the GPU" in done.stderr
    done = run(with_torch, f"torch.version.cuda = '12.6'\ngpu.device({expected})")
    assert "the container was started without a GPU: run it with --gpus all" in done.stderr


def test_image_is_measured_and_compared(with_torch: Lab, tmp_path: Path) -> None:
    (cell,) = json.loads(with_torch.run("matrix", "--json").stdout)["cells"]
    ref = f"{with_torch.name}:{cell['torch']}-cpu-py311"
    there = (
        "sys.path.insert(0, '/bench')\nimport json, throughput\nprint(json.dumps(throughput.describe(torch, 'cpu')))"
    )
    machine = tuple(json.loads(run(with_torch, there, f"--volume={BENCH}:/bench:ro").stdout).items())
    faster = Figure(name="train float32", unit="steps/s", repeats=(1e9,) * 5)
    write_measurement(tmp_path / "faster.json", Measurement(ref=ref, quick=True, machine=machine, figures=(faster,)))
    files = ("--json", str(tmp_path / "now.json"), "--baseline", str(tmp_path / "faster.json"))
    done = with_torch.run("bench", ref, "--quick", *files)
    assert done.returncode == 11, done.stderr
    assert "1 of 1 figures are slower than" in done.stderr
    figures = read_measurement(tmp_path / "now.json").figures
    assert {figure.name.split()[0] for figure in figures} == {"loader", "matmul", "train"}
    assert all(len(set(figure.repeats)) == 5 for figure in figures)
