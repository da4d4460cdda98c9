"""What `conda env export` lists beyond what anybody asked for. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

_EXACT = re.compile(r"(?P<spec>(?:\S+::)?(?P<name>[\w.-]+)={1,2}[\w.!+-]+)(?:=[\w.-]+)?")
_SIGNS = frozenset({"_libgcc_mutex", "_openmp_mutex", "ld_impl_linux-64"})
"""Packages that come with every Python on Linux and that nobody asks for by name."""

_BROUGHT = {
    "python": "_libgcc_mutex _openmp_mutex bzip2 ca-certificates expat icu ld_impl_linux-64 libexpat libffi libgcc "
    "libgcc-ng libgomp liblzma libmpdec libnsl libsqlite libstdcxx libstdcxx-ng libuuid libxcrypt libzlib ncurses "
    "openssl python_abi readline sqlite tk tzdata xz zlib zstd",
    "pip": "setuptools wheel",
    "numpy": "blas libblas libcblas libgfortran libgfortran-ng libgfortran5 liblapack libopenblas",
}
"""What packages depend on, directly or not, on conda-forge or in Anaconda's channel. Source: their repodata."""


def find_brought(specs: Collection[str]) -> frozenset[str]:
    """Return the names of the packages that others of a list bring; none unless the list is an exported environment.

    That is one which pins every package and has some that nobody asks for by name.
    """
    found = [_EXACT.fullmatch(spec.strip()) for spec in specs]
    names = {match["name"].lower() for match in found if match}
    if None in found or names.isdisjoint(_SIGNS):
        return frozenset()
    return frozenset(name for owner in _BROUGHT.keys() & names for name in _BROUGHT[owner].split()) & names


def drop_build(spec: str) -> str:
    """Return an exact spec without its build, which is of one channel and of one Python: `numpy=1.26.4`."""
    found = _EXACT.fullmatch(spec.strip())
    return found["spec"] if found else spec


def name_exact(spec: str) -> str:
    """Return the name of the package that an exact spec pins, empty for any other."""
    found = _EXACT.fullmatch(spec.strip())
    return found["name"].lower() if found else ""
