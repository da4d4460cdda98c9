"""What an environment's records say: conda's of its packages, and those of the distributions that pip installed."""

import csv
import functools
import glob
import importlib.metadata
import json
import os
import re
import sys
import sysconfig

from verdict import Failed

HASH = re.compile(r"(?:(?:sha224|sha256|sha384|sha512|md5|sha1)=[\w-]+=*)?")  # algorithm and base64, or nothing


@functools.lru_cache(None)
def read_packages():
    """Return conda's records of the environment, one mapping for each package."""
    found = []
    for path in sorted(glob.glob(os.path.join(sys.prefix, "conda-meta", "*.json"))):
        with open(path, encoding="utf-8") as file:
            try:
                found.append(json.load(file))
            except ValueError as error:
                raise Failed(f"{path} is no record of conda's: {error}") from None
    return found


def list_owned(packages):
    """Return the name of the conda package that each file belongs to, by its path below the prefix."""
    return {os.path.normpath(path): package["name"] for package in packages for path in package.get("files", ())}


def list_wheels(owned):
    """Return the distributions that no conda package owns, as (name, version, metadata folder below the prefix)."""
    found = []
    for distribution in importlib.metadata.distributions(path=[sysconfig.get_path("platlib")]):
        folder = os.path.relpath(str(distribution._path), sys.prefix)
        if not any(os.path.join(folder, name) in owned for name in ("METADATA", "PKG-INFO", "RECORD")):
            found.append((read_name(distribution), distribution.version, folder))
    return found


@functools.lru_cache(None)
def read_wheel_files(folder):
    """Return the files of a wheel as (path below the prefix, hash as RECORD has it, or None), none without RECORD."""
    path = os.path.join(sys.prefix, folder, "RECORD")
    if not os.path.exists(path):
        return ()
    with open(path, encoding="utf-8", errors="replace", newline="") as record:
        try:
            rows = [row for row in csv.reader(record) if row]
        except csv.Error as error:
            raise Failed(f"{path} is no list of files: {error}") from None
    odd = next((row for row in rows if len(row) < 2 or not HASH.fullmatch(row[1])), None)
    if odd:
        raise Failed(f"{path} has a line without a file and its hash: {','.join(odd)}")
    site = os.path.dirname(folder)
    return tuple((os.path.normpath(os.path.join(site, row[0])), row[1] or None) for row in rows)


def read_name(distribution):
    """Return the normalized name of a distribution. Raises Failed where its metadata have none."""
    try:
        return normalize(distribution.metadata["Name"])
    except (TypeError, UnicodeDecodeError):
        raise Failed(f"{distribution._path} has no METADATA with a name") from None


def normalize(name):
    """Return a distribution's name as indexes spell it."""
    return re.sub(r"[-_.]+", "-", name).lower()
