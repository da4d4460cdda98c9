"""Identities that sign: proven to Sigstore, and believed only with its certificate, its log, and the right names."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from builder.attach import DOCUMENT, RETEST, TYPES
from builder.cli import cli
from builder.errors import ImgbuildError, RegistryError, SigningError
from builder.signing import identity as signing
from builder.signing.bundles import BUNDLE, attach_bundle, list_bundles
from builder.signing.identity import TOKEN, IdentitySigner, read_identity, read_identity_signer
from builder.signing.payload import Claim
from builder.signing.statement import dump_statement, parse_statement
from builder.signing.verify import Finding
from tests.sigstore import GITHUB, WORKFLOW, make_token, run_sigstore
from tests.unit.test_attach import NAME, Engine, add_image, locked, make_publisher, run
from tests.unit.test_signing import CLAIM, list_faults, promote, publish, slip_in, verify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from builder.locked import LockedCell
    from builder.registry.writing import Writer
    from tests.registry import FakeRegistry
    from tests.sigstore import Sigstore

__all__ = ["locked"]  # fixtures

KIND = "application/vnd.in-toto+json"


@pytest.fixture
def sigstore(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sigstore]:
    monkeypatch.setenv(TOKEN, make_token())
    monkeypatch.setattr(signing, "_PAUSES", (0.01, 0.01))
    with run_sigstore() as made:
        yield made


@pytest.fixture
def trust(sigstore: Sigstore, tmp_path: Path) -> Path:
    return write_trust(sigstore, tmp_path / "trust.json")


def write_trust(sigstore: Sigstore, path: Path) -> Path:
    path.write_text(json.dumps(sigstore.describe()))
    return path


@pytest.fixture
def signer(trust: Path) -> IdentitySigner:
    return read_identity_signer(WORKFLOW, trust)


def test_published_image_is_signed_and_logged_once_and_verified(
    fake: FakeRegistry, writer: Writer, locked: LockedCell, sigstore: Sigstore, signer: IdentitySigner, trust: Path
) -> None:
    engine = publish(fake, writer, locked, signer)
    (statement,) = sigstore.logged
    assert statement["subject"] == [{"name": f"{fake.address}/{NAME}", "digest": {"sha256": engine.image_id[7:]}}]
    attached = {it["digest"] for it in fake.referrers[engine.image_id] if it["artifactType"] != BUNDLE}
    assert statement["predicate"] == {"dev.imgbuild.documents": sorted(attached)}
    fake.asked.clear()
    publish(fake, writer, locked, signer)
    assert not fake.sent()
    assert len(sigstore.logged) == 1
    assert verify(fake, signer).findings == tuple(Finding(name=name) for name in ("signature", *TYPES))

    who = ["--certificate-identity", WORKFLOW, "--certificate-oidc-issuer", GITHUB, "--trust-config", str(trust)]
    command = ["verify", f"{fake.address}/{NAME}:latest", "--sources", "host", *who]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{fake.address}/{NAME}@{engine.image_id}\n"


@pytest.mark.parametrize(
    ("name", "issuer"),
    [(f"{WORKFLOW}s", GITHUB), (WORKFLOW.replace("main", "mine"), GITHUB), (WORKFLOW, "https://id.example")],
)
def test_signature_of_another_identity_says_nothing(
    fake: FakeRegistry, writer: Writer, locked: LockedCell, signer: IdentitySigner, trust: Path, name: str, issuer: str
) -> None:
    publish(fake, writer, locked, signer)
    other = IdentitySigner(public=read_identity(name, issuer, trust))
    assert list_faults(verify(fake, other))["signature"] == f"{name} has not signed this image"


def test_another_sigstore_is_not_believed(
    fake: FakeRegistry, writer: Writer, locked: LockedCell, signer: IdentitySigner, tmp_path: Path
) -> None:
    publish(fake, writer, locked, signer)
    with run_sigstore() as foreign:
        other = read_identity(WORKFLOW, GITHUB, write_trust(foreign, tmp_path / "other.json"))
    assert "signature" in list_faults(verify(fake, IdentitySigner(public=other)))


@pytest.mark.parametrize("key", ["ca_key", "ct_key", "log_key"])
def test_no_part_of_the_proof_may_be_another_s(sigstore: Sigstore, trust: Path, tmp_path: Path, key: str) -> None:
    """Certificate, promise of the certificates' log, entry in the log of signatures: each counts."""
    believed = read_identity(WORKFLOW, GITHUB, trust)
    sound = IdentitySigner(public=believed)._sign(dump_statement(CLAIM)).to_json()
    assert believed.read_claim(sound.encode()) == CLAIM
    with run_sigstore() as foreign:
        for name in {"ca_key", "ct_key", "log_key"} - {key}:
            setattr(foreign, name, getattr(sigstore, name))
        if key != "ca_key":
            foreign.ca = sigstore.ca
        its = read_identity_signer(WORKFLOW, write_trust(foreign, tmp_path / "other.json"))
        forged = its._sign(dump_statement(CLAIM)).to_json()
    assert its.public.read_claim(forged.encode()) == CLAIM
    assert believed.read_claim(forged.encode()) is None


