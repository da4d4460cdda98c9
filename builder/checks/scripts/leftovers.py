"""In the image, as root to see all: no cache, log, secret or privileged file is left; it is not too big."""

import csv
import errno
import functools
import json
import os
import re
import stat
import sys

from verdict import Failed, run_checks

EMPTY = [
    "/var/cache/apt",
    "/var/lib/apt/lists",
    "/var/cache/ldconfig",
    "/var/log",
    "/usr/local/share/.cache",
    "/run/secrets",
    "/build",
    "/host",
]

# What tools keep in the home of whoever runs them, and where a home may be besides those of /etc/passwd.
IN_HOME = (".cache", ".conda", ".mamba", ".npm", ".nv", ".triton", "micromamba/pkgs")
IN_HOME += (".python_history", ".bash_history")
HOMES = ("", "root", "home/user", "workspace")

# Where dpkg and debconf keep a copy of what they had before, which carries the time of the installation.
COPIED = ("/var/cache/debconf", "/var/lib/dpkg")

# Empty of packages: lock files, and the lists of addresses that conda's base images carry themselves.
BOOKKEEPING = ("lock", ".lock", "urls", "urls.txt")

# What installers download, wherever it lies.
ARCHIVES = (".whl", ".conda", ".deb", ".rpm")
BUNDLED = "/ensurepip/_bundled/"  # a Python's own pip

# What pip, uv and Python's tempfile call the folders that they unpack into.
SCRATCH = ("/tmp/", "/var/tmp/")
SCRATCH_NAMES = ("pip-", "uv-", ".tmp", "tmp")

SMALL = 1 << 20
ROOT = "/"

# Where pip, uv, conda, mamba, apt, logins and downloaders look for an index, a proxy or a certificate, and what they
# call them. Channels are not among these: a base names its own.
SETTINGS_FILES = {"pip.conf", "uv.toml", ".condarc", "condarc", ".mambarc", "apt.conf", "environment"}
SETTINGS_FILES |= {".curlrc", ".wgetrc"}
SETTINGS_FOLDER = "etc/apt/apt.conf.d"
SETTING = re.compile(
    r"^[^\w\n#;]*(?:export\s+|global-)?((?:extra-|default-)?index(?:-url)?|find-links|trusted-host|client-cert|cert"
    r"|(?:https?|ftp|all)_proxy|proxy(?:_servers)?|channel_alias|custom_channels|client_ssl_cert|Acquire::\w+::Proxy)"
    r"(?=\s*[:=\]\"])",
    re.IGNORECASE | re.MULTILINE,
)

# What Debian's packages bring and configure, whose texts show logins as examples.
OF_DEBIAN = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "var/lib/dpkg", "var/cache/debconf")
NOT_OF_DEBIAN = ("usr/local", "usr/src")

# The names under which tools keep what logs them in.
SECRET_FILES = {".netrc", "_netrc", ".pypirc", ".git-credentials", "id_rsa", "id_ed25519", "id_ecdsa", ".htpasswd"}
SECRET_FILES |= {"kaggle.json", ".vault-token", "credentials.json", "service-account.json", ".pgpass", ".s3cfg"}
SECRET_FILES |= {"application_default_credentials.json", "msal_token_cache.json", "rclone.conf", ".boto"}
SECRET_PATHS = (".docker/config.json", ".aws/credentials", ".cache/huggingface/token", "gcloud/credentials.db")
SECRET_PATHS += (".kube/config", "uv/credentials/credentials.toml")

