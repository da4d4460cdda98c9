"""A real registry, Debian's docker-registry, with and without login and TLS: read, and published to."""

from __future__ import annotations

import base64
import dataclasses
import json
import ssl
import subprocess
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import pytest
from click.testing import CliRunner

from builder.attach import CYCLONEDX
from builder.cli import cli
from builder.errors import DriftError, RegistryError
from builder.registry import place
from builder.registry.client import Registry
from builder.registry.image import read_image
from builder.registry.place import find_place
from builder.sources import Sources
from tests.docker.conftest import require_programs
from tests.docker.test_registry import HASH, PASSWORD, USER, log_in
from tests.kit.registry import HOST, hold_port, serve_registry
from tests.registry import INDEX, FakeRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result

    from tests.docker.conftest import Lab

NAME = "team/app"
LOGIN = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


class Server:
    """A registry that runs, and what is put into it by hand."""

    def __init__(self, host: str, ca: Path | None) -> None:
        self.host = host
        self.url = f"{'https' if ca else 'http'}://{host}"
        self.context = ssl.create_default_context(cafile=str(ca)) if ca else None

    def send(self, method: str, path: str, data: bytes | None = None, kind: str = "application/octet-stream") -> Any:
        headers = {"Authorization": f"Basic {LOGIN}", "Content-Type": kind}
        request = urllib.request.Request(urljoin(self.url, path), data=data, method=method, headers=headers)
        return urllib.request.urlopen(request, timeout=30, context=self.context)

    def put(self, made: FakeRegistry, tags: dict[str, str]) -> None:
        """Put the blobs and manifests of a fake into the real one, in the order in which they were made."""
        for digest, data in made.blobs.items():
            with self.send("POST", f"/v2/{NAME}/blobs/uploads/", b"") as reply:
                place = reply.headers["Location"]
            self.send("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", data).close()
        for (_, digest), (kind, data) in made.manifests.items():
            for target in [digest, *(tag for tag, meant in tags.items() if meant == digest)]:
                self.send("PUT", f"/v2/{NAME}/manifests/{target}", data, kind).close()


