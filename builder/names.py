"""Which PyPI distributions a conda package provides: names differ (pytorch ↔ torch), most do not."""

from __future__ import annotations

from packaging.utils import canonicalize_name

# Packages with distributions of other names than theirs, apart by blanks; or with none. For conda-forge by what each
# recipe builds (github.com/conda-forge; py-opencv has the metadata of both since 2024), or as its bot has gathered it
# (github.com/regro/cf-graph-countyfair, mappings/pypi); for the channel pytorch as github.com/prefix-dev/parselmouth
# found it in the packages; for Anaconda's own as github.com/conda-incubator/conda-pypi compares channels.
# {major} is the first number of the package's version: PyQt5 and PyQt6 are two on PyPI, and both pyqt to Anaconda.
# A metapackage of the same version as its core (pyarrow, dask, matplotlib) needs no entry.
_DIFFERENT = {
    "antlr-python-runtime": "antlr4-python3-runtime",
    "astropy-base": "astropy",
    "black-jupyter": "",
    "brotli-python": "brotli",
    "cupy-core": "cupy",
    "cython-blis": "blis",
    "dask-core": "dask",
    "diffusers-base": "diffusers",
    "docker-py": "docker",
    "faiss-cpu": "faiss",
    "faiss-gpu": "faiss",
    "faiss-gpu-raft": "faiss",
    "fastapi-core": "fastapi",
    "h2o-py": "h2o",
    "h3-py": "h3",
    "hjson-py": "hjson",
    "ignite": "pytorch-ignite",
    "keras-base": "keras",
    "matplotlib-base": "matplotlib",
    "msgpack-python": "msgpack",
    "neo4j-python-driver": "neo4j",
    "pandera-core": "pandera",
    "py-opencv": "opencv-python opencv-python-headless",
    "py-xgboost": "xgboost",
    "pyarrow-core": "pyarrow",
    "pyglfw": "glfw",
    "pyqt": "pyqt{major}",
    "pysoundfile": "soundfile",
    "pytables": "tables",
    "python": "",
    "python-annoy": "annoy",
    "python-blosc": "blosc",
    "python-blosc2": "blosc2",
    "python-build": "build",
    "python-duckdb": "duckdb",
    "python-fastjsonschema": "fastjsonschema",
    "python-flatbuffers": "flatbuffers",
    "python-graphviz": "graphviz",
    "python-hdfs": "hdfs",
    "python-igraph": "igraph",
    "python-installer": "installer",
    "python-isal": "isal",
    "python-kubernetes": "kubernetes",
    "python-leveldb": "leveldb",
    "python-libarchive-c": "libarchive-c",
    "python-lmdb": "lmdb",
    "python-mss": "mss",
    "python-pdfkit": "pdfkit",
    "python-sounddevice": "sounddevice",
    "python-tzdata": "tzdata",
    "python-wget": "wget",
    "python-xxhash": "xxhash",
    "python-zlib-ng": "zlib-ng",
    "python_abi": "",
    "pytorch": "torch",
    "pytorch-cpu": "",
    "pytorch-gpu": "",
    "pytorch-mutex": "",
    "pytorch_cluster": "torch-cluster",
    "pytorch_geometric": "torch-geometric",
    "pytorch_scatter": "torch-scatter",
    "pytorch_sparse": "torch-sparse",
    "pytorch_spline_conv": "torch-spline-conv",
    "pywebp": "webp",
    "qtconsole-base": "qtconsole",
    "ray-core": "ray",
    "redis-py": "redis",
    "sagemaker-python-sdk": "sagemaker",
    "seaborn-base": "seaborn",
    "sentencepiece-python": "sentencepiece",
    "soxr-python": "soxr",
    "spyder-base": "spyder",
    "tensorflow-base": "tensorflow",
    "tiledb-py": "tiledb",
    "torchtriton": "triton",
    "uvicorn-standard": "",
}


def name_distributions(conda_name: str, version: str) -> tuple[str, ...]:
    """Return the normalized names of the distributions that a version of a Python-dependent conda package provides.

    It is a guess where the name is not known to be another: that the only distribution has the package's own name.
    """
    names = _DIFFERENT.get(conda_name, conda_name).replace("{major}", version.partition(".")[0])
    return tuple(map(canonicalize_name, names.split()))
