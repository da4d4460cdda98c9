"""`imgbuild bench` on images that are not imgbuild's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.kit.base import IMAGE

if TYPE_CHECKING:
    from tests.docker.conftest import Lab


def test_image_with_another_entrypoint_is_measured_all_the_same(lab: Lab) -> None:
    ref = f"{lab.name}:other"
    container = lab.client.containers.create(IMAGE)
    try:
        container.commit(*ref.split(":"), changes='ENTRYPOINT ["false"]')
    finally:
        container.remove()
    done = lab.run("bench", ref, "--quick")
    assert done.returncode == 9, done.stderr
    assert "this image cannot import torch" in done.stderr  # its Python was asked
