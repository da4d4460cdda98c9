"""relocate.py PREFIX FILE: write the environment of this image as an archive that conda-unpack moves anywhere.

conda-pack asks conda's package cache which files hold the prefix. An image has no such cache; then conda-pack leaves
the prefix in binary files as it is, and has conda-unpack go through every text. `conda-meta` says the same: the prefix
in a binary is filled up with zeros to the length of the package's placeholder, and here becomes the placeholder again,
so that a longer prefix has room.
"""

import json
import re
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
HEAD = 8192  # bytes by which Git and others tell text from binary


def restore(data, prefix, placeholder):
    """Return a binary with its package's placeholder where it was installed with a prefix, as long as it was."""

    def widen(match):
        added = (len(placeholder) - len(prefix)) * match[1].count(prefix)
        if len(match[2]) <= added:  # never was a placeholder: there is no room for one
            return match[0]
        return match[1].replace(prefix, placeholder) + match[2][added:]

    return re.sub(b"(" + re.escape(prefix) + b"[^\0]*)(\0+)", widen, data)


def read_placeholders(prefix):
    """Return the placeholder of each binary that conda installed with a prefix in it, by its path in the prefix."""
    found = {}
    for meta in (prefix / "conda-meta").glob("*.json"):
        record = json.loads(meta.read_text(encoding="utf-8"))
        for path in (record.get("paths_data") or {}).get("paths", ()):
            if path.get("file_mode") == "binary" and path.get("prefix_placeholder"):
                found[path["_path"]] = path["prefix_placeholder"]
    return found


def is_text_with(prefix, path):
    """Return whether a file is a text with the prefix in it. Of others, which may be huge, only the head is read."""
    with open(path, "rb") as file:
        head = file.read(HEAD)
        return b"\0" not in head and prefix in head + file.read()


def choose_mode(file, prefix, placeholders):
    """Return a file as conda-pack is to treat it: one of its `File` values."""
    source = Path(file.source)
    if file.file_mode != "unknown" or source.is_symlink() or source.is_dir():
        return file
    placeholder = placeholders.get(file.target)
    # conda-unpack never changes the Python that it runs with.
    if placeholder and not file.target.startswith("bin/python"):
        copy = HERE / "restored" / file.target
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(restore(source.read_bytes(), prefix, placeholder.encode()))
        shutil.copystat(source, copy)
        return type(file)(str(copy), file.target, file_mode="binary", prefix_placeholder=placeholder)
    if not is_text_with(prefix, source):
        return type(file)(file.source, file.target, file.is_conda)
    return file


def main():
    """Write the archive."""
    sys.path.insert(0, str(HERE / "library"))
    import conda_pack

    prefix, target = Path(sys.argv[1]), sys.argv[2]
    history = prefix / "conda-meta" / "history"  # conda-pack 0.9.2 takes the time from there, and fails without it
    if not history.exists():
        history.touch()
    found = conda_pack.CondaEnv.from_prefix(str(prefix), on_missing_cache="ignore")
    placeholders = read_placeholders(prefix)
    ordered = sorted(found.files, key=lambda file: file.target)
    files = [choose_mode(file, str(prefix).encode(), placeholders) for file in ordered]
    conda_pack.CondaEnv(str(prefix), files).pack(output=target, format="tar.gz", n_threads=-1)


if __name__ == "__main__":
    main()
