"""In the image, as its default user: every file belongs to one package, and is as that package brought it."""

import base64
import hashlib
import importlib.util
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor

from claims import assign_files, describe_conda, describe_wheel, find_source, list_files
from records import list_owned, list_wheels, read_packages, read_wheel_files
from verdict import Failed, run_checks

BLOCK = 1 << 20
LARGE = 1 << 20
LIBRARY = os.path.relpath(os.path.dirname(os.__file__), sys.prefix)
CODE = re.compile(r"\.(?:py|pyc|pth|so(?:\.\d+)*)$")
PROGRAMS = ("bin/", "sbin/")
# What Python imports from before its own library, and what tells it that this is elsewhere.
SWITCHES = (f"lib/python{sys.version_info[0]}{sys.version_info[1]}.zip", "pyvenv.cfg")
NEUTRAL = os.path.join("lib", "neutral", "")
UNHASHED = ("RECORD", "RECORD.jws", "RECORD.p7s")
ADDED = ("INSTALLER", "REQUESTED", "direct_url.json", "uv_build.json", "uv_cache.json")

# The kinds of a path in conda's records that are looked at: https://docs.conda.io/projects/conda (PathType).
FILES = ("hardlink", "pyc_file", "unix_python_entry_point")
LINKS = ("softlink",)
LINK = "link"


def owners(expected):
    """No file belongs to a conda package and to a wheel, no distribution is there twice, and no code is nobody's."""
    packages = read_packages()
    owned = list_owned(packages)
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
    claims = [*map(describe_conda, packages), *(describe_wheel(*wheel) for wheel in wheels)]
    strays = list(filter(is_code, assign_files(*list_files(sys.prefix), claims)[1]))
    if strays:
        raise Failed(f"{len(strays)} modules or programs belong to no package: {list_some(strays)}")
    return f"{len(owned)} files of conda's, {len(wheels)} wheels"


def is_code(path):
    """Return whether a path below the prefix is a program, or a module where Python imports from."""
    if path.startswith(PROGRAMS) or path in SWITCHES:
        return True
    return path.startswith((LIBRARY + os.sep, NEUTRAL)) and CODE.search(path) is not None


def files(expected):
    """Every file that a record names is there, with the bytes that the record gives; of several, those of one."""
    packages = read_packages()
    wheels = list_wheels(list_owned(packages))
    require_records(wheels)
    named = [
        (entry["_path"], f"{package['name']} {package['version']} of conda", describe_entry(entry))
        for package in packages
        for entry in package.get("paths_data", {}).get("paths", ())
        if entry.get("path_type") in FILES + LINKS
    ]
    named += [
        (path, f"{name} {version} of pip", decode(digest))
        for name, version, folder in wheels
        for path, digest in read_wheel_files(folder)
        if not path.endswith(".pyc")
    ]
    wanted = {}
    for path, owner, form in named:
        wanted.setdefault(path, (owner, set()))[1].add(form)
    large = [name for name in wanted if is_large(os.path.join(sys.prefix, name))]
    small = wanted.keys() - large
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # threads that read small files would wait for each other
        begun = pool.map(find_fault, large, map(wanted.get, large))
        found = [*map(find_fault, small, map(wanted.get, small)), *begun]
    faults = sorted(filter(None, found))
    if faults:
        raise Failed(f"{len(faults)} of {len(wanted)} files are not as installed: {list_some(faults)}")
    return f"{len(wanted)} files"


