"""Ask an image which package each of its files belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from builder.sbom.inventory import SCRIPT, parse_inventory, read_scripts

if TYPE_CHECKING:
    import threading

    from builder.lock import Environment
    from builder.sbom.inventory import Inventory

_FOLDER = "/tmp/imgbuild"  # noqa: S108 (inside a container that only this run uses)


def take_inventory(image: str, environment: Environment, *, prefix: str, cancelled: threading.Event) -> Inventory:
    """Return the inventory of an image's environment, told by a container of it. Threads may ask several.

    Raises CheckError when the image does not tell it, or was made from another environment; EngineError when the
    engine is lost on the way; and Cancelled soon after that event is set.
    """
    from builder.checks.container import (
        require_running,
        start_container,
    )  # docker and testcontainers are slow to import

    files = {f"{_FOLDER}/{name}": data for name, data in read_scripts().items()}
    with start_container(image, files, cancelled) as container:
        # As root, who may look into every folder. -E: variables of the image must not change what is found.
        command = [f"{prefix}/bin/python", "-E", "-B", f"{_FOLDER}/{SCRIPT}"]
        done: Any = container.exec_run(command, user="0", demux=True)
        if done.exit_code != 0:
            require_running(container)
        return parse_inventory((done.output[0] or b"").decode(errors="replace"), environment)