# Private keys, logins and tokens in addresses (conda's after /t/), logins of netrc, git (as actions/checkout leaves
# them), docker, npm and AWS, tokens of services that mark theirs.
KEY = rb"(?i:password|passwd|secret|(?:api|secret|access)[_-]?key|(?:access|auth|refresh)[_-]?token|client[_-]?secret)"
SECRET_TEXT = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----|[a-z]://[^/\s:@'\"<>$]*:[^/\s@'\"<>$]+@[\w.-]+"
    rb"|://(?=[\w-]*\d)[\w-]{16,}@[\w.-]+|://[^/\s\"'<>]+/t/(?=[\w-]*\d)[\w-]{8,}/|/t/tk-[\w-]+"
    rb"|\b(?:machine\s+\S+|default)\s+login\s+\S+\s+password\s+[^\s$<{]"
    rb"|\b(?i:extraheader\s*=\s*\"?authorization:\s*\w+\s+[\w+/=.-]{8})"
    rb"|\"auths\"\s*:\s*\{[^}]*\"auth\"\s*:\s*\"[\w+/]{8}|PuTTY-User-Key-File-"
    rb"|\baws_secret_access_key\s*=\s*[A-Za-z0-9+/]{40}(?![\w+/])"
    rb"|:_(?:authToken|auth|password)\s*=\s*[\w+/-]{8}|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"
    rb"|(?m:^[ \t]*[\"']?" + KEY + rb"[\"']?\s*[:=]\s*[\"']?[^\s\"'$<{(\[]{8,}[\"']?,?\s*$)"
    rb"|\"" + KEY + rb"\"\s*:\s*\"[^\s\"$<{(\[]{8,}\""
    rb"|\b(?:gh[oprsu]_|github_pat_|glpat-|xox[bp]-|A[KS]IA|pypi-AgE)[A-Za-z0-9_-]{16,}"
    rb"|\b(?:hf_|npm_)[A-Za-z0-9]{30,}|\bsk-(?:[a-z0-9]+-){0,2}[A-Za-z0-9_]{20,}"
)

# Not TOKENIZERS_PARALLELISM, nor GPG_KEY, which in Docker's python says whose public key signs a release.
SECRET_VARIABLE = re.compile(
    r"(?:^|[^A-Z])(?:TOKENS?|PASS|PAT|SECRETS?|CREDENTIALS?|(?:API|ACCESS|PRIVATE)_?KEYS?)(?:[^A-Z]|$)"
    r"|TOKEN$|PASSWORD|PASSWD|PASSPHRASE|SSHPASS$|_PWD$|(?<!GPG)_KEY$"
)
GIVEN = re.compile(r"(?<![\w-])([A-Za-z_]\w*)=(\"[^\"]*\"|'[^']*'|\S*)")
HARMLESS = re.compile(r"\d{0,5}|<\w+>|\$\{?\w+\}?|true|false|yes|no|on|off", re.IGNORECASE)


def list_files(folder):
    """Yield every file below a folder, or the folder itself where it is a file."""
    if os.path.isfile(folder):
        yield folder
    for root, _, names in os.walk(folder):
        yield from (os.path.join(root, name) for name in names)


def no_caches(expected):
    """The places where conda, pip and apt keep what they download and log hold no file of this image's making."""
    folders = EMPTY + [expected["pkgs-dir"], os.path.join(expected["prefix"], "pkgs")]
    folders.append(os.path.join(os.path.dirname(expected["pkgs-dir"]), "conda-bld"))
    folders += [os.path.join(home, name) for home in list_homes() for name in IN_HOME]
    found = [path for folder in folders for path in list_files(folder)]
    found += [path for top in SCRATCH for path in list_files(top) if path[len(top) :].startswith(SCRATCH_NAMES)]
    found += [path for folder in COPIED for path in list_files(folder) if path.endswith("-old")]
    found += [path for path in list_own_files(expected) if path.endswith(ARCHIVES) and BUNDLED not in path]
    left = [path for path in set(found) if os.path.basename(path) not in BOOKKEEPING and is_left(path)]
    if left:
        raise Failed(f"{len(left)} files left: " + ", ".join(sorted(left)[:5]))
    return "nothing left"