def require_records(wheels):
    """Raise Failed where a wheel has no RECORD, or one in which only some files have the hashes that belong there.

    RECORD itself, its signatures, and bytecode have none:
    https://packaging.python.org/en/latest/specifications/recording-installed-packages/
    Of a wheel that came without any hash, those are all that its installer added.
    """
    faults = []
    for name, version, folder in wheels:
        rows = read_wheel_files(folder)
        free = {os.path.join(folder, own) for own in UNHASHED}
        added = {os.path.join(folder, own) for own in ADDED}
        bare = [path for path, digest in rows if not digest and not path.endswith(".pyc") and path not in free]
        if os.path.join(folder, "RECORD") not in {path for path, _ in rows}:
            faults.append(f"{name} {version} has no list of its files: {folder}/RECORD")
        elif bare and any(digest for path, digest in rows if path not in added):
            faults.append(f"{name} {version} lists {len(bare)} files without a hash: {bare[0]}")
    if faults:
        raise Failed(list_some(faults))


def describe_entry(entry):
    """Return LINK for a link of a conda package, (algorithm, digest) for a file, None where no digest is recorded."""
    if entry["path_type"] in LINKS:
        return LINK
    own = entry.get("sha256_in_prefix") or (None if entry.get("prefix_placeholder") else entry.get("sha256"))
    return ("sha256", own) if own else None


def decode(digest):
    """Return a hash of a RECORD, `sha256=…`, as (algorithm, hexadecimal digits)."""
    if not digest:
        return None
    algorithm, _, text = digest.partition("=")
    return algorithm, base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).hex()


def is_large(path):
    """Return whether a file, or what a link leads to, takes long to read."""
    try:
        return os.stat(path).st_size > LARGE
    except (OSError, ValueError):  # ValueError: of a name that no file can have
        return False


def find_fault(name, wanted):
    """Return what is wrong with one file, None when nothing is. Two conda packages may bring the same path."""
    owner, forms = wanted
    path = os.path.join(sys.prefix, name)
    if not os.path.lexists(path):
        return f"{name} is missing ({owner})"
    if LINK in forms and os.path.islink(path):
        return None
    digests = forms - {LINK}
    if os.path.isfile(path) and not os.access(path, os.R_OK):
        return f"{name} cannot be read by the image's user ({owner})"
    if not digests:
        return f"{name} is a link no more ({owner})"
    if not os.path.isfile(path) and not os.path.islink(path):
        return f"{name} is a file no more ({owner})"
    if None in digests or any(hash_file(path, digest[0]) == digest[1] for digest in digests):
        return None
    return f"{name} has changed ({owner})"


def hash_file(path, algorithm):
    """Return the digest of a file's bytes, empty for what is no file."""
    digest = hashlib.new(algorithm)
    if not os.path.isfile(path):
        return ""
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()


def bytecode(expected):
    """No bytecode of the library is stale: Python would run what the source says no more, or compile it again."""
    library = (LIBRARY + os.sep, NEUTRAL)
    compiled = sorted(path for path in list_files(sys.prefix)[0] if path.startswith(library) and find_source(path))
    stale = [path for path in compiled if is_stale(path)]
    if stale:
        raise Failed(f"{len(stale)} of {len(compiled)} compiled modules are not of their sources: {list_some(stale)}")
    return f"{len(compiled)} modules"


def is_stale(path):
    """Return whether a compiled module's head (PEP 552) is not of a source that can be read."""
    compiled, source = (os.path.join(sys.prefix, it) for it in (path, find_source(path)))
    if not os.access(source, os.R_OK):
        return False
    if not os.access(compiled, os.R_OK):
        return True
    with open(compiled, "rb") as stream:
        head = stream.read(16)
    if len(head) < 16 or head[:4] != importlib.util.MAGIC_NUMBER:
        return True
    if head[4] & 1:
        with open(source, "rb") as stream:
            return head[8:] != importlib.util.source_hash(stream.read())
    status = os.stat(source)
    return head[8:] != b"".join(
        (int(it) & 0xFFFFFFFF).to_bytes(4, "little") for it in (status.st_mtime, status.st_size)
    )


def list_some(items):
    """Return the first of many, and how many there are besides."""
    return "; ".join(items[:4]) + (f"; and {len(items) - 4} more" if len(items) > 4 else "")


if __name__ == "__main__":
    run_checks([owners, files, bytecode])
