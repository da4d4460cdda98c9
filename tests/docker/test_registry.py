"""A base image behind a registry's login: the build pulls it with docker's own credentials, and keeps none of them."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.docker.conftest import require_programs
from tests.kit.base import IMAGE
from tests.kit.registry import HOST, hold_port, serve_registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.docker.conftest import Lab

USER, PASSWORD = "canary-user", "canary-registry-password"
HASH = "$2y$05$iArBVNRGs0rJ9/L84Q1bdOGq4i3Btrpdr8x.7.FAqjhHKg6ZII/Sa"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """The address of a registry (Debian's docker-registry) that asks for a login."""
    require_programs(tmp_path, "docker-registry")
    (tmp_path / "htpasswd").write_text(f"{USER}:{HASH}\n")
    login = {"htpasswd": {"realm": "lab", "path": str(tmp_path / "htpasswd")}}
    with hold_port() as port, serve_registry(tmp_path / "registry", port, auth=login):
        yield f"{HOST}:{port}"


def use_base_of(registry: str, lab: Lab, tmp_path: Path) -> None:
    """Move the kit's base image into the registry under a name of its own, and let the lab build on it."""
    name = f"{registry}/{lab.name}/base"
    image = lab.client.images.get(IMAGE)
    assert image.tag(name, "1")
    pushed = lab.client.images.push(name, "1", auth_config={"username": USER, "password": PASSWORD})
    assert '"error"' not in pushed, pushed
    lab.client.images.remove(f"{name}:1")
    settings = yaml.safe_load(lab.sources.read_text())
    lab.sources = tmp_path / "registry-sources.yaml"
    lab.sources.write_text(yaml.safe_dump(settings | {"bases": {"kit": f"{name}:1"}}))
    lab.define()


def log_in(registry: str, lab: Lab, tmp_path: Path) -> None:
    """Write docker's own configuration, as `docker login` does."""
    login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    folder = tmp_path / "docker"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"auths": {registry: {"auth": login}}}))
    lab.env["DOCKER_CONFIG"] = str(folder)


def test_base_is_pulled_with_dockers_login_and_none_of_it_is_kept(any_lab: Lab, registry: str, tmp_path: Path) -> None:
    use_base_of(registry, any_lab, tmp_path)
    log_in(registry, any_lab, tmp_path)
    done = any_lab.build()
    assert done.returncode == 0, done.stderr
    image = any_lab.client.images.get(any_lab.ref)
    kept = [done.stdout, done.stderr, str(image.attrs), str(image.history())]
    kept += [path.read_text() for path in any_lab.folder.iterdir()]
    assert not [text for text in kept if PASSWORD in text or USER in text]
    archive = b"".join(image.save())
    assert PASSWORD.encode() not in archive


def test_base_behind_a_login_that_is_missing_is_told(lab: Lab, registry: str, tmp_path: Path) -> None:
    use_base_of(registry, lab, tmp_path)
    lab.env["DOCKER_CONFIG"] = str(tmp_path / "nobody")
    done = lab.build()
    assert done.returncode == 8
    assert "is the base image there, and its registry reachable?" in done.stderr
    assert "Traceback" not in done.stderr
