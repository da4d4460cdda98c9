"""Which PyPI distribution a conda package provides: names differ (pytorch ↔ torch), most do not."""

from __future__ import annotations

from packaging.utils import canonicalize_name

# conda-forge's names that are not those of the distribution inside; None: the package holds no distribution.
# Origin: the name in each feedstock's recipe against the distribution in its source (github.com/conda-forge).
# A metapackage of the same version as its core (pyarrow, dask, matplotlib) needs no entry.
_DIFFERENT: dict[str, str | None] = {
    "black-jupyter": None,
    "brotli-python": "brotli",
    "dask-core": "dask",
    "faiss-cpu": "faiss",
    "faiss-gpu": "faiss",
    "fastapi-core": "fastapi",
    "matplotlib-base": "matplotlib",
    "msgpack-python": "msgpack",
    "py-opencv": "opencv-python",
    "pyarrow-core": "pyarrow",
    "pytables": "tables",
    "python": None,
    "py-xgboost": "xgboost",
    "python-fastjsonschema": "fastjsonschema",
    "python-flatbuffers": "flatbuffers",
    "python-graphviz": "graphviz",
    "python-lmdb": "lmdb",
    "python-tzdata": "tzdata",
    "python-xxhash": "xxhash",
    "python_abi": None,
    "pytorch": "torch",
    "pytorch-cpu": None,
    "pytorch-gpu": None,
    "pytorch-mutex": None,
    "ruamel_yaml": "ruamel.yaml",
    "seaborn-base": "seaborn",
    "torchtriton": "triton",
    "uvicorn-standard": None,
}


def pypi_name(conda_name: str) -> str | None:
    """Return the normalized name of the distribution that a Python-dependent conda package provides, None for none."""
    name = _DIFFERENT.get(conda_name, conda_name)
    return canonicalize_name(name) if name else None
