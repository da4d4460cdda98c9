"""Ask an image which package each of its files belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from builder.checks import FOLDER
from builder.sbom.inventory import SCRIPT, parse_inventory, read_scripts

if TYPE_CHECKING:
    import threading

    from docker.models.containers import Container

    from builder.lock import Environment
    from builder.sbom.inventory import Inventory


def take_inventory(image: str, environment: Environment, *, prefix: str, cancelled: threading.Event) -> Inventory:
    """Return the inventory of an image's environment, told by a container of its own. Threads may ask several.

    Raises what `ask_inventory` raises, CheckError also when the image does not start, EngineError when the engine is
    lost on the way, and Cancelled soon after that event is set.
    """
    from builder.checks.container import start_container  # docker and testcontainers are slow to import

    with start_container(image, {}, cancelled) as container:
        return ask_inventory(container, environment, prefix=prefix)


def ask_inventory(container: Container, environment: Environment, *, prefix: str) -> Inventory:
    """Return the inventory of the environment in a running container.

    Raises CheckError when the image does not tell it, or was made from another environment, and EngineError when the
    container was ended.
    """
    from builder.checks.container import copy_files, require_running

    copy_files(container, {f"{FOLDER}/{name}": data for name, data in read_scripts().items()})
    # As root, who may look into every folder. -E: variables of the image must not change what is found.
    command = [f"{prefix}/bin/python", "-E", "-B", f"{FOLDER}/{SCRIPT}"]
    done: Any = container.exec_run(command, user="0", demux=True)
    if done.exit_code != 0:
        require_running(container)
    return parse_inventory((done.output[0] or b"").decode(errors="replace"), environment)
