"""The container engine: the one that answers, else Debian's, started; a second one for the other store."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import platform
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args
from urllib.parse import quote, urlsplit

from tests.kit import processes
from tests.kit.debian import find_mirror, install_packages
from tests.kit.errors import KitError
from tests.kit.steps import Progress
from tests.kit.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Store = Literal["default", "containerd"]
STORES: tuple[Store, ...] = get_args(Store)

DEFAULT_SOCKET = "unix:///var/run/docker.sock"
PACKAGES = ("docker.io/sid", "containerd/sid", "docker-buildx/sid", "docker-cli/sid", "iptables")
"""What is installed: bookworm's own docker.io (20.10) is too old. sid's needs no newer glibc than bookworm has, and
runc stays the release's own."""


BRIDGE = "imgbuild-kit0"
STARTS = 3


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """An engine by its URL. Questions that every `up` asks are put over plain HTTP, which is faster than docker-py."""

    url: str

    def get(self, path: str) -> tuple[int, bytes]:
        """Return status and body of a GET; raise OSError when nothing answers, KitError on a URL of another kind."""
        parts = urlsplit(self.url)
        match parts.scheme:
            case "unix":
                connection: http.client.HTTPConnection = UnixConnection(parts.path)
            case "tcp" | "http":
                connection = http.client.HTTPConnection(parts.netloc, timeout=60)
            case scheme:
                raise KitError(
                    f"the kit cannot speak {scheme}:// to an engine", hint="set DOCKER_HOST to unix:// or tcp://"
                )
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()

    def answers(self) -> bool:
        try:
            return self.get("/_ping")[0] == http.HTTPStatus.OK
        except OSError:
            return False

    def read_label(self, image: str, label: str) -> str | None:
        """Return a label of an image, None when there is no such image or label."""
        status, body = self.get(f"/images/{quote(image)}/json")
        if status != http.HTTPStatus.OK:
            return None
        value: str | None = (json.loads(body)["Config"].get("Labels") or {}).get(label)
        return value

    def import_image(self, tarball: Path, *, repository: str, tag: str, changes: Iterable[str]) -> None:
        """Make an image of a root file system; raise KitError when the engine refuses."""
        # Imported here: a finished kit never needs it, and it takes longer than all else that `up` then does.
        from docker import APIClient
        from docker.errors import DockerException

        try:
            client = APIClient(base_url=self.url, timeout=600)
            answer = client.import_image_from_file(str(tarball), repository, tag, changes=list(changes))
        except DockerException as error:
            raise KitError(f"the engine refused {tarball}: {error}") from error
        if '"error"' in answer:
            raise KitError(f"the engine refused {tarball}: {answer.strip()}")


def find_engine(root: Path, store: Store) -> Engine:
    """Return where the engine is or will be: DOCKER_HOST, the usual socket, or the second engine's own socket."""
    if store == "containerd":
        return Engine(url=f"unix://{root / 'engine-containerd' / 'docker.sock'}")
    return Engine(url=os.environ.get("DOCKER_HOST") or DEFAULT_SOCKET)


def ensure_engine(root: Path, store: Store) -> Engine:
    """Return an engine that answers, installed and started if need be; raise KitError when it cannot be had."""
    engine = find_engine(root, store)
    if engine.answers():
        return engine
    if store == "default" and engine.url != DEFAULT_SOCKET:
        raise KitError(f"no engine answers at DOCKER_HOST={engine.url}", hint="start it, or unset DOCKER_HOST")
    if os.geteuid():
        raise KitError("no engine answers, and only root can start one", hint="run it as root, or set DOCKER_HOST")
    workspace = Workspace(root=root, scratch=root / "tmp" / "engine", log=root / "logs" / "engine.log")
    for folder in (workspace.scratch, workspace.log.parent):
        folder.mkdir(parents=True, exist_ok=True)
    if shutil.which("dockerd") is None:
        with Progress("engine", "installing Debian's docker.io"):
            install_engine(workspace)
    if not engine.answers():  # a machine with an init system has started what it has just installed
        with Progress("engine", f"starting dockerd, store {store}"):
            start_engine(root, store, engine)
    return engine


def install_engine(workspace: Workspace) -> None:
    """Install docker.io with apt, from sid where the machine's release is another; raise KitError off Debian."""
    if platform.freedesktop_os_release().get("ID") != "debian":
        raise KitError(
            "no engine answers, and the kit can install one on Debian only", hint="install Docker, start it"
        )
    source = Path("/etc/apt/sources.list.d/imgbuild-kit-sid.list")
    source.write_text(find_mirror().source_line("deb", "sid") + "\n", encoding="utf-8")
    preference = Path("/etc/apt/preferences.d/imgbuild-kit-sid")
    # Below 100: nothing comes from sid, not even an upgrade, unless it is asked for by name.
    preference.write_text("Package: *\nPin: release n=sid\nPin-Priority: 50\n", encoding="utf-8")
    install_packages(workspace, PACKAGES)


def start_engine(root: Path, store: Store, engine: Engine) -> None:
    """Start dockerd in a session of its own and wait until it answers."""
    home = root / f"engine-{store}"
    home.mkdir(parents=True, exist_ok=True)
    argv = ["dockerd", f"--host={engine.url}", f"--pidfile={home / 'dockerd.pid'}"]
    if store == "containerd":
        config = home / "daemon.json"
        config.write_text('{"features": {"containerd-snapshotter": true}}\n', encoding="utf-8")
        # Namespaces of its own: it may find the machine's containerd, which the first engine uses as well.
        argv += [
            f"--config-file={config}",
            f"--data-root={home / 'data'}",
            f"--exec-root={home / 'exec'}",
            "--containerd-namespace=imgbuild-kit",
            "--containerd-plugins-namespace=imgbuild-kit-plugins",
            f"--bridge={add_bridge(BRIDGE)}",
            "--iptables=false",
            "--ip6tables=false",
        ]
    start_dockerd(argv, home / "dockerd.log", engine)


def start_dockerd(argv: Sequence[str], log: Path, engine: Engine, environment: Mapping[str, str] = os.environ) -> None:
    """Start a dockerd detached, and wait until its engine answers; raise KitError when it does not.

    It gives its containerd 15 seconds and then ends, which a busy disk is enough for: it is started again.
    """
    for left in reversed(range(STARTS)):
        pid = processes.start_detached(argv, log, environment)
        try:
            processes.wait_until(engine.answers, pid, log, "dockerd")
        except processes.EndedError:
            if not left:
                raise
        else:
            return


def add_bridge(name: str) -> str:
    """Return the name of a network bridge, which exists then.

    The second engine needs one of its own: with `--bridge=none` dockerd removes `docker0`, the first engine's.
    """
    add = 0x89A0  # SIOCBRADDBR, linux/sockios.h
    with socket.socket() as control:
        try:
            fcntl.ioctl(control, add, name.encode() + b"\0")
        except FileExistsError:
            pass
        except OSError as error:
            raise KitError(f"cannot add the network bridge {name}: {error.strerror}") from error
    return name


def stop_engine(root: Path, store: Store) -> bool:
    """Return whether the engine with this store ran, was the kit's own, and was stopped."""
    return processes.stop_process(root / f"engine-{store}" / "dockerd.pid", "dockerd")
