"""Which package each file of an environment belongs to, by the records that conda and installers of wheels left."""

import os
import sys

from records import read_wheel_files

TAG = f".{sys.implementation.cache_tag}"
KEEPER = ".keep"  # of templates/host/neutral.py


def describe_conda(package):
    """Return what a conda package claims: its files, and the record that says so."""
    name, version, build = package["name"], package["version"], package["build"]
    record = f"conda-meta/{name}-{version}-{build}.json"
    files = {os.path.normpath(path) for path in package.get("files", ())}
    identity = {"kind": "conda", "name": name, "version": version, "build": build}
    return {"identity": identity, "files": files | {record}, "folder": None}


def describe_wheel(name, version, folder):
    """Return what a distribution claims: its files, and all that lies in its metadata folder."""
    files = {path for path, _ in read_wheel_files(folder)}
    identity = {"kind": "pypi", "name": name, "version": version, "build": None}
    return {"identity": identity, "files": files, "folder": folder}


def list_files(prefix):
    """Return the files below a folder, links among them, and where each link leads: all as paths below it."""
    root = os.path.realpath(prefix)
    present, links, folders = set(), {}, [""]
    while folders:
        folder = folders.pop()
        with os.scandir(os.path.join(root, folder)) as entries:
            for entry in entries:
                path = os.path.join(folder, entry.name)
                if entry.is_dir(follow_symlinks=False):
                    folders.append(path)
                    continue
                present.add(path)
                if entry.is_symlink():
                    links[path] = os.path.relpath(os.path.realpath(entry.path), root)
    return present, links


def assign_files(present, links, claims):
    """Return each package with those of its files that are there, sorted, and the files of no package.

    A package has what its record names. Of the rest it has the links that its files are found through and what they
    lead to, the bytecode of its sources, whoever compiled it, and all that lies in its metadata folder.
    """
    named, linked = {}, {}
    for number, claim in enumerate(claims):
        for path in claim["files"]:
            if path in present:
                named.setdefault(path, set()).add(number)
            if path not in present or path in links:
                for other in follow(path, links):
                    linked.setdefault(other, set()).add(number)
    folders = {os.path.basename(claim["folder"]): {number} for number, claim in enumerate(claims) if claim["folder"]}
    files = {number: [] for number, _ in enumerate(claims)}
    unclaimed = []
    for path in sorted(present):
        source = find_source(path)
        found = (
            named.get(path)
            or linked.get(path)
            or named.get(source)
            or linked.get(source)
            or find_folder(path, folders)
        )
        for number in found:
            files[number].append(path)
        if not found:
            unclaimed.append(path)
    return [dict(claim["identity"], files=files[number]) for number, claim in enumerate(claims)], unclaimed


def follow(path, links):
    """Return the links that a path leads through, the file that keeps a linked folder, and where the path ends."""
    found, done = [], ""
    for part in path.split(os.sep):
        done = os.path.join(done, part)
        if done in links:
            found += [done, os.path.join(links[done], KEEPER)]
            done = links[done]
    return [*found, done]


def find_source(path):
    """Return the source that a file was compiled from, None for what is not bytecode (PEP 3147)."""
    folder, name = os.path.split(path)
    stem, tag, _ = name.partition(TAG)
    if not tag or os.path.basename(folder) != "__pycache__" or not name.endswith(".pyc"):
        return None
    return os.path.join(os.path.dirname(folder), f"{stem}.py")


def find_folder(path, folders):
    """Return the owner of the metadata folder that a path lies in, wherever a copy of that folder is."""
    for part in path.split(os.sep)[:-1]:
        if part in folders:
            return folders[part]
    return set()