@pytest.mark.parametrize("where", ["payload", "signature", "certificate", "body", "media type", "nothing"])
def test_damaged_bundle_is_none(signer: IdentitySigner, where: str) -> None:
    document = json.loads(signer._sign(dump_statement(CLAIM)).to_json())
    (entry,) = document["verificationMaterial"]["tlogEntries"]
    match where:
        case "payload":
            other = signer._sign(dump_statement(replace(CLAIM, documents=frozenset()))).to_json()
            document["dsseEnvelope"]["payload"] = json.loads(other)["dsseEnvelope"]["payload"]
        case "signature":
            document["dsseEnvelope"]["signatures"][0]["sig"] = "AAAA"
        case "certificate":
            other = signer._sign(dump_statement(CLAIM)).to_json()
            document["verificationMaterial"]["certificate"] = json.loads(other)["verificationMaterial"]["certificate"]
        case "body":
            entry["canonicalizedBody"] = entry["canonicalizedBody"][:-8]
        case "media type":
            document["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=9"
    found = signer.public.read_claim(json.dumps(document).encode())
    assert found == (CLAIM if where == "nothing" else None)


@given(
    data=st.binary() | st.recursive(st.none() | st.text(), lambda it: st.lists(it) | st.dictionaries(st.text(), it))
)
def test_any_bytes_are_read_as_no_statement(data: Any) -> None:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    assert parse_statement(KIND, raw) is None


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("text/plain", {}),
        (KIND, {"predicateType": "https://slsa.dev/provenance/v1"}),
        (KIND, {"_type": "https://in-toto.io/Statement/v0.1"}),
        (KIND, {"subject": []}),
        (KIND, {"subject": [{"digest": {"sha256": "b" * 64}}] * 2}),
        (KIND, {"subject": [{"digest": {"sha256": "b" * 63}}]}),
        (KIND, {"predicate": {"dev.imgbuild.documents": "sha256:" + "b" * 64}}),
        (KIND, {"predicate": {"dev.imgbuild.documents": [1]}}),
        (KIND, {"predicate": [1]}),
    ],
)
def test_other_statements_of_the_same_identity_claim_nothing(kind: str, change: dict[str, Any]) -> None:
    """Such as the provenance that other tools sign in the same workflow."""
    told = json.loads(dump_statement(CLAIM))
    assert parse_statement(KIND, json.dumps(told).encode()) == CLAIM
    assert parse_statement(kind, json.dumps(told | change).encode()) is None


def test_what_cosign_signs_claims_an_image_and_no_documents() -> None:
    told = json.loads(dump_statement(CLAIM)) | {"predicate": {}}
    del told["subject"][0]["name"]
    assert parse_statement(KIND, json.dumps(told).encode()) == Claim(repository="", image=CLAIM.image)


def test_certificate_of_another_is_said_and_nothing_attached(
    fake: FakeRegistry, writer: Writer, locked: LockedCell, trust: Path
) -> None:
    engine = Engine(fake, one=1)
    publisher = make_publisher(engine, writer, signer=read_identity_signer("someone@lab.example", trust))
    with pytest.raises(SigningError, match=r"cannot be signed: the certificate is not someone@lab\.example's"):
        run(publisher, engine, locked)
    assert BUNDLE not in {it["artifactType"] for it in fake.referrers[engine.image_id]}
    assert "latest" not in fake.tags[NAME]


@pytest.mark.parametrize("path", ["/api/v2/signingCert", "/api/v1/log/entries"])
def test_sigstore_that_refuses_keeps_tags_where_they_are_and_the_next_run_signs(
    fake: FakeRegistry, writer: Writer, locked: LockedCell, sigstore: Sigstore, signer: IdentitySigner, path: str
) -> None:
    sigstore.refuses = [path] * 3
    with pytest.raises(SigningError, match=r"cannot be signed: Sigstore: .*503") as caught:
        publish(fake, writer, locked, signer)
    assert caught.value.exit_code == 15
    assert "latest" not in fake.tags[NAME]
    sigstore.refuses = [path] * 2
    publish(fake, writer, locked, signer)
    assert verify(fake, signer).passed


def test_sigstore_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "PATIENCE", 0.05)
    never = threading.Event()
    with pytest.raises(SigningError, match="took longer than"):
        signing._wait_for(never.wait)
    never.set()


