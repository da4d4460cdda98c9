"""Identities that sign: proven to Sigstore, and believed only with its certificate, its log, and the right names."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from builder.attach import DOCUMENT, RETEST, TYPES
from builder.cli import cli
from builder.errors import Cancelled, ImgbuildError, RegistryError, SigningError
from builder.registry.writing import Artifact
from builder.signing import asking, identity
from builder.signing.asking import ask
from builder.signing.bundles import BUNDLE, LIMIT, attach_bundle, list_bundles
from builder.signing.identity import IdentitySigner, read_identity, read_identity_signer
from builder.signing.payload import Claim
from builder.signing.statement import dump_statement, parse_statement
from builder.signing.tokens import VARIABLE
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
    monkeypatch.setenv(VARIABLE, make_token())
    monkeypatch.setattr(asking, "PAUSES", (0.01, 0.01))
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
    (bundle,) = (it for it in fake.referrers[engine.image_id] if it["artifactType"] == BUNDLE)
    assert bundle["annotations"]["dev.sigstore.bundle.predicateType"] == statement["predicateType"]
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
    other = replace(signer, public=read_identity(name, issuer, trust))
    assert list_faults(verify(fake, other))["signature"] == "the identity has not signed this image"


def test_another_sigstore_is_not_believed(
    fake: FakeRegistry, writer: Writer, locked: LockedCell, signer: IdentitySigner, tmp_path: Path
) -> None:
    publish(fake, writer, locked, signer)
    with run_sigstore() as foreign:
        other = read_identity(WORKFLOW, GITHUB, write_trust(foreign, tmp_path / "other.json"))
    assert "signature" in list_faults(verify(fake, replace(signer, public=other)))


def test_signature_of_another_image_says_nothing(
    fake: FakeRegistry, writer: Writer, locked: LockedCell, signer: IdentitySigner
) -> None:
    """Whoever may push there can attach it to any image."""
    own = publish(fake, writer, locked, signer).image_id
    (bundle,) = list_bundles(writer, NAME, own)
    foreign = add_image(fake, "foreign", foreign=1)
    attach_bundle(writer, NAME, foreign, bundle)
    assert signer.public.read_claims(writer, NAME, own)
    assert signer.public.read_claims(writer, NAME, foreign.digest) == ()


@pytest.mark.parametrize("key", ["ca_key", "ct_key", "log_key"])
def test_no_part_of_the_proof_may_be_another_s(sigstore: Sigstore, trust: Path, tmp_path: Path, key: str) -> None:
    """Certificate, promise of the certificates' log, entry in the log of signatures: each counts."""
    believed = read_identity(WORKFLOW, GITHUB, trust)
    assert believed.read_claim(read_identity_signer(WORKFLOW, trust).sign(CLAIM)) == CLAIM
    with run_sigstore() as foreign:
        for name in {"ca_key", "ct_key", "log_key"} - {key}:
            setattr(foreign, name, getattr(sigstore, name))
        if key != "ca_key":
            foreign.ca = sigstore.ca
        its = read_identity_signer(WORKFLOW, write_trust(foreign, tmp_path / "other.json"))
        forged = its.sign(CLAIM)
    assert its.public.read_claim(forged) == CLAIM
    assert believed.read_claim(forged) is None


@pytest.mark.parametrize("where", ["payload", "signature", "certificate", "body", "time", "media type", "nothing"])
def test_damaged_bundle_is_none(signer: IdentitySigner, where: str) -> None:
    document = json.loads(signer.sign(CLAIM))
    (entry,) = document["verificationMaterial"]["tlogEntries"]
    match where:
        case "payload":
            other = json.loads(signer.sign(replace(CLAIM, documents=frozenset())))
            document["dsseEnvelope"]["payload"] = other["dsseEnvelope"]["payload"]
        case "signature":
            document["dsseEnvelope"]["signatures"][0]["sig"] = "AAAA"
        case "certificate":
            other = json.loads(signer.sign(CLAIM))
            document["verificationMaterial"]["certificate"] = other["verificationMaterial"]["certificate"]
        case "body":
            entry["canonicalizedBody"] = entry["canonicalizedBody"][:-8]
        case "time":  # of which the library says that an integer is too large
            entry["integratedTime"] = "9" * 20
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
        (KIND, {"predicate": {"dev.imgbuild.documents": dict.fromkeys(CLAIM.documents, 1)}}),
        (KIND, {"predicate": [1]}),
    ],
)
def test_other_statements_of_the_same_identity_claim_nothing(kind: str, change: dict[str, Any]) -> None:
    """Such as the provenance that other tools sign in the same workflow."""
    told = json.loads(dump_statement(CLAIM))
    assert parse_statement(KIND, json.dumps(told).encode()) == CLAIM
    assert parse_statement(kind, json.dumps(told | change).encode()) is None


@pytest.mark.parametrize("data", [b"", b"[" * 100_000, b"\xff", b"{}", b'{"mediaType": 1}'])
def test_any_bytes_are_read_as_no_bundle_and_no_statement(trust: Path, data: bytes) -> None:
    assert read_identity(WORKFLOW, GITHUB, trust).read_claim(data) is None
    assert parse_statement(KIND, data) is None


