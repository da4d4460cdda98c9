"""In the image, as its default user: every file belongs to one package, and is as that package brought it."""

import base64
import hashlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor

from records import list_owned, list_wheels, read_packages, read_wheel_files
from verdict import Failed, run_checks

BLOCK = 1 << 20


def owners(expected):
    """No file belongs to a conda package and to a wheel, and no distribution is installed twice."""
    owned = list_owned(read_packages())
    wheels = list_wheels(owned)
    shared = [
        f"{path} ({owned[path]} of conda, {name} {version} of pip)"
        for name, version, folder in wheels
        for path, _ in read_wheel_files(folder)
        if path in owned
    ]
    if shared:
        raise Failed(f"conda and pip both own {len(shared)} files: pip installed over conda's: {list_some(shared)}")
    names = [name for name, _, _ in wheels]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise Failed(f"installed in two versions: {list_some(twice)}")
    return f"{len(owned)} files of conda's, {len(wheels)} wheels"


def files(expected):
    """Every file that a record names is there, with the bytes that the record gives; of several, those of one."""
    packages = read_packages()
    named = [
        (entry["_path"], f"{package['name']} {package['version']} of conda", digest_of(entry))
        for package in packages
        for entry in package.get("paths_data", {}).get("paths", ())
        if entry.get("path_type") in ("hardlink", "pyc_file")
    ]
    named += [
        (path, f"{name} {version} of pip", decode(digest))
        for name, version, folder in list_wheels(list_owned(packages))
        for path, digest in read_wheel_files(folder)
        if not path.endswith(".pyc")
    ]
    wanted = {}
    for path, owner, digest in named:
        wanted.setdefault(path, (owner, set()))[1].add(digest)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        faults = sorted(filter(None, pool.map(find_fault, wanted, wanted.values())))
    if faults:
        raise Failed(f"{len(faults)} of {len(wanted)} files are not as installed: {list_some(faults)}")
    return f"{len(wanted)} files"


def digest_of(entry):
    """Return the sha256 that a file of a conda package has in the prefix, None where that is not recorded."""
    own = entry.get("sha256_in_prefix")
    return own or (None if entry.get("prefix_placeholder") else entry.get("sha256"))


def decode(digest):
    """Return a digest of a RECORD as hexadecimal digits."""
    return base64.urlsafe_b64decode(digest + "=" * (-len(digest) % 4)).hex() if digest else None


def find_fault(name, wanted):
    """Return what is wrong with one file, None when nothing is. Two conda packages may bring the same path."""
    owner, digests = wanted
    path = os.path.join(sys.prefix, name)
    if not os.path.lexists(path):
        return f"{name} is missing ({owner})"
    if None not in digests and os.path.isfile(path) and hash_file(path) not in digests:
        return f"{name} has changed ({owner})"
    return None


def hash_file(path):
    """Return the sha256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()


def list_some(items):
    """Return the first of many, and how many there are besides."""
    return "; ".join(items[:4]) + (f"; and {len(items) - 4} more" if len(items) > 4 else "")


if __name__ == "__main__":
    run_checks([owners, files])
