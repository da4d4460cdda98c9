"""Write conda packages (`.tar.bz2`) whose bytes depend on nothing but their content."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tests.kit.workspace import SOURCE_DATE, Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PLACEHOLDER = "/opt/" + ("imgbuild-kit-prefix-placeholder-" * 8)[:250]
"""The prefix in packaged files: as long as a path may be for binaries to be patched in place, 255 characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """What `info/index.json` and `info/link.json` say of a package; `pin` ends its build string, as in "_cpython"."""

    name: str
    version: str
    license: str
    depends: tuple[str, ...] = ()
    noarch: Literal["python", "generic"] | None = None
    entry_points: tuple[str, ...] = ()
    build_prefix: str = ""
    build_suffix: str = ""

    @property
    def subdir(self) -> str:
        return "noarch" if self.noarch else "linux-64"

    @property
    def build(self) -> str:
        digest = hashlib.sha256("\n".join(self.depends).encode()).hexdigest()[:7]
        return f"{self.build_prefix}h{digest}_0{self.build_suffix}"

    @property
    def file_name(self) -> str:
        return f"{self.name}-{self.version}-{self.build}.tar.bz2"

    def describe(self) -> dict[str, object]:
        """Return `info/index.json`."""
        index: dict[str, object] = {
            "arch": None if self.noarch else "x86_64",
            "build": self.build,
            "build_number": 0,
            "depends": list(self.depends),
            "license": self.license,
            "name": self.name,
            "platform": None if self.noarch else "linux",
            "subdir": self.subdir,
            "timestamp": SOURCE_DATE * 1000,
            "version": self.version,
        }
        return {**index, "noarch": self.noarch} if self.noarch else index


def describe_path(path: Path, tree: Path) -> dict[str, object]:
    """Return the entry of one file or link in `info/paths.json`."""
    content = path.read_bytes()
    entry: dict[str, object] = {
        "_path": str(path.relative_to(tree)),
        "path_type": "softlink" if path.is_symlink() else "hardlink",
        "sha256": hashlib.sha256(content).hexdigest(),
        "size_in_bytes": len(content),
    }
    if not path.is_symlink() and PLACEHOLDER.encode() in content:
        entry["prefix_placeholder"] = PLACEHOLDER
        entry["file_mode"] = "binary" if b"\0" in content else "text"
    return entry


def describe_info(package: Package, paths: list[dict[str, object]]) -> Iterator[tuple[str, str]]:
    """Yield the names and texts of the package's metadata files."""
    files = "".join(f"{entry['_path']}\n" for entry in paths)
    yield "info/about.json", json.dumps({"license": package.license, "summary": "Made by imgbuild's kit"})
    yield "info/files", files
    yield "info/index.json", json.dumps(package.describe(), indent=1, sort_keys=True)
    if package.noarch == "python":
        noarch = {"type": "python", "entry_points": list(package.entry_points)}
        yield "info/link.json", json.dumps({"noarch": noarch, "package_metadata_version": 1})
    yield "info/paths.json", json.dumps({"paths": paths, "paths_version": 1}, indent=1, sort_keys=True)


def write_package(workspace: Workspace, package: Package, tree: Path) -> Path:
    """Return the package in the kit's channel: the files and links of the tree, sorted, dated, owned by root."""

    def normalize(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        member.mtime = SOURCE_DATE
        member.mode = 0o777 if member.issym() else 0o755 if member.mode & 0o100 else 0o644
        return member

    files = sorted(path for path in tree.rglob("*") if path.is_symlink() or path.is_file())
    made = workspace.scratch / package.file_name
    with tarfile.open(made, "w:bz2", format=tarfile.PAX_FORMAT, compresslevel=1) as archive:
        for name, text in describe_info(package, [describe_path(path, tree) for path in files]):
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            member.mode = 0o644
            archive.addfile(normalize(member), io.BytesIO(text.encode()))
        for path in files:
            archive.add(path, str(path.relative_to(tree)), recursive=False, filter=normalize)
    return workspace.publish(made, workspace.channel / "kit" / package.subdir / package.file_name)
