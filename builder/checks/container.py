"""Keep a container of an image running while its checks do, and remove those that killed runs left behind."""

from __future__ import annotations

import contextlib
import io
import os
import re
import tarfile
import threading
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
import urllib3
from docker.errors import APIError, DockerException, NotFound
from docker.types import DeviceRequest
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from builder.errors import Cancelled, CheckError, EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from docker import DockerClient
    from docker.models.containers import Container

GPUS = {
    "gpus": DeviceRequest(count=-1, capabilities=[["gpu"]]),
    "cdi": DeviceRequest(driver="cdi", device_ids=["nvidia.com/gpu=all"]),
}
"""What `docker run --gpus all` and `--device nvidia.com/gpu=all` ask of the engine."""

SHARED = "1g"
"""What processes pass tensors through, NCCL's and DataLoader's; docker's own 64 MB do not hold a few."""

LABEL = "dev.imgbuild.check"
"""Label of the containers that checks run in; its value says which process they belong to."""

_NO_GPU = re.compile(r"could not select device driver|nvidia|CDI device", re.IGNORECASE)
_TOOLKIT = "install nvidia-container-toolkit, and see `imgbuild doctor`"
_BLINK = 0.1  # seconds until a cancelled check is noticed
_LIFE = "3600"  # seconds: far more than checks take, and the end of a container that nobody removes
_LOST = (DockerException, requests.RequestException, urllib3.exceptions.HTTPError, ConnectionError, TimeoutError)
_ENDED_BY_OTHERS = (137, 143)  # by SIGKILL, by SIGTERM
_STOPPED = "the container of the checks was stopped while they ran"
_HINT = "see that the engine runs and rerun the same command: the image is built, and only its checks run again."


@contextlib.contextmanager
def start_container(
    image: str, files: Mapping[str, bytes], cancelled: threading.Event, *, gpu: str = "none", **more: Any
) -> Iterator[Container]:
    """Yield a running container of an image, without a network and with the files (path → content) in it.

    With `gpu` a key of `GPUS` it gets every GPU of the machine; `more` are options of docker-py's `run`. Raises
    GpuError when the engine cannot give the GPUs.

    Raises CheckError when the image does not start or its container ends by itself, EngineError when the engine is
    lost on the way, and Cancelled once that event is set: also while the caller uses the container.
    """
    if cancelled.is_set():
        raise Cancelled("cancelled")
    # Ryuk, which reaps containers of dead test runs, is an image of its own that an air gap does not have.
    testcontainers_config.ryuk_disabled = True
    with _explained(cancelled):
        container = DockerContainer(image).with_command(["sleep", _LIFE])
        options: dict[str, Any] = {"device_requests": [GPUS[gpu]], "shm_size": SHARED} if gpu in GPUS else {}
        options |= {
            "network_mode": "none",
            "labels": {LABEL: describe_owner()},
            "auto_remove": True,
            "init": True,
        } | more
        container.with_kwargs(**options)
        remove_orphans(container.get_docker_client().client)
        try:
            _start(container, gpu)
            running = container.get_wrapped_container()
            client = container.get_docker_client().client
            with _blamed(client, running), _removed_once(cancelled, running):
                copy_files(running, files)
                yield running
        finally:
            # What cannot be removed now is an orphan for the next run; the error that led here is the one to tell.
            with contextlib.suppress(*_LOST):
                container.stop(force=True, delete_volume=True)


def copy_files(container: Container, files: Mapping[str, bytes]) -> None:
    """Copy files (path → content) into a running container, all at once: one that does not run is mounted for each."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path, data in files.items():
            info = tarfile.TarInfo(path.lstrip("/"))
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    container.put_archive("/", archive.getvalue())


class GpuError(CheckError):
    """The engine cannot give a container the GPUs that it was asked for."""


def require_running(container: Container) -> None:
    """Raise EngineError when a container was ended from outside: what ran in it then says nothing about the image."""
    # Tried, not asked: the engine says "running" for a moment after the container's first process has died.
    if container.exec_run(["true"], user="0").exit_code != 0:
        raise EngineError(_STOPPED, hint=_HINT)


def describe_owner() -> str:
    """Return what tells this process from all others: the machine's boot, its PID namespace, its PID in there."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return f"{boot} {Path('/proc/self/ns/pid').readlink()} {os.getpid()}"


def remove_orphans(client: DockerClient) -> None:
    """Remove the containers whose process is gone; those of other machines and PID namespaces cannot be judged."""
    here, _, _ = describe_owner().rpartition(" ")
    for container in client.containers.list(all=True, filters={"label": LABEL}, ignore_removed=True):
        place, _, pid = container.labels[LABEL].rpartition(" ")
        if place == here and not Path("/proc", pid).exists():
            with contextlib.suppress(APIError):  # another run removes it at the same time
                container.remove(force=True, v=True)


def _start(container: DockerContainer, gpu: str) -> None:
    try:
        container.start()
    except APIError as error:
        said = str(error.explanation or error)
        if gpu in GPUS and _NO_GPU.search(said):
            raise GpuError(f"the engine gives this container no GPU: {said}; {_TOOLKIT}") from error
        raise CheckError(f"the image does not start: {said}") from error


@contextlib.contextmanager
def _removed_once(cancelled: threading.Event, container: Container) -> Iterator[None]:
    """Take the container from under whoever waits for what runs in it: nothing else ends an `exec` early."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_BLINK):
            if cancelled.is_set():
                with contextlib.suppress(*_LOST):
                    container.remove(force=True, v=True)
                return

    watcher = threading.Thread(target=watch, daemon=True, name="imgbuild-check")
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


@contextlib.contextmanager
def _blamed(client: DockerClient, container: Container) -> Iterator[None]:
    """Tell a container that ended by itself, which is its image's fault, from one that somebody ended."""
    try:
        yield
    except (EngineError, *_LOST) as error:
        status = None
        with contextlib.suppress(*_LOST):
            status = find_exit_status(client, container)
        if status is None or status in _ENDED_BY_OTHERS:
            raise
        hint = "its entrypoint has to run the command that it is given, here `sleep`, which the image has to have."
        raise CheckError(f"the image's container ended by itself, with exit status {status}", hint=hint) from error


def find_exit_status(client: DockerClient, container: Container) -> int | None:
    """Return what a container ended with, by the engine's events: it may be removed already. None while it runs."""
    now = datetime.fromisoformat(client.info()["SystemTime"]).timestamp()
    wanted = {"container": container.id, "event": "die"}
    with contextlib.closing(client.events(since=1, until=int(now) + 1, filters=wanted, decode=True)) as told:
        return next((int(event["Actor"]["Attributes"]["exitCode"]) for event in told), None)


@contextlib.contextmanager
def _explained(cancelled: threading.Event) -> Iterator[None]:
    try:
        yield
    except (EngineError, *_LOST) as error:
        if cancelled.is_set():
            raise Cancelled("cancelled") from error
        if isinstance(error, EngineError):
            raise
        raise _explain(error) from error


def _explain(error: Exception) -> EngineError:
    match error:
        case NotFound():
            return EngineError(_STOPPED, hint=_HINT)
        case APIError():
            return EngineError(f"the engine refused to run the checks: {error.explanation or error}", hint=_HINT)
        case _:
            return EngineError("the connection to the container engine broke during the checks", hint=_HINT)