def make_certificate(folder: Path) -> tuple[Path, Path]:
    key, certificate = folder / "key.pem", folder / "ca.crt"
    kind = ("-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    names = ("-subj", "/CN=registry", "-addext", "subjectAltName=IP:127.0.0.1")
    subprocess.run(
        ["openssl", "req", *kind, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True
    )
    return key, certificate


@pytest.fixture(params=["open", "login", "tls"])
def server(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    require_programs(tmp_path, "docker-registry", "openssl")
    monkeypatch.setattr(place, "CERTS", tmp_path / "certs.d")
    config: dict[str, Any] = {}
    ca = None
    with hold_port() as port:
        host = f"{HOST}:{port}"
        if request.param != "open":
            (tmp_path / "htpasswd").write_text(f"{USER}:{HASH}\n")
            config["auth"] = {"htpasswd": {"realm": "lab", "path": str(tmp_path / "htpasswd")}}
        if request.param == "tls":
            own = tmp_path / "certs.d" / host
            own.mkdir(parents=True)
            key, ca = make_certificate(own)
            config["http"] = {"tls": {"certificate": str(ca), "key": str(key)}}
        with serve_registry(tmp_path / "registry", port, **config):
            yield Server(host, ca)


def test_what_was_put_into_a_real_registry_is_read(server: Server) -> None:
    made = FakeRegistry(has_referrers=False)
    layer = {"layer": len(b"layer")}
    image = made.add_image(NAME, labels={"dev.imgbuild.image": "app"}, layers=layer)
    made.add_blob(b"layer")
    platform = {"platform": {"architecture": "amd64", "os": "linux"}}
    index = made.add_manifest(NAME, {"schemaVersion": 2, "mediaType": INDEX, "manifests": [{**image, **platform}]})
    bill = made.attach(NAME, image, CYCLONEDX, json.dumps({"components": []}).encode())
    tags = {f"1.{number}": image["digest"] for number in range(5)} | {"latest": index["digest"]}
    server.put(made, tags | made.tags[NAME])
    with Registry(find_place(server.host, Sources(name="host")), lambda _: (USER, PASSWORD)) as registry:
        registry.require()
        found = read_image(registry, NAME, "1.0")
        assert found is not None
        assert (found.digest, found.compressed, found.labels) == (image["digest"], 5, {"dev.imgbuild.image": "app"})
        latest = read_image(registry, NAME, "latest")
        assert latest is not None
        assert (latest.digest, latest.manifest) == (index["digest"], image["digest"])
        assert registry.list_tags(NAME) == tuple(sorted({*tags, *made.tags[NAME]}))
        (referrer,) = registry.list_referrers(NAME, image["digest"])
        assert (referrer.digest, referrer.artifact_type) == (bill["digest"], CYCLONEDX)
        assert registry.find(NAME, "none") is None
        assert registry.list_tags("team/none") == ()
        assert registry.list_referrers(NAME, index["digest"]) == ()


@pytest.mark.parametrize("server", ["login", "tls"], indirect=True)
def test_login_that_is_missing_is_told(server: Server) -> None:
    found = find_place(server.host, Sources(name="host"))
    with Registry(found, lambda _: None) as registry, pytest.raises(RegistryError, match="access denied"):
        registry.require()


@pytest.mark.parametrize("server", ["tls"], indirect=True)
def test_certificate_of_nobody_known_is_told(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(place, "CERTS", tmp_path / "none")
    known = find_place(server.host, Sources(name="host"))
    strange = place.Place(host=server.host, url=server.url)
    with Registry(strange, lambda _: None) as registry, pytest.raises(RegistryError, match="is not trusted") as caught:
        registry.require()
    assert f"/etc/docker/certs.d/{server.host}/ca.crt" in str(caught.value)
    with Registry(known, lambda _: None) as registry, pytest.raises(RegistryError, match="answers 400") as caught:
        registry.require()
    assert "TLS" in str(caught.value)


def test_what_is_published_there_is_compared_and_in_the_catalogue(server: Server, lab: Lab, tmp_path: Path) -> None:
    """Pushed, attached, tagged and read again: open, with a login, and with a login and TLS."""
    log_in(server.host, lab, tmp_path)
    place, tagged = f"{server.host}/team", f"{server.host}/team/{lab.ref}"

    def run(*words: str) -> Result:
        return CliRunner().invoke(cli, ["--project", str(lab.root), *words], env=lab.environment)

    lab.define()
    assert run("build", "--all", "--progress", "plain", "--push", place).exit_code == 0
    first = read_digest(server, lab)
    lab.define(pip=["tqdm"])
    stale = run("status", "--registry", place)
    assert isinstance(stale.exception, DriftError)
    built = run("build", "--all", "--progress", "plain", "--push", place)
    assert built.exit_code == 0, built.output
    assert built.stdout == f"{tagged}\n"
    assert PASSWORD not in built.output
    status = run("status", "--registry", place)
    assert status.exit_code == 0, status.output

    second = read_digest(server, lab)
    told = run("diff", f"{place}/{lab.name}@{first}", tagged, "--markdown")
    assert told.exit_code == 0, told.output
    assert "tqdm" in told.stdout
    pages = tmp_path / "site"
    made = run("site", "--from-registry", place, "--output", str(pages))
    assert made.exit_code == 0, made.output
    text = "".join(path.read_text() for path in pages.rglob("*.html"))
    assert f"{place}/{lab.name}@{second}" in text
    assert first in text, "what the tag named before"

    renamed = dataclasses.replace(lab, name="renamed")
    lab.folder.rename(renamed.folder)
    renamed.define(pip=["tqdm"])
    forgotten = run("status", "--registry", place, "--orphans")
    assert isinstance(forgotten.exception, DriftError)
    assert ["orphaned", tagged] in [line.split()[:2] for line in forgotten.stdout.splitlines()]


def read_digest(server: Server, lab: Lab) -> str:
    with Registry(find_place(server.host, Sources(name="host")), lambda _: (USER, PASSWORD)) as registry:
        found = registry.find(f"team/{lab.name}", "cpu-py311")
    assert found is not None
    return found.digest
