"""What the benchmark's registry counts: what is pushed to it, and what it has."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
from typing import TYPE_CHECKING

from benchmarks import registry
from tests.docker.conftest import require_programs

if TYPE_CHECKING:
    from pathlib import Path


def test_registry_counts_what_is_pushed_and_what_it_has(tmp_path: Path) -> None:
    require_programs(tmp_path, "docker-registry")
    config, layer, document = b"{}", os.urandom(50_000), os.urandom(700)
    with registry.run_registry(tmp_path / "registry") as running:
        sizes = [put_blob(running.address, data) for data in (config, layer)]
        sizes.append(put_manifest(running.address, config, layer))
        sizes.append(put_blob(running.address, document))
        images = ["some/image:tag"]
        assert running.count_pushed(images) == registry.Pushed(total=sum(sizes), images=sum(sizes) - len(document))
        assert running.count_pushed(images) == registry.Pushed(total=0, images=0)
        assert running.measure_disk() == sum(sizes)


def put_blob(address: str, data: bytes) -> int:
    """Return the size of a blob, which the registry has then."""
    connection = http.client.HTTPConnection(address)
    connection.request("POST", "/v2/some/image/blobs/uploads/")
    answer = connection.getresponse()
    answer.read()
    location = answer.headers["Location"].removeprefix(f"http://{address}")
    digest = hashlib.sha256(data).hexdigest()
    connection.request("PUT", f"{location}&digest=sha256:{digest}", body=data)
    assert connection.getresponse().status == http.HTTPStatus.CREATED
    connection.close()
    return len(data)


def put_manifest(address: str, config: bytes, layer: bytes) -> int:
    """Return the size of the manifest of an image with one layer, which `some/image:tag` names then."""
    kind = "application/vnd.oci.image.manifest.v1+json"
    described = [
        {"mediaType": media, "size": len(data), "digest": f"sha256:{hashlib.sha256(data).hexdigest()}"}
        for media, data in (
            ("application/vnd.oci.image.config.v1+json", config),
            ("application/vnd.oci.image.layer.v1.tar+gzip", layer),
        )
    ]
    manifest = {"schemaVersion": 2, "mediaType": kind, "config": described[0], "layers": described[1:]}
    body = json.dumps(manifest).encode()
    connection = http.client.HTTPConnection(address)
    connection.request("PUT", "/v2/some/image/manifests/tag", body=body, headers={"Content-Type": kind})
    assert connection.getresponse().status == http.HTTPStatus.CREATED
    connection.close()
    return len(body)
