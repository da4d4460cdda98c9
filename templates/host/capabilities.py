"""capabilities.py FOLDER: take away the capabilities that programs below a folder, on its file system, give.

They are an extended attribute: capabilities(7), "File capabilities". So nothing is needed that knows of capabilities.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

ATTRIBUTE = "security.capability"


def take_capabilities(folder: str) -> list[str]:
    """Return the files below a folder that had capabilities, and have none now; raise OSError where one keeps them."""
    return [path for path in list_files(folder) if take_from_file(path)]


def list_files(folder: str) -> Iterator[str]:
    """Yield the regular files below a folder, without what is mounted there; raise OSError where that is not known."""
    device = os.lstat(folder).st_dev
    for root, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if os.lstat(os.path.join(root, name)).st_dev == device]
        paths = (os.path.join(root, name) for name in names)
        yield from (path for path in paths if stat.S_ISREG(os.lstat(path).st_mode))


def refuse(error: OSError) -> NoReturn:
    """Raise what `os.walk` was told of a folder, which it would skip otherwise."""
    raise error


def take_from_file(path: str) -> bool:
    """Return whether a file had capabilities; it has none now. A file that has none is not touched."""
    try:
        os.getxattr(path, ATTRIBUTE, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):  # no such attribute, none on this file system
            return False
        raise
    os.removexattr(path, ATTRIBUTE, follow_symlinks=False)
    return True


def main() -> None:
    if sys.argv[0] != "/host/capabilities.py":
        sys.exit("this is for build steps; here it would change your programs")
    try:
        take_capabilities(sys.argv[1])
    except OSError as error:
        sys.exit(f"capabilities.py: {error.filename}: its capabilities cannot be taken away: {error.strerror}")


if __name__ == "__main__":
    main()
