"""Write builder/data/torch.json and drivers.json from the collected records: one line per published torch build.

    python tools/generate_compat.py TORCH_MATRIX.json DRIVERS.json

The first input has one record per (torch, CUDA), the second the NVIDIA drivers per toolkit. A record that names
several places to get the build from becomes one line for each; what nobody verified stays `null`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

Record = dict[str, Any]

DATA = Path(__file__).resolve().parent.parent / "builder" / "data"
PREVIOUS_VERSIONS = "https://pytorch.org/get-started/previous-versions/"
FEEDSTOCK = "https://github.com/conda-forge/pytorch-cpu-feedstock"

# The feedstock's build configuration: CUDA 13.0 builds need the newer sysroot, CUDA 12.9 builds do not.
CONDA_FORGE_GLIBC = {"12.9": "2.17", "13.0": "2.28"}

TORCH_DOC = (
    "Where each torch release can be had, one line per build, linux x86-64. known: true = published, "
    "null = nobody verified it. null elsewhere = unknown, never 'none'. cuda null = CPU build. "
    "python_trio = the Pythons for which torchvision and torchaudio exist too. "
    "Made by tools/generate_compat.py; do not edit by hand."
)
TORCH_SOURCES = {
    "python, torchvision, torchaudio, cuda, arches, cudnn, nccl of the default wheel": "metadata and "
    "CUDA_ARCH_FLAGS read out of the published wheels",
    "wheel indexes": f"{PREVIOUS_VERSIONS} and "
    "https://github.com/pytorch/test-infra/blob/main/tools/scripts/generate_binary_build_matrix.py",
    "arches of other wheels": "https://github.com/pytorch/builder manywheel/build_cuda.sh per release branch, "
    "RELEASE.md of https://github.com/pytorch/pytorch, PYTORCH_RELEASES_CODE_CC in torch/cuda/__init__.py",
    "pytorch channel (its last release is 2.5.1)": "https://github.com/pytorch/pytorch/issues/138506, "
    "https://github.com/pytorch/builder conda/pytorch-cuda/meta.yaml per release branch",
    "conda-forge": f"{FEEDSTOCK} .ci_support at every commit up to 2026-08-13",
    "cpu wheels": PREVIOUS_VERSIONS,
}
DRIVER_DOC = (
    "NVIDIA drivers for Linux x86-64. families: the oldest driver that runs any toolkit of that major version "
    "(minor-version compatibility; compiled kernels only, no PTX of a newer toolkit). toolkits: the driver that "
    "came with a toolkit release. Made by tools/generate_compat.py; do not edit by hand."
)
DRIVER_SOURCES = {
    "a": "runfile names in https://github.com/pytorch/builder common/install_cuda.sh",
    "b": "public copies of the driver table in the CUDA 13.3 release notes",
    "families": "NVIDIA's CUDA compatibility guide, https://docs.nvidia.com/deploy/cuda-compatibility/",
}


def main() -> None:
    """Read both inputs and write both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("matrix", type=Path)
    parser.add_argument("drivers", type=Path)
    options = parser.parse_args()
    records: list[Record] = json.loads(options.matrix.read_text("utf-8"))
    releases = {
        record["torch"]: {field: record[field] for field in ("released", "torchvision", "torchaudio")}
        for record in records
    }
    builds = [build for record in records for build in split_record(record)] + derive_cpu_builds(records)
    write_table(DATA / "torch.json", {"_doc": TORCH_DOC, "sources": TORCH_SOURCES}, releases, builds)
    write_drivers(DATA / "drivers.json", json.loads(options.drivers.read_text("utf-8")))


