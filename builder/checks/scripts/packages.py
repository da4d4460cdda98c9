"""In the image, as its default user: Python, torch and every package are those of the lock, and they fit together."""

import csv
import importlib
import importlib.machinery
import importlib.metadata
import os
import platform
import re
import shutil
import site
import subprocess
import sys
import tempfile
import zipfile

from records import list_owned, list_wheels, normalize, read_name, read_packages
from verdict import Failed, Skip, compare_sets, run_checks

NEWER = "99999.0"
FREE = "imgbuild-probe"
SUFFIXES = [".py", *importlib.machinery.EXTENSION_SUFFIXES]


def python(expected):
    """The interpreter has the locked version and lives in the environment's own prefix."""
    found = platform.python_version()
    if found != expected["python"]:
        raise Failed(f"Python is {found}, the lock has {expected['python']}")
    if sys.prefix != expected["prefix"]:
        raise Failed(f"Python runs in {sys.prefix}, not in {expected['prefix']}")
    return found


def command(expected):
    """Plain `python` is the environment's own, nothing makes it import from elsewhere, and the image's command exists.

    What the image's user has in a site of their own is imported before the environment's own packages:
    https://docs.python.org/3/library/site.html#site.USER_SITE
    """
    found = shutil.which("python")
    if found != os.path.join(expected["prefix"], "bin", "python"):
        raise Failed(f"`python` is {found or 'not in PATH'}, not that of {expected['prefix']}")
    moved = sorted({"PYTHONHOME", "PYTHONPATH"} & os.environ.keys())
    if moved:
        raise Failed("set in the image: " + ", ".join(moved))
    folder = find_user_site()
    if folder:
        raise Failed(f"{folder} has modules that are imported before those of the lock")
    if expected["command"] and not shutil.which(expected["command"][0]):
        raise Failed(f"the image's command is not in PATH: {expected['command'][0]}")
    return found


def find_user_site():
    """Return the folder of the image's user that modules are imported from, None where it is not there or empty."""
    folder = site.getusersitepackages()
    return folder if os.path.isdir(folder) and os.listdir(folder) else None


def user(expected):
    """Nobody who starts the image is root unless they ask for it."""
    if os.getuid() == 0:
        raise Failed("the image's default user is root; give it another one: USER 1000:1000")
    return f"uid {os.getuid()}"


def conda_packages(expected):
    """Conda's records are exactly the lock's packages, from their canonical addresses."""
    found = {
        f"{record['name']} {record['version']} {record['build']} from {record['url']}" for record in read_packages()
    }
    wanted = {f"{name} {version} {build} from {url}" for name, version, build, url in expected["conda"]}
    return compare_sets(wanted, found, "packages")


def pip_packages(expected):
    """The distributions that no conda package owns are exactly the lock's wheels."""
    found = {f"{name} {version}" for name, version, _ in list_wheels(list_owned(read_packages()))}
    return compare_sets({f"{name} {version}" for name, version in expected["pip"]}, found, "wheels")


def pip_check(expected):
    """pip finds every requirement of every distribution satisfied."""
    done = run_pip("check", "--isolated")
    if done.returncode != 0:
        raise Failed((done.stdout + done.stderr).strip())
    return done.stdout.strip()


def imports(expected):
    """Every package that the definition asks for can be imported; what has no modules has none to import."""
    modules = {name: list_modules(name) for name in expected["requested"]}
    faults = [f"{name}: {fault}" for name, found in modules.items() for fault in map(try_import, found) if fault]
    if faults:
        raise Failed("; ".join(faults))
    return ", ".join(sorted({module for found in modules.values() for module in found})) or "no modules"


def list_modules(name):
    """Return the top-level modules of a package: of the distribution of that name, or of those in a conda package."""
    names, found = {normalize(name)}, set()
    for package in read_packages():
        if package["name"] == name:
            infos = (re.search(r"([^/]+)-[^/-]+\.(dist|egg)-info/", path) for path in package.get("files", ()))
            names |= {normalize(info[1]) for info in infos if info}
    owned = list_owned(read_packages())
    for distribution in importlib.metadata.distributions():
        if read_name(distribution) in names:
            paths = list_site_files(distribution, owned)
            found |= set(filter(None, map(find_module, paths))) or find_packages(paths)
    return sorted(found)


