"""Debian as the machine's own apt configuration reaches it: mirror, packages, sources, chroots, host tools."""

from __future__ import annotations

import fcntl
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.kit.errors import KitError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.kit.workspace import Workspace

BASE_SUITE = "bookworm"
BASE_GLIBC = "2.36"
SUITES = frozenset(
    ("bullseye", "bookworm", "trixie", "forky", "duke", "sid", "oldstable", "stable", "testing", "unstable")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """Where Debian's archive is, and the keyring that signs for it (None: the keys that apt trusts for everything)."""

    uri: str
    signed_by: str | None

    def source_line(self, kind: str, suite: str) -> str:
        """Return a line of sources.list for one suite; kind is "deb" or "deb-src".

        Signatures are checked as always; a mirror that stands still, as in an air gap, is taken as it is.
        """
        signed = f" signed-by={self.signed_by}" if self.signed_by else ""
        return f"{kind} [check-valid-until=no{signed}] {self.uri} {suite} main"


def parse_deb822(text: str) -> Iterator[dict[str, str]]:
    """Yield the stanzas of a `.sources` file, keys in lower case, folded lines joined (man 5 sources.list)."""
    for stanza in text.replace("\r\n", "\n").split("\n\n"):
        fields: dict[str, str] = {}
        key = ""
        for line in stanza.splitlines():
            if line.startswith("#") or not line.strip():
                continue
            if line[0] in " \t" and key:
                fields[key] += " " + line.strip()
            else:
                key, _, value = line.partition(":")
                key = key.strip().lower()
                fields[key] = value.strip()
        if fields:
            yield fields


def parse_one_line(text: str) -> Iterator[dict[str, str]]:
    """Yield the lines of a `sources.list` file as stanzas with the keys of a `.sources` file."""
    for line in text.splitlines():
        kind, _, rest = line.partition("#")[0].strip().partition(" ")
        options = ""
        rest = rest.strip()
        if rest.startswith("["):
            options, _, rest = rest[1:].partition("]")
        words = rest.split()
        if kind == "deb" and len(words) >= 2:
            named = dict(option.split("=", 1) for option in options.split() if "=" in option)
            signed_by = {"signed-by": named["signed-by"]} if "signed-by" in named else {}
            yield {"types": kind, "uris": words[0], "suites": words[1], "components": " ".join(words[2:]), **signed_by}


def choose_mirror(stanzas: Iterable[dict[str, str]]) -> Mirror | None:
    """Return the first mirror of a release of Debian itself, not of updates and not of somebody else's packages."""
    for stanza in stanzas:
        if (
            "deb" in stanza.get("types", "").split()
            and stanza.get("enabled", "yes").lower() not in ("no", "false", "0")
            and SUITES.intersection(stanza.get("suites", "").split())
            and "main" in stanza.get("components", "").split()
        ):
            signed_by = stanza.get("signed-by", "")
            # A deb822 source may hold the key itself; apt then needs to trust Debian's key by other means.
            keyring = signed_by if signed_by.startswith("/") else None
            return Mirror(uri=stanza["uris"].split()[0].rstrip("/"), signed_by=keyring)
    return None


def find_mirror(etc: Path = Path("/etc/apt")) -> Mirror:
    """Return the Debian mirror of the machine's apt configuration; raise KitError when it names none."""
    stanzas: list[dict[str, str]] = []
    for path in (etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))):
        if path.suffix in (".list", ".sources") and path.is_file():
            parse = parse_deb822 if path.suffix == ".sources" else parse_one_line
            stanzas += parse(path.read_text(encoding="utf-8"))
    mirror = choose_mirror(stanzas)
    if mirror is None:
        raise KitError(f"no Debian mirror in {etc}", hint="the kit needs a Debian machine whose apt works")
    if mirror.uri.startswith("mirror+file:"):
        listed = Path(mirror.uri.removeprefix("mirror+file:")).read_text(encoding="utf-8").split()
        return Mirror(uri=listed[0].rstrip("/"), signed_by=mirror.signed_by)
    return mirror


def install_tools(workspace: Workspace, packages: dict[str, str]) -> None:
    """Install with apt what the machine lacks; `packages` maps a command to the Debian package that has it."""
    missing = sorted({package for command, package in packages.items() if shutil.which(command) is None})
    if missing:
        install_packages(workspace, missing)


def install_packages(workspace: Workspace, packages: Iterable[str]) -> None:
    """Install Debian packages on this machine; raise KitError when not root."""
    wanted = list(packages)
    if os.geteuid():
        raise KitError(f"not root, and these Debian packages are missing: {' '.join(wanted)}", hint="run it as root")
    with (workspace.root / "apt.lock").open("w") as lock:  # apt waits for no other apt
        fcntl.flock(lock, fcntl.LOCK_EX)
        workspace.run("apt-get", "update")
        workspace.run("apt-get", "install", "-y", "--no-install-recommends", *wanted)


def configure_apt(workspace: Workspace, suite: str) -> tuple[str, ...]:
    """Return an `apt-get` command that sees one suite and sources, and shares nothing with the machine's own state."""
    state = workspace.scratch / "apt"
    for folder in ("lists/partial", "cache/archives/partial"):
        (state / folder).mkdir(parents=True)
    (state / "status").touch()
    mirror = find_mirror()
    sources = state / "sources.list"
    lines = (mirror.source_line("deb", suite), mirror.source_line("deb-src", suite))
    sources.write_text("\n".join(lines) + "\n", encoding="utf-8")
    options = {
        "Dir::State": state,
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "-",
        "Dir::Etc::preferencesparts": "-",
        "APT::Sandbox::User": "root",
    }
    command = ("apt-get", *(word for name, value in options.items() for word in ("-o", f"{name}={value}")))
    workspace.run(*command, "update")
    return command


def download_packages(workspace: Workspace, suite: str, names: Iterable[str]) -> dict[str, Path]:
    """Return the `.deb` file of each named package of the suite."""
    apt = configure_apt(workspace, suite)
    target = workspace.scratch / "debs"
    target.mkdir()
    workspace.run(*apt, "download", *names, cwd=target)
    return {path.name.split("_")[0]: path for path in target.glob("*.deb")}


def download_source(workspace: Workspace, suite: str, name: str) -> Path:
    """Return the upstream tarball of a source package of the suite."""
    apt = configure_apt(workspace, suite)
    target = workspace.scratch / "source"
    target.mkdir()
    workspace.run(*apt, "source", "--download-only", name, cwd=target)
    return next(path for path in target.glob("*.orig.tar.*") if path.suffix != ".asc")


def run_bootstrap(
    workspace: Workspace, *, variant: str, include: Iterable[str], hooks: Iterable[str], target: Path | None
) -> None:
    """Make a Debian system of the base's suite with mmdebstrap, as a tarball or, without target, thrown away.

    Hooks run when all is installed; they are mmdebstrap's customize hooks, `$1` being the system's root.
    """
    install_tools(workspace, {"mmdebstrap": "mmdebstrap"})
    slim = [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("man", "doc", "info", "locale")]
    workspace.run(
        *("unshare", "--mount"),  # what it mounts ends with it, even when it is killed
        "mmdebstrap",
        f"--variant={variant}",
        f"--include={','.join(include)}",
        f"--format={'tar' if target else 'null'}",
        *slim,
        *(f"--customize-hook={hook}" for hook in hooks),
        BASE_SUITE,
        target or "-",
        find_mirror().uri,
    )