def split_record(record: Record) -> list[Record]:
    """Return one build for each place that a (torch, CUDA) record says torch can be had from."""
    places = record["sources"]
    from_wheel = {
        "python": _join(record["python"]),
        "python_trio": _join(record["python_trio"]),
        "arches": _join(record["sm"]),
        "cudnn": record["cudnn"],
        "nccl": record["nccl"],
        "glibc_min": record["glibc_min"],
    }
    builds = []
    if places["pypi_default"]:
        builds.append(_build(record, "pypi", **from_wheel))
    if places["wheel_index"] or record["wheel_status"] == "build target only":
        index = places["wheel_index"] or "cu" + record["cuda"].replace(".", "")
        known = True if places["wheel_index"] else None
        builds.append(_build(record, "wheels", wheel_index=index, known=known, **from_wheel))
    if places["conda_forge"] is not False:
        python = record["python_conda_forge"] or [tag for tag in record["python"] if not tag.endswith("t")]
        builds.append(
            _build(
                record,
                "conda-forge",
                python=_join(python),
                known=places["conda_forge"],
                arches=_join(_name_arches(record["sm_conda_forge"])),
                glibc_min=CONDA_FORGE_GLIBC.get(record["cuda"]),
                source_url=FEEDSTOCK,
            )
        )
    if places["pytorch_channel"]:
        builds.append(_build(record, "pytorch", python=_join(record["python_pytorch_channel"])))
    return builds


def derive_cpu_builds(records: list[Record]) -> list[Record]:
    """Return the CPU builds: a wheel for every release with wheels, and conda-forge's where it has the release."""
    wheels = {record["torch"]: record for record in records if record["wheel_status"] == "published"}
    forge = {record["torch"]: record for record in records if record["sources"]["conda_forge"]}
    cpu = {"cuda": None, "arches": ""}
    return [
        _build(
            record,
            "wheels",
            wheel_index="cpu",
            python=_join(record["python"]),
            python_trio=_join(record["python_trio"]),
            glibc_min=record["glibc_min"],
            source_url=PREVIOUS_VERSIONS,
            **cpu,
        )
        for record in wheels.values()
    ] + [
        _build(record, "conda-forge", python=_join(record["python_conda_forge"]), source_url=FEEDSTOCK, **cpu)
        for record in forge.values()
    ]


def _build(record: Record, source: str, **facts: object) -> Record:
    return {
        "torch": record["torch"],
        "cuda": record["cuda"],
        "source": source,
        "known": True,
        "wheel_index": None,
        "python": None,
        "python_trio": None,
        "arches": None,
        "cudnn": None,
        "nccl": None,
        "glibc_min": None,
        "source_url": record["source_url"],
    } | facts


def _join(words: list[str] | None) -> str | None:
    return None if words is None else " ".join(words)


def _name_arches(capabilities: str | None) -> list[str] | None:
    """Return `sm_80`-like names for TORCH_CUDA_ARCH_LIST notation, where `12.0+PTX` adds `compute_120`."""
    if capabilities is None:
        return None
    names = []
    for capability in capabilities.split(";"):
        digits = capability.removesuffix("+PTX").replace(".", "")
        names += [f"sm_{digits}"] + ([f"compute_{digits}"] if capability.endswith("+PTX") else [])
    return names


def write_table(path: Path, head: Record, releases: Record, builds: list[Record]) -> None:
    """Write the table with a line for each release and each build, so that a changed fact is a small diff."""
    release_lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(facts)}" for name, facts in releases.items())
    build_lines = ",\n".join("  " + json.dumps(build, separators=(",", ":")) for build in builds)
    path.write_text(
        f'{json.dumps(head, indent=1)[:-2]},\n "releases": {{\n{release_lines}\n }},\n'
        f' "builds": [\n{build_lines}\n ]\n}}\n',
        "utf-8",
    )


def write_drivers(path: Path, drivers: Record) -> None:
    """Write the driver table with its sources spelled out."""
    table = {
        "_doc": DRIVER_DOC,
        "sources": DRIVER_SOURCES,
        "families": {family: row["driver"] for family, row in drivers["family_min"].items()},
        "toolkits": {toolkit: row["driver"] for toolkit, row in drivers["toolkit"].items()},
        "toolkit_sources": {toolkit: row["src"] for toolkit, row in drivers["toolkit"].items()},
        "unverified": drivers["unverified"],
        "never_released": drivers["never_released"],
    }
    path.write_text(json.dumps(table, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