def list_homes():
    """Return the homes of all users, and where those may end up that have none."""
    homes = set(HOMES)
    if os.path.exists(os.path.join(ROOT, "etc/passwd")):
        with open(os.path.join(ROOT, "etc/passwd"), encoding="utf-8", errors="replace") as users:
            homes |= {user.split(":")[5].strip("/") for user in users if user.count(":") >= 6}
    return sorted(os.path.join(ROOT, home) for home in homes)


def is_left(path):
    """Return whether a file has content, and was in the image: what the checks before this one wrote is younger.

    By the time of the file's status, which nobody can set, against that of what the checks were told.
    """
    status = os.lstat(path)
    return status.st_size > 0 and status.st_ctime_ns <= os.lstat(sys.argv[1]).st_ctime_ns


def no_settings(expected):
    """No variable and no file names an index, proxy or certificate of the machine that built the image."""
    names = ("proxy", "netrc", "pip_", "conda_ssl", "requests_ca", "ssl_cert", "curl_ca", "condarc", "conda_channel")
    names += ("uv_index", "uv_default_index", "uv_extra_index", "uv_find_links", "git_ssl", "node_extra_ca", "aws_ca")
    keys = os.environ.keys() - {"PIP_CONSTRAINT", "UV_INDEX_STRATEGY"}
    found = sorted(key for key in keys if key.lower().startswith(names) or key.lower().endswith("_proxy"))
    own = list_own_files(expected)
    found += [f"{name} in {path}" for path in sorted(own) if is_settings(path) for name in read_settings(path)]
    if found:
        raise Failed("set in the image: " + ", ".join(found))
    return "nothing set"


def is_settings(path):
    """Return whether a file is one of those that tell pip, uv, conda, apt or a login where to look."""
    folder, name = os.path.split(path)
    return name in SETTINGS_FILES or folder == os.path.join(ROOT, SETTINGS_FOLDER)


