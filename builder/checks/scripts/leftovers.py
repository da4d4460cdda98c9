"""In the image, as root so that nothing is hidden: no cache, log or download stayed behind."""

import os

from verdict import Failed, run_checks

EMPTY = [
    "/root/.cache",
    "/root/.conda",
    "/root/.mamba",
    "/home/user/.cache",
    "/var/cache/apt/archives",
    "/var/lib/apt/lists",
    "/var/log/apt",
    "/run/secrets",
    "/build",
    "/host",
]

# Empty of packages: lock files, and the lists of addresses that conda's base images carry themselves.
BOOKKEEPING = ("lock", ".lock", "urls", "urls.txt")


def list_files(folder):
    """Yield every file below a folder, or the folder itself where it is a file."""
    if os.path.isfile(folder):
        yield folder
    for root, _, names in os.walk(folder):
        yield from (os.path.join(root, name) for name in names)


def no_caches(expected):
    """The places where conda, pip and apt keep what they download hold no file of this image's making."""
    found = [path for folder in EMPTY + [expected["pkgs-dir"]] for path in list_files(folder)]
    left = [path for path in found if os.path.basename(path) not in BOOKKEEPING]
    if left:
        raise Failed(f"{len(left)} files left: " + ", ".join(sorted(left)[:5]))
    return "nothing left"


def no_settings(expected):
    """The environment names no address, proxy or credential of the machine that built the image."""
    names = ("proxy", "netrc", "pip_", "conda_ssl", "requests_ca", "ssl_cert", "curl_ca")
    found = sorted(key for key in os.environ if key.lower().startswith(names) or key.lower().endswith("_proxy"))
    if found:
        raise Failed("set in the image: " + ", ".join(found))


run_checks([no_caches, no_settings])