@pytest.mark.parametrize(
    ("token", "said"),
    [("", "there is no token"), ("no.to.ken", "malformed"), (make_token(seconds=-3600), "malformed")],
)
def test_identity_that_cannot_be_proven_is_said_before_anything_is_built(
    monkeypatch: pytest.MonkeyPatch, trust: Path, token: str, said: str
) -> None:
    for name in ("GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE", "CIRCLECI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(TOKEN, token)
    command = ["build", "--all", "--push", "r.example", "--sign-as", WORKFLOW, "--trust-config", str(trust)]
    done = CliRunner().invoke(cli, command)
    assert isinstance(done.exception, SigningError)
    assert said in done.exception.message
    assert TOKEN in str(done.exception)
    assert not token or token not in str(done.exception)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"mediaType": "x", "trustedRoot": {}, "signingConfig": {}}'])
def test_file_that_says_of_no_sigstore_whom_to_trust_is_said(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trust.json"
    path.write_text(text)
    with pytest.raises(ImgbuildError, match=r"trust\.json: it says of no Sigstore whom to trust"):
        read_identity(WORKFLOW, GITHUB, path)


def test_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "find_spec", lambda _: None)
    with pytest.raises(ImgbuildError, match=r"imgbuild\[sigstore\]"):
        read_identity(WORKFLOW, GITHUB, None)


def test_only_what_the_same_identity_staged_is_promoted_and_its_test_is_signed(
    fake: FakeRegistry, writer: Writer, locked: LockedCell, signer: IdentitySigner
) -> None:
    engine = Engine(fake, one=1)
    run(make_publisher(engine, writer, signer=signer, staged=True), engine, locked)
    foreign = slip_in(fake, writer, locked)
    with pytest.raises(RegistryError, match=f"{foreign} lacks documents that {WORKFLOW} has signed"):
        promote(fake, writer, locked, signer)
    run(make_publisher(engine, writer, signer=signer, staged=True), engine, locked)
    promote(fake, writer, locked, signer)
    assert fake.tags[NAME]["latest"] == engine.image_id
    assert verify(fake, signer).findings == tuple(Finding(name=name) for name in ("signature", *TYPES, RETEST))
    assert {it.get("annotations", {}).get(DOCUMENT) for it in fake.referrers[engine.image_id]} >= {*TYPES, RETEST}


def test_bundles_are_found_as_cosign_lists_them_and_others_damaged_hide_none(
    fake: FakeRegistry, writer: Writer
) -> None:
    """Without the referrers API cosign 3.1 lists them under the type of their empty configuration."""
    fake.has_referrers = False
    image = add_image(fake, "1")
    attach_bundle(writer, NAME, image, b"damaged")
    attach_bundle(writer, NAME, image, b"{}")
    del fake.blobs[next(digest for digest, data in fake.blobs.items() if data == b"damaged")]
    tag = image.digest.replace(":", "-")
    kind, data = fake.manifests[NAME, fake.tags[NAME][tag]]
    listed = json.loads(data)
    for node in listed["manifests"]:
        node["artifactType"] = "application/vnd.oci.empty.v1+json"
    writer.put_manifest(NAME, tag, json.dumps(listed).encode(), kind)
    assert list(list_bundles(writer, NAME, image.digest)) == [b"{}"]


@pytest.mark.parametrize(
    "options",
    [
        ["--sign-as", WORKFLOW, "--sign-key", "KEY"],
        ["--trust-config", "KEY"],
        ["--sign-as", WORKFLOW, "--no-documents"],
    ],
)
def test_options_that_do_not_go_together_are_a_mistake(tmp_path: Path, options: list[str]) -> None:
    file = tmp_path / "file"
    file.touch()
    given_ = [str(file) if it == "KEY" else it for it in options]
    done = CliRunner().invoke(cli, ["build", "--all", "--push", "r.example", *given_])
    assert done.exit_code == 2, done.output


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--certificate-identity", WORKFLOW],
        ["--certificate-oidc-issuer", GITHUB],
        ["--key", "KEY", "--certificate-identity", WORKFLOW, "--certificate-oidc-issuer", GITHUB],
        ["--key", "KEY", "--trust-config", "KEY"],
    ],
)
def test_whom_to_believe_is_to_be_said_once_and_whole(tmp_path: Path, options: list[str]) -> None:
    file = tmp_path / "file"
    file.touch()
    given_ = [str(file) if it == "KEY" else it for it in options]
    done = CliRunner().invoke(cli, ["verify", "r.example/a:1", *given_])
    assert done.exit_code == 2
    assert "who should have signed it?" in done.stderr