def test_what_cosign_signs_claims_an_image_and_no_documents() -> None:
    told = json.loads(dump_statement(CLAIM)) | {"predicate": {}}
    del told["subject"][0]["name"]
    assert parse_statement(KIND, json.dumps(told).encode()) == Claim(repository="", image=CLAIM.image)


def test_certificate_of_another_is_said_and_no_tag_moves(
    fake: FakeRegistry, writer: Writer, locked: LockedCell, trust: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an issuer that Sigstore knows and imgbuild does not."""
    monkeypatch.setenv(VARIABLE, make_token(issuer="https://id.example", sub="https://id.example/other"))
    engine = Engine(fake, one=1)
    publisher = make_publisher(engine, writer, signer=read_identity_signer("https://id.example/me", trust))
    told = "cannot be signed: Sigstore's certificate is of https://id.example/other, not of https://id.example/me"
    with pytest.raises(SigningError, match=re.escape(told)):
        run(publisher, engine, locked)
    assert BUNDLE not in {it["artifactType"] for it in fake.referrers[engine.image_id]}
    assert "latest" not in fake.tags[NAME]


def test_services_that_the_trust_does_not_cover_are_not_told_as_another_s(sigstore: Sigstore, trust: Path) -> None:
    with run_sigstore() as foreign:
        foreign.ct_key = sigstore.ct_key  # the library looks at that one by itself
        document = json.loads(trust.read_text())
        document["signingConfig"] = foreign.describe()["signingConfig"]
        trust.write_text(json.dumps(document))
        with pytest.raises(SigningError, match="does not hold with what is trusted"):
            read_identity_signer(WORKFLOW, trust).sign(CLAIM)


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({}, WORKFLOW),
        ({"email": "someone@lab.example"}, "someone@lab.example"),
        (
            {"ci_config_ref_uri": "gitlab.example/a/b//ci.yml@refs/heads/1"},
            "https://gitlab.example/a/b//ci.yml@refs/heads/1",
        ),
    ],
)
def test_token_of_another_is_said_before_anything_is_logged(
    sigstore: Sigstore, trust: Path, monkeypatch: pytest.MonkeyPatch, claims: dict[str, str], name: str
) -> None:
    monkeypatch.setenv(VARIABLE, f"  {make_token(**claims)}\r\n")
    assert read_identity_signer(name, trust).public.identity == name
    with pytest.raises(SigningError, match=f"the token is of {name}"):
        read_identity_signer(f"{name}x", trust)
    assert not sigstore.asked


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
    monkeypatch.setattr(asking, "PATIENCE", 0.05)
    never = threading.Event()
    with pytest.raises(SigningError, match="took longer than"):
        ask(never.wait)
    never.set()


def test_sigstore_is_not_waited_for_once_cancelled(
    fake: FakeRegistry, writer: Writer, signer: IdentitySigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    never, image = threading.Event(), add_image(fake, "1")
    monkeypatch.setattr(IdentitySigner, "_sign", lambda *_: never.wait())
    writer.cancel()
    with pytest.raises(Cancelled):
        signer.attach(writer, NAME, image, replace(CLAIM, image=image.digest))
    never.set()


def test_refusal_is_told_in_sigstore_s_words_and_not_asked_for_again(
    sigstore: Sigstore, signer: IdentitySigner
) -> None:
    sigstore.status, sigstore.refuses = 403, ["/api/v2/signingCert"] * 2
    with pytest.raises(SigningError, match=r"Sigstore: .*403.*not now"):
        signer.sign(CLAIM)
    assert sigstore.asked == ["/api/v2/signingCert"]


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("", "there is no token"),
        ("no.to.ken", "no identity can be proven"),
        ("a\nb.c.d", "it is no token"),
        ({"iss": [1]}, "no identity can be proven"),
        ({"aud": "other"}, "Audience"),
        ({"seconds": -3600}, "expired"),
    ],
)
def test_identity_that_cannot_be_proven_is_said_before_anything_is_built(
    monkeypatch: pytest.MonkeyPatch, trust: Path, token: str | dict[str, Any], said: str
) -> None:
    for name in ("GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE", "CIRCLECI"):
        monkeypatch.delenv(name, raising=False)
    raw = make_token(**token) if isinstance(token, dict) else token
    monkeypatch.setenv(VARIABLE, raw)
    command = ["build", "--all", "--push", "r.example", "--sign-as", WORKFLOW, "--trust-config", str(trust)]
    done = CliRunner().invoke(cli, command)
    assert isinstance(done.exception, SigningError)
    assert said in done.exception.message
    assert VARIABLE in str(done.exception)
    assert not raw or raw not in str(done.exception)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"mediaType": "x", "trustedRoot": {}, "signingConfig": {}}'])
def test_file_that_says_of_no_sigstore_whom_to_trust_is_said(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trust.json"
    path.write_text(text)
    with pytest.raises(ImgbuildError, match=r"trust\.json: it says of no Sigstore whom to trust"):
        read_identity(WORKFLOW, GITHUB, path)


@pytest.mark.parametrize("part", ["mediaType", "tlogs", "ctlogs", "certificateAuthorities"])
def test_trust_that_lacks_something_is_said_at_once(trust: Path, part: str) -> None:
    document = json.loads(trust.read_text())
    document["trustedRoot"][part] = "" if part == "mediaType" else []
    trust.write_text(json.dumps(document))
    with pytest.raises(ImgbuildError, match=r"trust\.json: it says of no Sigstore whom to trust"):
        read_identity(WORKFLOW, GITHUB, trust)


def test_who_verifies_needs_no_service_that_still_signs(trust: Path) -> None:
    document = json.loads(trust.read_text())
    for service in document["signingConfig"]["caUrls"]:
        service["validFor"] = {"start": "2020-01-01T00:00:00Z", "end": "2021-01-01T00:00:00Z"}
    trust.write_text(json.dumps(document))
    assert read_identity(WORKFLOW, GITHUB, trust)
    with pytest.raises(ImgbuildError, match=r"trust\.json: it names no service that signs now"):
        read_identity_signer(WORKFLOW, trust)


def test_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(ImgbuildError, match="it cannot be read: Is a directory"):
        read_identity(WORKFLOW, GITHUB, tmp_path)


def test_issuer_is_where_a_person_logged_in(monkeypatch: pytest.MonkeyPatch, trust: Path) -> None:
    """The token is Sigstore's own, and the certificate names where that has it from."""
    told = {"email": "someone@lab.example", "federated_claims": {"connector_id": "https://id.example"}}
    monkeypatch.setenv(VARIABLE, make_token(**told))
    assert read_identity_signer("someone@lab.example", trust).public.issuer == "https://id.example"


def test_job_on_github_is_asked_for_its_token_and_again_where_github_is_busy(
    monkeypatch: pytest.MonkeyPatch, sigstore: Sigstore, trust: Path
) -> None:
    """docs.github.com, "OpenID Connect reference": two variables, where the job has `id-token: write`."""
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    with pytest.raises(SigningError, match="GitHub gives this job no token"):
        read_identity_signer(WORKFLOW, trust)
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "of the job")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{sigstore.url}/token?version=1")
    sigstore.refuses = ["/token"]
    signer = read_identity_signer(WORKFLOW, trust)
    assert signer.public.issuer == GITHUB
    sigstore.refuses = ["/token"]
    assert signer.public.read_claim(signer.sign(CLAIM)) == CLAIM
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", "http://[::1")
    with pytest.raises(SigningError):
        read_identity_signer(WORKFLOW, trust)


