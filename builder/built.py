"""Find the image that was built for a cell from the lock that is there now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.errors import CheckError
from builder.pipeline import image_ref
from builder.render import LABEL, digest_packages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.engine import Engine
    from builder.inputs import Job
    from builder.lock import Environment


def find_built(job: Job, environment: Environment, engine: Engine) -> tuple[str, Mapping[str, str]]:
    """Return the content digest and the labels of the image that a cell's ref names: without checks, it had no ref.

    Raises CheckError when the engine has none, or one of another lock.
    """
    ref = image_ref(job)
    image_id = engine.find_image(ref)
    if image_id is None:
        raise CheckError(f"{ref} is not on this engine", hint="run `imgbuild build` for it first.")
    labels = engine.read_labels(image_id)
    require_packages(labels, environment, ref)
    return image_id, labels


def require_packages(labels: Mapping[str, str], environment: Environment, ref: str) -> None:
    """Raise CheckError unless an image's labels say that it has the packages of an environment."""
    if labels.get(f"{LABEL}.packages") != digest_packages(environment):
        raise CheckError(f"{ref} was built from another lock", hint="run `imgbuild build` for it again.")