def list_site_files(distribution, owned):
    """Return the files of a distribution, as paths from the folder that it lies in; of conda's, by conda's record.

    Raises Failed where nothing lists them: without that there is nothing to import, and nothing would fail.
    """
    folder = os.path.relpath(str(distribution._path), sys.prefix)
    try:
        listed = distribution.files
    except (UnicodeDecodeError, csv.Error) as error:
        raise Failed(f"{folder}/RECORD is no list of files: {error}") from None
    if listed is not None:
        return [str(path) for path in listed]
    owner = next((package for path, package in owned.items() if (path + os.sep).startswith(folder + os.sep)), None)
    if owner is None:
        raise Failed(f"{distribution.metadata['Name']} has no list of its files: {folder}/RECORD")
    top = os.path.dirname(folder)
    return [os.path.relpath(path, top) for path, package in owned.items() if package == owner]


def find_module(path):
    """Return the top-level module that a file of a distribution makes, None when it makes none that is public."""
    top, _, rest = path.partition("/")
    if rest:
        return top if rest == "__init__.py" and top.isidentifier() and not top.startswith("_") else None
    name = next((top[: -len(suffix)] for suffix in SUFFIXES if top.endswith(suffix)), "")
    return name if name.isidentifier() and not name.startswith("_") else None


def find_packages(paths):
    """Return the packages that lie highest where no module is at the top: google.protobuf, below no google."""
    folders = [path.split("/")[:-1] for path in paths if path.endswith("/__init__.py")]
    public = [parts for parts in folders if all(it.isidentifier() and not it.startswith("_") for it in parts)]
    least = min(map(len, public), default=0)
    return {".".join(parts) for parts in public if len(parts) == least}


def try_import(module):
    """Return why a module cannot be imported, None when it can."""
    try:
        importlib.import_module(module)
    except (Exception, SystemExit) as error:
        return f"import {module}: {type(error).__name__}: {error}"


def constraint(expected):
    """A later `pip install` cannot replace what is pinned: pip is offered a newer one, and one without a pin."""
    path = os.environ.get("PIP_CONSTRAINT", "")
    if not os.path.isfile(path):
        raise Failed("PIP_CONSTRAINT names no file: a later `pip install` may replace torch and conda's packages")
    with open(path, encoding="utf-8") as file:
        pins = sorted(line.strip() for line in file if line.strip() and not line.startswith("#"))
    said = compare_sets(set(expected["constraints"]), set(pins), "pins")
    if not pins:
        raise Skip("nothing has to be held: no torch, and nothing for Python from conda")
    name = "torch" if expected["torch"] else pins[0].partition("==")[0]
    with tempfile.TemporaryDirectory() as folder:
        for wheel in (name, FREE):
            write_wheel(folder, wheel)
        done = run_pip(
            "install", "--dry-run", "--no-index", "--no-deps", "--upgrade", "--find-links", folder, name, FREE
        )
    taken = re.findall(rf"([\w-]+)-{re.escape(NEWER)}\b", done.stdout.partition("Would install")[2])
    if FREE not in taken:
        raise Failed(f"pip does not take a newer version of anything: {(done.stdout + done.stderr)[-300:]}")
    if len(taken) > 1:
        raise Failed(f"pip would replace {name} in spite of {path}")
    return f"{said}; a newer {name} is refused"


def write_wheel(folder, name):
    """Write an empty wheel of a distribution that is newer than any."""
    stem = f"{name.replace('-', '_')}-{NEWER}"
    files = {"METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {NEWER}\n"}
    files |= {"WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n", "RECORD": ""}
    with zipfile.ZipFile(os.path.join(folder, f"{stem}-py3-none-any.whl"), "w") as wheel:
        for file, text in files.items():
            wheel.writestr(f"{stem}.dist-info/{file}", text)


def run_pip(*arguments):
    """Return what pip, run with its own settings, did and said."""
    command = [sys.executable, "-E", "-B", "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


if __name__ == "__main__":
    run_checks([python, command, user, conda_packages, pip_packages, pip_check, imports, constraint])