def test_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "find_spec", lambda _: None)
    with pytest.raises(ImgbuildError, match=r"imgbuild\[sigstore\]"):
        read_identity(WORKFLOW, GITHUB, None)


def test_only_what_the_same_identity_staged_is_promoted_and_its_test_is_signed(
    fake: FakeRegistry, writer: Writer, locked: LockedCell, signer: IdentitySigner
) -> None:
    engine = Engine(fake, one=1)
    run(make_publisher(engine, writer, signer=signer, staged=True), engine, locked)
    foreign = slip_in(fake, writer, locked)
    with pytest.raises(RegistryError, match=f"{foreign} lacks documents that the identity has signed"):
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
    for kind, data in (("text/plain", b"another type"), (BUNDLE, b"x" * (LIMIT + 1))):
        writer.attach(NAME, image, Artifact(artifact_type=BUNDLE, media_type=kind, blobs=(data,)))
    writer.attach(NAME, image, Artifact(artifact_type=BUNDLE, media_type=BUNDLE, blobs=(b"[]", b"[]")))
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


@pytest.mark.parametrize("command", ["build", "test"])
@pytest.mark.parametrize("option", [["--sign-as", WORKFLOW], ["--trust-config", "trust.json"]])
def test_identity_that_has_nothing_to_sign_is_a_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, option: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trust.json").touch()
    done = CliRunner().invoke(cli, [command, "--all", *option])
    assert done.exit_code == 2
    assert "--push" in done.stderr if command == "build" else "--promote" in done.stderr


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


@pytest.mark.parametrize(
    "command",
    [
        ["build", "--all", "--push", "r.example", "--sign-as"],
        ["test", "--all", "--registry", "r.example", "--promote", "--sign-as"],
        ["verify", "r.example/a:1", "--certificate-oidc-issuer", GITHUB, "--certificate-identity"],
        ["verify", "r.example/a:1", "--certificate-identity", WORKFLOW, "--certificate-oidc-issuer"],
    ],
)
@pytest.mark.parametrize("value", ["", " "])
def test_name_that_is_empty_is_a_mistake_and_asks_for_no_less(command: list[str], value: str) -> None:
    """As a script's variable is that nobody has set."""
    done = CliRunner().invoke(cli, [*command, value])
    assert done.exit_code == 2
    assert "it is empty" in done.stderr


def test_issuer_counts_even_where_it_is_empty(signer: IdentitySigner, trust: Path) -> None:
    assert read_identity(WORKFLOW, "", trust).read_claim(signer.sign(CLAIM)) is None
