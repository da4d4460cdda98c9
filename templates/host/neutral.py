"""neutral.py PREFIX LIST: let the Python of an environment find the wheels of a list, which lie in PREFIX/lib/neutral.

These wheels hold libraries for any Python, so they are unpacked once for all. `site-packages` gets a link to each of
their top-level folders, and a copy of their metadata, by which installers know them. A folder that is linked is never
empty: installers remove empty folders, and could not install into a link that leads nowhere.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import sysconfig
from pathlib import Path

KEEPER = ".keep"


def read_names(listing: Path) -> set[str]:
    """Return the normalized names of a list's distributions, lines `NAME==VERSION …`."""
    found = (re.match(r"([\w.-]+)\s*==", line) for line in listing.read_text(encoding="utf-8").splitlines())
    return {normalize(match[1]) for match in found if match}


def normalize(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def read_name(metadata: Path) -> str:
    """Return the normalized name in that of a metadata folder, `nvidia_nccl_cu12-2.26.2.dist-info`."""
    return normalize(metadata.name.split("-", 1)[0])


def link_distribution(metadata: Path, site: Path) -> None:
    """Link what a distribution installed, from the folder that its metadata lies in, into `site`."""
    name = read_name(metadata)
    for other in site.glob("*.dist-info"):  # of a version that this one replaces
        if read_name(other) == name:
            shutil.rmtree(other)
    shutil.copytree(metadata, site / metadata.name)
    rows = (metadata / "RECORD").read_text(encoding="utf-8").splitlines()
    for name in sorted({row.split("/", 1)[0] for row in rows if "/" in row.split(",", 1)[0]}):
        if name != metadata.name:
            link(metadata.parent / name, site / name)


def link(source: Path, target: Path) -> None:
    """Make a target lead to a source; where both are folders, what is in them is linked one by one."""
    if target.is_dir() and not target.is_symlink():
        for part in sorted(source.iterdir()):
            if part.name != KEEPER:
                link(part, target / part.name)
    elif not target.is_symlink():
        target.symlink_to(os.path.relpath(source, target.parent))
        if source.is_dir():
            (source / KEEPER).touch()


def main() -> None:
    prefix, listing = map(Path, sys.argv[1:])
    names = read_names(listing)
    site = Path(sysconfig.get_path("platlib", vars={"base": str(prefix), "platbase": str(prefix)}))
    for metadata in sorted((prefix / "lib" / "neutral").glob("*.dist-info")):
        if read_name(metadata) in names:
            link_distribution(metadata, site)


if __name__ == "__main__":
    main()
