"""In the image, as root so that nothing is hidden: no cache, secret or setuid file is left, and it is not too big."""

import functools
import os
import re
import stat

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


# Where logins are kept.
HOMES = ["/root", "/home", "/etc", "/tmp", "/var/tmp", "/srv", "/workspace", "/opt/env/etc", "/opt/env/conda-meta"]
SMALL = 1 << 20
ROOT = "/"

# The names under which tools keep what logs them in.
SECRET_FILES = {".netrc", "_netrc", ".pypirc", ".git-credentials", "id_rsa", "id_ed25519", "id_ecdsa", ".htpasswd"}
SECRET_FILES |= {"kaggle.json", ".vault-token", "credentials.json", "service-account.json"}
SECRET_PATHS = (".docker/config.json", ".aws/credentials", ".cache/huggingface/token", "gcloud/credentials.db")

# Private keys, logins in addresses, and the tokens of services that mark theirs.
SECRET_TEXT = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----|[a-z]://[^/\s:@'\"<>$]+:[^/\s@'\"<>$]+@[\w.-]+"
    rb"|\b(?:ghp_|gho_|github_pat_|glpat-|hf_|xox[bp]-|AKIA|pypi-)[A-Za-z0-9_-]{16,}"
)
SECRET_VARIABLE = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_?KEY|CREDENTIAL")


def list_files(folder):
    """Yield every file below a folder, or the folder itself where it is a file."""
    if os.path.isfile(folder):
        yield folder
    for root, _, names in os.walk(folder):
        yield from (os.path.join(root, name) for name in names)


def no_caches(expected):
    """The places where conda, pip and apt keep what they download hold no file of this image's making."""
    found = [path for folder in EMPTY + [expected["pkgs-dir"]] for path in list_files(folder)]
    left = [path for path in found if os.path.basename(path) not in BOOKKEEPING and os.lstat(path).st_size]
    if left:
        raise Failed(f"{len(left)} files left: " + ", ".join(sorted(left)[:5]))
    return "nothing left"


def no_settings(expected):
    """The environment names no address, proxy or credential of the machine that built the image."""
    names = ("proxy", "netrc", "pip_", "conda_ssl", "requests_ca", "ssl_cert", "curl_ca")
    keys = os.environ.keys() - {"PIP_CONSTRAINT"}
    found = sorted(key for key in keys if key.lower().startswith(names) or key.lower().endswith("_proxy"))
    if found:
        raise Failed("set in the image: " + ", ".join(found))
    return "nothing set"


def no_secrets(expected):
    """No file or variable of the image looks like what logs somebody in."""
    found = [
        f"variable {name}" for name, value in os.environ.items() if SECRET_VARIABLE.search(name.upper()) and value
    ]
    for folder in HOMES:
        found += [path for path in list_files(folder) if is_secret(path)]
    if found:
        raise Failed(f"looks like a secret: {', '.join(sorted(found)[:5])}; mount it with docker run instead")
    return "none found"


def is_secret(path):
    """Return whether a file has the name or the text of a login."""
    if os.path.basename(path) in SECRET_FILES or path.endswith(SECRET_PATHS):
        return os.path.getsize(path) > 0
    if os.path.islink(path) or not os.path.isfile(path) or os.path.getsize(path) > SMALL:
        return False
    with open(path, "rb") as stream:
        return SECRET_TEXT.search(stream.read()) is not None


@functools.lru_cache(None)
def walk_image(top):
    """Return (path, status) of every file on the file system of a folder."""
    found, device = [], os.lstat(top).st_dev
    for root, folders, names in os.walk(top):
        folders[:] = [name for name in folders if os.lstat(os.path.join(root, name)).st_dev == device]
        found += [(path, os.lstat(path)) for path in (os.path.join(root, name) for name in names)]
    return found


def no_setuid(expected):
    """No program runs as somebody else than the one who starts it."""
    found = [path for path, status in walk_image(ROOT) if stat.S_ISREG(status.st_mode) and status.st_mode & 0o6000]
    if found:
        raise Failed(f"{len(found)} setuid or setgid files: {', '.join(sorted(found)[:5])}")
    return "none"


def size(expected):
    """The image takes no more of a disk than the definition allows."""
    unique = {status.st_ino: status.st_blocks * 512 for _, status in walk_image(ROOT)}
    taken, limit = sum(unique.values()), expected["max-size"]
    if limit and taken > limit:
        raise Failed(f"{taken / 1e9:.2f} GB unpacked, the definition allows {limit / 1e9:.2f} GB")
    return f"{taken / 1e9:.2f} GB unpacked" + (f" of {limit / 1e9:.2f} GB" if limit else "")


if __name__ == "__main__":
    run_checks([no_caches, no_settings, no_secrets, no_setuid, size])