def read_settings(path):
    """Return the names of the settings of a machine in a file."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return sorted(set(SETTING.findall(file.read(SMALL))))


def no_secrets(expected):
    """No file, variable, label or step of the image looks like what logs somebody in.

    What packages brought is not read.
    """
    settings = [("variable", os.environ), ("label", expected["labels"])]
    found = [f"{kind} {name}" for kind, named in settings for name, value in named.items() if logs_in(name, value)]
    found += [path for path in list_own_files(expected) if is_secret(path)]
    shown = [number for number, step in enumerate(expected["history"], 1) if tells_login(step)]
    found += [f"what `docker history` shows in line {number}" for number in shown]
    if found:
        raise Failed(f"looks like a secret: {', '.join(sorted(found)[:5])}; mount it with docker run instead")
    return "none found"


def logs_in(name, value):
    """Return whether a variable or label has the name or the text of a login; many tokens are a number of words."""
    if HARMLESS.fullmatch(value) or (value.isdigit() and "TOKENS" in name.upper()):
        return False
    return bool(SECRET_VARIABLE.search(name.upper()) or SECRET_TEXT.search(value.encode()))


def tells_login(step):
    """Return whether a step of a Dockerfile, which has its build arguments in front, has the text of a login."""
    given = ((name, value.strip("\"'")) for name, value in GIVEN.findall(step))
    return bool(SECRET_TEXT.search(step.encode())) or any(
        logs_in(name, value) for name, value in given if value[:1] != "$"
    )


def list_own_files(expected):
    """Return the files of the image that no record of a package names, by conda, an installer of wheels, or Debian."""
    paths = [path for path, status in walk_image(expected).items() if stat.S_ISREG(status.st_mode)]
    owned = set().union(*map(read_record, paths))
    told = os.path.join(os.path.dirname(sys.argv[1]), "")
    debian = tuple(os.path.join(ROOT, folder, "") for folder in OF_DEBIAN)
    not_debian = tuple(os.path.join(ROOT, folder, "") for folder in NOT_OF_DEBIAN)
    return [
        path
        for path in paths
        if path not in owned
        and not path.endswith(".pyc")
        and not path.startswith(told)
        and (path.startswith(not_debian) or not path.startswith(debian))
    ]


@functools.lru_cache(None)
def read_record(path):
    """Return the files that a record of a package names, where the path is one."""
    folder, name = os.path.split(path)
    if os.path.basename(folder) == "conda-meta" and name.endswith(".json"):
        with open(path, encoding="utf-8", errors="replace") as file:
            try:
                record = json.load(file)
            except ValueError:  # the checks of packages say so
                return set()
        prefix = os.path.dirname(folder)
        return {os.path.normpath(os.path.join(prefix, own)) for own in record.get("files", ())}
    if folder.endswith(".dist-info") and name == "RECORD":
        with open(path, encoding="utf-8", errors="replace", newline="") as file:
            rows = [row[0] for row in csv.reader(line.replace("\0", "") for line in file) if row]
        return {os.path.normpath(os.path.join(os.path.dirname(folder), own)) for own in rows} - {
            os.path.join(folder, "direct_url.json")  # an installer wrote where it came from
        }
    return set()


def is_secret(path):
    """Return whether a file has the name or the text of a login."""
    if os.path.basename(path) in SECRET_FILES or path.endswith(SECRET_PATHS):
        return os.path.getsize(path) > 0
    if os.path.getsize(path) > SMALL:
        return False
    with open(path, "rb") as stream:
        text = stream.read()
    if path.endswith(".env"):
        lines = (line.partition("=") for line in text.decode(errors="replace").splitlines() if line[:1] != "#")
        if any(logs_in(name, value.strip(" \"'")) for name, _, value in lines):
            return True
    return SECRET_TEXT.search(text) is not None


def walk_image(expected):
    """Return the status of every file of the image, by path; what it has in a volume, the engine has copied there."""
    volumes = (os.path.join(ROOT, path.strip("/")) for path in expected["volumes"])
    return {path: status for top in (ROOT, *volumes) for path, status in walk_disk(top)}


@functools.lru_cache(None)
def walk_disk(top):
    """Return (path, status) of every file on the file system of a folder."""
    found, device = [], os.stat(top).st_dev
    for root, folders, names in os.walk(top):
        folders[:] = [name for name in folders if os.lstat(os.path.join(root, name)).st_dev == device]
        found += [(path, os.lstat(path)) for path in (os.path.join(root, name) for name in names)]
    return found


def no_setuid(expected):
    """No program runs as somebody else than the one who starts it, or may do more."""
    files = [(path, status) for path, status in walk_image(expected).items() if stat.S_ISREG(status.st_mode)]
    for what, found in (
        ("setuid or setgid files", [path for path, status in files if status.st_mode & 0o6000]),
        ("files with capabilities", [path for path, _ in files if has_capabilities(path)]),
    ):
        if found:
            raise Failed(f"{len(found)} {what}: {', '.join(sorted(found)[:5])}")
    return "none"


def has_capabilities(path):
    """Return whether a file gives who runs it capabilities of root's: capabilities(7), "File capabilities"."""
    try:
        return bool(os.getxattr(path, "security.capability", follow_symlinks=False))
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):  # no such attribute, none on this file system
            return False
        raise


def size(expected):
    """The image takes no more of a disk than the definition allows."""
    unique = {(it.st_dev, it.st_ino): it.st_blocks * 512 for it in walk_image(expected).values()}
    taken, limit = sum(unique.values()), expected["max-size"]
    if limit and taken > limit:
        raise Failed(f"{taken / 1e9:.2f} GB unpacked, the definition allows {limit / 1e9:.2f} GB")
    return f"{taken / 1e9:.2f} GB unpacked" + (f" of {limit / 1e9:.2f} GB" if limit else "")


if __name__ == "__main__":
    run_checks([no_caches, no_settings, no_secrets, no_setuid, size])
