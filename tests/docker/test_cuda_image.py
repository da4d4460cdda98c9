"""An image with a real CUDA build of torch, and what spoils it: each is found by the checks that are there for it.

No GPU is needed. It downloads 3 GB and takes 25 GB of the engine's disk, so it is run when it is asked for.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from tests.docker.conftest import open_lab
from tests.kit.engine import find_engine
from tests.kit.server import HOST, read_port
from tests.kit.torch_wheel import read_cpu_version
from tests.kit.wheels import download_wheel
from tests.kit.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.docker.conftest import Lab

pytestmark = pytest.mark.skipif(
    not os.environ.get("IMGBUILD_LARGE"), reason="downloads 3 GB, takes 25 GB of disk: IMGBUILD_LARGE=1 runs it"
)

TORCH, CUDA = "2.7.1", "12.6"  # its wheel on PyPI is built for that CUDA
SITE = "/opt/env/lib/python3.11/site-packages"
FORGET = f"rm {SITE}/torch/__pycache__/version.*.pyc"  # Python runs it without a look at its source
PIP = "PIP_CONSTRAINT= /opt/env/bin/python -m pip install --quiet --no-cache-dir --no-deps --force-reinstall"


@pytest.fixture(scope="module")
def clean(kit: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab whose image is as imgbuild built it: also tagged `clean`."""
    with open_lab(kit, find_engine(kit, "default").url, tmp_path_factory.mktemp("cuda") / "project") as lab:
        matrix = {"python": ["3.11"], "cuda": [CUDA], "torch": TORCH}
        lab.define(matrix=matrix, conda=["numpy"], arches=["sm_80", "sm_90"])
        done = lab.build()
        assert done.returncode == 0, done.stderr
        lab.client.images.get(find_ref(lab)).tag(lab.name, "clean")
        yield lab


def find_ref(lab: Lab) -> str:
    (cell,) = json.loads(lab.run("matrix", "--json").stdout)["cells"]
    return f"{lab.name}:{cell['torch']}-cu{CUDA.replace('.', '')}-py311"


def find_failures(lab: Lab, step: str, tmp_path: Path) -> dict[str, str]:
    """Return what the failed checks say of the clean image with one more step, by the names of the checks.

    The step finds the files of a folder in /given.
    """
    lines = [f"FROM {lab.name}:clean", "USER 0", "COPY . /given/", f"RUN {step} && rm -r /given", "USER 1000:1000", ""]
    (tmp_path / "Dockerfile").write_text("\n".join(lines))
    image, _ = lab.client.images.build(path=str(tmp_path), tag=find_ref(lab), network_mode="host", forcerm=True)
    done = lab.run("test", "--all", "--json")
    lab.client.images.remove(image.id, force=True)
    assert done.returncode == 9, done.stderr
    (proof,) = json.loads(done.stdout)
    return {found["check"]: found["detail"] for found in proof["checks"] if found["verdict"] == "fail"}


def test_image_as_built_passes(clean: Lab) -> None:
    clean.client.images.get(f"{clean.name}:clean").tag(*find_ref(clean).split(":"))
    done = clean.run("test", "--all", "--json")
    assert done.returncode == 0, done.stderr
    (proof,) = json.loads(done.stdout)
    passed = {found["check"]: found["detail"] for found in proof["checks"] if found["verdict"] == "pass"}
    assert passed["torch"].endswith(f"CUDA {CUDA}")
    assert "sm_90" in passed["arches"]
    assert passed["cudnn"].startswith("cuDNN ")


def test_cpu_torch_in_a_cuda_cell(clean: Lab, kit: Path, tmp_path: Path) -> None:
    version = read_cpu_version(kit)
    if not version:
        pytest.skip("pip offers no CPU build of torch here")
    index = f"http://{HOST}:{read_port()}/whl/cpu"
    failures = find_failures(clean, f"{PIP} --index-url {index} torch=={version}", tmp_path)
    assert failures["torch"] == f"torch is {version}, the lock has {TORCH}"
    assert failures["arches"] == "no kernels for sm_80, sm_90: torch is compiled for no GPU"
    assert failures["cudnn"].startswith("torch finds no cuDNN")


def test_torch_of_another_cuda(clean: Lab, tmp_path: Path) -> None:
    failures = find_failures(clean, f"""sed -i "s/'{CUDA}'/'12.8'/" {SITE}/torch/version.py && {FORGET}""", tmp_path)
    assert failures["torch"] == f"torch was built for CUDA 12.8, the cell is for CUDA {CUDA}"
    assert "torch/version.py has changed (torch" in failures["files"]


def test_numpy_overwritten_by_pip(clean: Lab, tmp_path: Path) -> None:
    workspace = Workspace(root=tmp_path, scratch=tmp_path, log=tmp_path / "pip.log")
    download_wheel(workspace, "numpy==2.2.5", "3.11", tmp_path / "wheels")
    failures = find_failures(clean, f"{PIP} /given/wheels/*.whl", tmp_path)
    assert "conda and pip both own" in failures["owners"]
    assert "numpy 2.2.5" in failures["pip-packages"]


def test_cudnn_removed(clean: Lab, tmp_path: Path) -> None:
    failures = find_failures(clean, f"rm -r {SITE}/nvidia/cudnn/lib/*", tmp_path)
    assert "libcudnn.so.9: cannot open shared object file" in failures["cudnn"]
    assert "libcudnn" in failures["files"]


def test_torch_that_has_no_kernels_for_what_is_promised(clean: Lab, tmp_path: Path) -> None:
    less = "import torch._C as c; c._cuda_getArchFlags = lambda: 'sm_50 sm_60 sm_70'"
    failures = find_failures(clean, f'echo "{less}" >> {SITE}/torch/version.py && {FORGET}', tmp_path)
    assert failures["arches"] == "no kernels for sm_80, sm_90: torch is compiled for sm_50 sm_60 sm_70"
