"""What belongs to a published image is attached to it: bills of materials, provenance, test results."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from google.protobuf.json_format import ParseDict
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.predicates.test_result.v0 import test_result_pb2
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as Message
from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from builder.attach import DOCUMENT, RETEST, TYPES
from builder.checks.suites import SUITES
from builder.moving import REPLACED
from builder.registry.client import Registry
from builder.registry.content import OCI_INDEX, parse_descriptors
from builder.registry.place import find_place
from builder.registry.writing import Writer
from builder.reuse import RECIPE
from builder.sources import Sources
from tests.docker.conftest import CHANNEL, require_programs

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Server
    from tests.docker.conftest import Lab
    from tests.docker.served import Registry as Served
    from tests.unit.conftest import Serve

ATTACHING = r"(POST|PUT|PATCH) .*/manifests/sha256.*"
"""Requests of what is attached: the engine puts manifests under tags."""


def read_documents(served: Served, name: str, tag: str) -> tuple[str, dict[str, list[bytes]]]:
    """Return the digest that a tag names, and the payloads of what is attached to it, by kind."""
    documents: dict[str, list[bytes]] = {}
    with Registry(find_place(served.address, Sources(name="host")), lambda _: None) as client:
        image = client.find(name, tag)
        assert image is not None
        for referrer in client.list_referrers(name, image.digest):
            manifest = client.read(name, referrer.digest)
            assert manifest is not None
            if referrer.artifact_type in (RECIPE, REPLACED):
                continue
            kind = dict(referrer.annotations)[DOCUMENT]
            assert kind not in documents
            assert referrer.artifact_type == {**TYPES, RETEST: TYPES["checks"]}[kind]  # type: ignore[index]
            blobs = parse_descriptors(manifest.parse()["layers"], "here")
            documents[kind] = [client.read_blob(name, blob) for blob in blobs]
    return image.digest, documents


def open_writer(served: Served) -> Writer:
    return Writer(find_place(served.address, Sources(name="host")), lambda _: None)


def load(payloads: list[bytes]) -> Any:
    (data,) = payloads
    return json.loads(data)


def require_statement(payloads: list[bytes], digest: str) -> dict[str, Any]:
    told: dict[str, Any] = load(payloads)
    Statement.copy_from_pb(ParseDict(told, Message())).validate()
    assert [it["digest"] for it in told["subject"]] == [{"sha256": digest.removeprefix("sha256:")}]
    return told


def test_each_document_is_valid_and_about_the_image(any_lab: Lab, registry: Served) -> None:
    any_lab.define(conda=["six", "click"])
    done = any_lab.build("--push", f"{registry.address}/team")
    assert done.returncode == 0, done.stderr
    digest, documents = read_documents(registry, f"team/{any_lab.name}", "cpu-py311")
    assert set(documents) == set(TYPES)

    bill = load(documents["cyclonedx"])
    assert digest.removeprefix("sha256:") in bill["metadata"]["component"]["purl"]
    purls = {it["purl"] for it in bill["components"]}
    linked = {it["hashes"][0]["content"] for it in bill["externalReferences"]}
    assert linked == {hashlib.sha256(data).hexdigest() for data in documents["files"]}
    for data in (*documents["cyclonedx"], *documents["files"]):
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode()) is None
    packages = [it for data in documents["files"] for it in json.loads(data)["components"] if it.get("purl") in purls]
    named = {file["location"] for it in packages for file in it["evidence"]["occurrences"]}
    files = set(any_lab.shell(any_lab.ref, "find /opt/env ! -type d").split("\n")) - {""}
    assert len(files & named) / len(files) >= 0.999
    assert not named - files

    spdx = JsonLikeDictParser().parse(load(documents["spdx"]))
    assert validate_full_spdx_document(spdx, "SPDX-2.3") == []

    provenance = require_statement(documents["provenance"], digest)
    ParseDict(provenance["predicate"], Provenance())
    sources = [it["name"] for it in provenance["predicate"]["buildDefinition"]["externalParameters"]["sources"]]
    assert sources == [f"images/{any_lab.name}/{file}" for file in ("image.yaml", "imgbuild.lock")]

    results = ParseDict(require_statement(documents["checks"], digest)["predicate"], test_result_pb2.TestResult())
    wanted = {check for suite in SUITES for check in suite.checks}
    (checks,) = results.configuration
    skipped = set(checks.annotations["skipped"])
    assert results.result == "PASSED"
    assert {*results.passed_tests, *skipped} == wanted
    assert "device" in skipped


def test_second_run_sends_nothing(lab: Lab, registry: Served) -> None:
    lab.define()
    for _ in range(2):
        registry.asked.clear()
        done = lab.build("--push", registry.address)
        assert done.returncode == 0, done.stderr
    assert not [ask for ask in registry.asked if ask[0] not in ("GET", "HEAD")]


def test_no_public_tag_moves_while_documents_cannot_be_attached(lab: Lab, registry: Served) -> None:
    lab.define(aliases={"latest": "cpu-py311"})
    registry.refused = ATTACHING
    done = lab.build("--push", registry.address)
    assert done.returncode == 10, done.stderr
    assert "its documents cannot be attached" in done.stderr
    assert "as a user who may push there" in done.stderr
    (lasting,) = registry.tags(lab.name)
    assert lasting not in ("latest", "cpu-py311")
    assert not done.stdout

    registry.refused = "none"
    again = lab.build("--push", registry.address)
    assert again.returncode == 0, again.stderr
    assert set(read_documents(registry, lab.name, "latest")[1]) == set(TYPES)


def test_what_was_attached_before_a_fault_is_not_attached_again(lab: Lab, registry: Served) -> None:
    lab.define()
    assert lab.build("--push", registry.address).returncode == 0
    digest, documents = read_documents(registry, lab.name, "cpu-py311")
    with Registry(find_place(registry.address, Sources(name="host")), lambda _: None) as client:
        index = client.read(lab.name, digest.replace(":", "-"))
    assert index is not None
    kept = [it for it in index.parse()["manifests"] if it["annotations"].get(DOCUMENT) != "spdx"]
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": kept}
    with open_writer(registry) as writer:
        writer.put_manifest(lab.name, digest.replace(":", "-"), json.dumps(document).encode(), OCI_INDEX)
    registry.asked.clear()
    assert lab.build("--push", registry.address).returncode == 0
    assert read_documents(registry, lab.name, "cpu-py311") == (digest, documents)
    assert registry.uploads() == [], "the blob is still there"


def test_verdicts_that_nobody_knows_any_more_are_found_anew(lab: Lab, registry: Served, tmp_path: Path) -> None:
    lab.define()
    assert lab.build().returncode == 0
    lab.env["XDG_CACHE_HOME"] = str(tmp_path)
    done = lab.build("--push", registry.address)
    assert done.returncode == 0, done.stderr
    results = load(read_documents(registry, lab.name, "cpu-py311")[1]["checks"])["predicate"]
    assert "conda-packages" in results["passedTests"]


def test_image_that_is_another_than_the_lasting_tag_names_has_documents_of_its_own(
    any_lab: Lab, registry: Served
) -> None:
    """As when two machines made different bytes of what is not locked: both images stay."""
    any_lab.define(matrix={"python": ["3.11", "3.13"], "cuda": ["cpu"], "torch": "none"})
    assert any_lab.build("--push", registry.address).returncode == 0
    (ours, _), (theirs, _) = (read_documents(registry, any_lab.name, f"cpu-py3{minor}") for minor in (11, 13))
    (lasting,) = {tag for tag in registry.tags(any_lab.name) if tag.startswith("cpu-py311-")}
    with open_writer(registry) as writer:
        for tag in (lasting, "cpu-py311"):
            assert writer.copy_tag(any_lab.name, theirs, tag)
    assert any_lab.build("--push", registry.address).returncode == 0
    assert read_documents(registry, any_lab.name, lasting)[0] == theirs
    digest, documents = read_documents(registry, any_lab.name, "cpu-py311")
    assert digest == ours
    assert set(documents) == set(TYPES)
    (own,) = {tag for tag in registry.tags(any_lab.name) if tag.startswith("cpu-py311-")} - {lasting}
    assert read_documents(registry, any_lab.name, own)[0] == ours


def test_no_secret_and_no_mirror_is_in_a_document(lab: Lab, registry: Served, kit: Path, serve: Serve) -> None:
    canary = f"canary-{secrets.token_hex(8)}"
    guarded: Server = serve(kit / "channel", f"user:{canary}")
    host = guarded.url.removeprefix("http://")
    lab.sources = lab.root.parent / "canary.yaml"
    settings = {"conda": {CHANNEL: f"http://user:{canary}@{host}/kit"}, "network": "host"}
    lab.sources.write_text(yaml.safe_dump(settings))
    lab.env["IMGBUILD_BUILDER_ID"] = f"https://user:{canary}@ci.example/builders/images?token={canary}"
    lab.define()
    done = lab.build("--push", registry.address)
    assert done.returncode == 0, done.stderr
    documents = read_documents(registry, lab.name, "cpu-py311")[1]
    assert load(documents["provenance"])["predicate"]["runDetails"]["builder"]["id"] == (
        "https://ci.example/builders/images"
    )
    for kind, payloads in documents.items():
        assert canary.encode() not in b"".join(payloads), kind
        assert host.encode() not in b"".join(payloads), kind


@pytest.mark.parametrize("fault", ["reset", 503, 429])
def test_fault_that_passes_is_no_fault(lab: Lab, registry: Served, fault: int | str) -> None:
    lab.define()
    assert lab.build().returncode == 0
    registry.faults = [(method, fault) for method in ("HEAD", "POST", "PUT", "GET")]
    done = lab.build("--push", registry.address)
    assert done.returncode == 0, done.stderr
    assert registry.faults == []
    assert set(read_documents(registry, lab.name, "cpu-py311")[1]) == set(TYPES)


def test_signed_image_is_verified_and_openssl_agrees(lab: Lab, registry: Served, tmp_path: Path) -> None:
    require_programs(tmp_path, "openssl")
    key, public = tmp_path / "sign.key", tmp_path / "sign.pub"
    make = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-aes256"]
    subprocess.run([*make, "-pass", "pass:s3cret", "-out", key], check=True, capture_output=True)
    subprocess.run(["openssl", "pkey", "-in", key, "-passin", "pass:s3cret", "-pubout", "-out", public], check=True)
    lab.define()
    lab.env["IMGBUILD_SIGN_PASSWORD"] = "s3cret"
    for _ in range(2):
        registry.asked.clear()
        done = lab.build("--push", registry.address, "--sign-key", str(key))
        assert done.returncode == 0, done.stderr
    assert not [ask for ask in registry.asked if ask[0] not in ("GET", "HEAD")]
    ref = done.stdout.strip()
    verified = lab.run("verify", ref, "--key", str(public), "--sources", "host")
    assert verified.returncode == 0, verified.stderr
    digest = registry.manifest(ref)[0]
    assert verified.stdout == f"{registry.address}/{lab.name}@{digest}\n"

    (layer,) = registry.manifest(f"{registry.address}/{lab.name}:sha256-{digest[7:]}.sig")[1]["layers"]
    payload, signature = tmp_path / "payload", tmp_path / "signature"
    signature.write_bytes(base64.b64decode(layer["annotations"]["dev.cosignproject.cosign/signature"]))
    with open_writer(registry) as client:
        (blob,) = parse_descriptors([layer], "here")
        payload.write_bytes(client.read_blob(lab.name, blob))
    assert json.loads(payload.read_bytes())["critical"]["image"] == {"docker-manifest-digest": digest}
    check = ["openssl", "dgst", "-sha256", "-verify", public, "-signature", signature, payload]
    subprocess.run(check, check=True, capture_output=True)
