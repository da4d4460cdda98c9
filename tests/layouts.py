"""Image layouts made in memory: small, whole, and easily spoilt."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

OCI = "application/vnd.oci.image"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def path_of(digest: str) -> str:
    return digest.replace("sha256:", "blobs/sha256/")


def describe(data: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}


def dump(document: object) -> bytes:
    return json.dumps(document).encode()


def make_layout(images: Mapping[str, Sequence[bytes]]) -> dict[str, bytes]:
    """Return the files of a layout, as an engine writes it: for each ref the layers that it says, and a config."""
    files: dict[str, bytes] = {}
    index, listed = [], []
    for ref, layers in images.items():
        rootfs = {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]}
        config = dump({"config": {"Labels": {"of": ref}}, "rootfs": rootfs})
        manifest = dump(
            {
                "schemaVersion": 2,
                "config": describe(config, f"{OCI}.config.v1+json"),
                "layers": [describe(layer, f"{OCI}.layer.v1.tar") for layer in layers],
            }
        )
        blobs = (config, *layers)
        files |= {path_of(digest_of(data)): data for data in (*blobs, manifest)}
        annotations = {
            "io.containerd.image.name": f"docker.io/library/{ref}",
            "org.opencontainers.image.ref.name": ref.partition(":")[2],
        }
        index.append(describe(manifest, f"{OCI}.manifest.v1+json") | {"annotations": annotations})
        paths = [path_of(digest_of(data)) for data in blobs]
        listed.append({"Config": paths[0], "RepoTags": [ref], "Layers": paths[1:]})
    files = dict(sorted(files.items()))
    files["index.json"] = dump({"schemaVersion": 2, "manifests": index})
    files["manifest.json"] = dump(listed)
    files["oci-layout"] = dump({"imageLayoutVersion": "1.0.0"})
    return files


def pack(files: Iterable[tuple[str | tarfile.TarInfo, bytes]], *, mtime: int = 0) -> bytes:
    """Return the tar with these entries; a name is that of an ordinary file."""
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as tar:
        for name, data in files:
            entry = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            entry.size, entry.mtime = len(data), mtime
            tar.addfile(entry, io.BytesIO(data))
    return body.getvalue()
