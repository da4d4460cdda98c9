"""Signatures: made with keys as they are used, readable by others, and worth nothing for anything else."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from builder.attach import DOCUMENT, RETEST, TYPES, attach_documents
from builder.cli import cli
from builder.errors import ImgbuildError, RegistryError
from builder.registry.place import Place, Ref
from builder.registry.writing import Artifact, Writer
from builder.signing.keys import PASSWORD, read_public_key, read_signing_key
from builder.signing.payload import Claim, dump_claim, parse_claim
from builder.signing.signatures import SIGNATURE, attach_signature, list_targets, name_tag, read_claims
from builder.signing.verify import Finding, verify_image
from builder.signing.vouching import sign_image
from builder.staged import Staging
from builder.tags import tag_waiting
from tests.unit.test_attach import (
    CONTEXT,
    FOUND,
    NAME,
    Asked,
    Engine,
    add_image,
    locked,
    make_facts,
    make_publisher,
    run,
)

if TYPE_CHECKING:
    from builder.locked import LockedCell
    from builder.registry.content import Descriptor
    from builder.signing.keys import SigningKey
    from builder.signing.verify import Verified
    from builder.signing.vouching import Signer
    from tests.registry import FakeRegistry

__all__ = ["locked"]  # fixtures

DIGEST, BILL = ("sha256:" + number * 64 for number in "ab")
CLAIM = Claim(repository="registry.example/team/pytorch", image=DIGEST, documents=frozenset({BILL}))
SIGN = {"p256": lambda: ec.generate_private_key(ec.SECP256R1()), "ed25519": ed25519.Ed25519PrivateKey.generate}


@pytest.fixture(autouse=True)
def no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSWORD, raising=False)


def write_keys(folder: Path, key: Any, password: str = "", form: PrivateFormat = PrivateFormat.PKCS8) -> Path:
    """Write sign.key and sign.pub, and return the first."""
    guard = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    path = folder / "sign.key"
    path.write_bytes(key.private_bytes(Encoding.PEM, form, guard))
    path.with_suffix(".pub").write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return path


def make_key(folder: Path, kind: str = "p256") -> SigningKey:
    folder.mkdir(exist_ok=True)
    return read_signing_key(write_keys(folder, SIGN[kind]()))


@pytest.mark.parametrize("kind", SIGN)
@pytest.mark.parametrize("password", ["", "s3cret"])
def test_what_a_key_signed_its_public_half_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, password: str
) -> None:
    path = write_keys(tmp_path, SIGN[kind](), password)
    monkeypatch.setenv(PASSWORD, password or "of another key")
    signature = read_signing_key(path).sign(b"data")
    public = read_public_key(path.with_suffix(".pub"))
    assert public.has_signed(b"data", signature)
    assert not public.has_signed(b"data.", signature)
    assert not public.has_signed(b"data", signature[:-1])
    assert not public.has_signed(b"data", b"")
    assert not make_key(tmp_path / "other", kind).public.has_signed(b"data", signature)


def test_key_may_come_through_a_pipe(tmp_path: Path) -> None:
    """As the workflow gives it, whose machines then have no file of it."""
    path = write_keys(tmp_path, SIGN["p256"]())
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing, "wb") as pipe:
        pipe.write(path.read_bytes() + b"\n")
        pipe.close()
        signature = read_signing_key(Path(f"/dev/fd/{reading}")).sign(b"data")
    assert read_public_key(path.with_suffix(".pub")).has_signed(b"data", signature)


def test_openssl_writes_keys_and_verifies_signatures(tmp_path: Path) -> None:
    """As cosign does: SHA-256 of the payload, ECDSA on P-256, DER."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    key, public, payload, signature = (tmp_path / name for name in ("sign.key", "sign.pub", "payload", "signature"))
    make = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key]
    subprocess.run(make, check=True)
    subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", public], check=True)
    payload.write_bytes(dump_claim(CLAIM))
    signature.write_bytes(read_signing_key(key).sign(payload.read_bytes()))
    check = ["openssl", "dgst", "-sha256", "-verify", public, "-signature", signature, payload]
    assert "Verified OK" in subprocess.run(check, check=True, capture_output=True, text=True).stdout
    assert read_public_key(public).has_signed(payload.read_bytes(), signature.read_bytes())


@pytest.mark.parametrize("password", [None, "wrong"])
def test_key_without_its_password_is_refused_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str | None
) -> None:
    path = write_keys(tmp_path, SIGN["p256"](), "s3cret")
    if password:
        monkeypatch.setenv(PASSWORD, password)
    with pytest.raises(ImgbuildError) as caught:
        read_signing_key(path)
    assert PASSWORD in str(caught.value)
    assert str(path) in str(caught.value)
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\xff", b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAA==\n"])
def test_what_is_no_key_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "sign.key"
    path.write_bytes(content)
    for read in (read_signing_key, read_public_key):
        with pytest.raises(ImgbuildError, match="can be read from it") as caught:
            read(path)
        assert "openssl" in str(caught.value)


@pytest.mark.parametrize(
    "key", [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())], ids=["rsa", "p384"]
)
def test_key_that_cosign_would_not_take_is_refused(tmp_path: Path, key: Any) -> None:
    path = write_keys(tmp_path, key)
    for read, name in ((read_signing_key, path), (read_public_key, path.with_suffix(".pub"))):
        with pytest.raises(ImgbuildError, match="neither of ECDSA on P-256"):
            read(name)


def test_library_that_is_missing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_keys(tmp_path, SIGN["p256"]())
    monkeypatch.setattr("builder.signing.keys.find_spec", lambda _: None)
    with pytest.raises(ImgbuildError, match=r"imgbuild\[sign\]"):
        read_signing_key(path)


digests = st.text("0123456789abcdef", min_size=64, max_size=64).map("sha256:{}".format)


@given(st.text(), digests, st.frozensets(digests, max_size=4))
def test_claim_is_read_as_it_was_written(repository: str, image: str, documents: frozenset[str]) -> None:
    claim = Claim(repository=repository, image=image, documents=documents)
    assert parse_claim(dump_claim(claim)) == claim


def test_payload_has_the_members_that_cosign_reads() -> None:
    told = json.loads(dump_claim(CLAIM))
    assert told["critical"] == {
        "identity": {"docker-reference": "registry.example/team/pytorch"},
        "image": {"docker-manifest-digest": DIGEST},
        "type": "cosign container image signature",
    }
    assert told["optional"] == {"dev.imgbuild.documents": [BILL]}


def test_payload_without_documents_is_one_of_cosigns() -> None:
    told = json.loads(dump_claim(CLAIM))
    for optional in (None, {}, {"creator": "x"}):
        claim = parse_claim(json.dumps(told | {"optional": optional}).encode())
        assert claim == Claim(repository=CLAIM.repository, image=DIGEST)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3) | st.just(DIGEST),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(st.sampled_from(["critical", "image", "type", "optional", "identity"]), inner)
        ),
        max_leaves=8,
    )
)
def test_any_other_json_claims_nothing(node: Any) -> None:
    assert parse_claim(json.dumps(node).encode()) is None


@pytest.mark.parametrize("member", ["identity", "image", "type"])
def test_payload_that_lacks_a_member_claims_nothing(member: str) -> None:
    told = json.loads(dump_claim(CLAIM))
    del told["critical"][member]
    assert parse_claim(json.dumps(told).encode()) is None


@pytest.mark.parametrize("documents", ["sha256:" + "b" * 64, [1], ["x"], {DIGEST: 1}, [[DIGEST]]])
def test_documents_that_are_no_digests_claim_nothing(documents: Any) -> None:
    told = json.loads(dump_claim(CLAIM)) | {"optional": {"dev.imgbuild.documents": documents}}
    assert parse_claim(json.dumps(told).encode()) is None


def sign(writer: Writer, image: Descriptor, key: SigningKey, **more: Any) -> None:
    attach_signature(writer, NAME, image, Claim(repository="r.example/a", image=image.digest, **more), key)


def test_tag_that_lists_no_signatures_is_told(fake: FakeRegistry, writer: Writer, tmp_path: Path) -> None:
    image = add_image(fake, "1")
    fake.add_manifest(NAME, {"mediaType": image.media_type, "layers": 5}, name_tag(image.digest))
    with pytest.raises(RegistryError, match="a list of descriptors should stand here"):
        sign(writer, image, make_key(tmp_path))


@pytest.mark.parametrize("has_api", [True, False])
def test_signature_is_where_cosign_looks_for_it(
    fake: FakeRegistry,
    writer: Writer,
    tmp_path: Path,
    has_api: bool,
) -> None:
    fake.has_referrers = has_api
    image, key = add_image(fake, "1"), make_key(tmp_path)
    sign(writer, image, key)
    (attached,) = writer.list_referrers(NAME, image.digest)
    assert attached.artifact_type == SIGNATURE
    tag = f"sha256-{image.digest[7:]}.sig"
    kind, data = fake.manifests[NAME, fake.tags[NAME][tag]]
    assert kind == "application/vnd.oci.image.manifest.v1+json"
    (layer,) = json.loads(data)["layers"]
    assert layer["mediaType"] == "application/vnd.dev.cosign.simplesigning.v1+json"
    signature = base64.b64decode(layer["annotations"]["dev.cosignproject.cosign/signature"])
    assert key.public.has_signed(fake.blobs[layer["digest"]], signature)


def test_signatures_of_others_stay(fake: FakeRegistry, writer: Writer, tmp_path: Path) -> None:
    image = add_image(fake, "1")
    keys = [make_key(tmp_path / name, kind) for name, kind in (("a", "p256"), ("b", "ed25519"))]
    for key in keys:
        sign(writer, image, key)
    for key in keys:
        assert len(read_claims(writer, NAME, [name_tag(image.digest)], image.digest, key.public)) == 1
    other = make_key(tmp_path / "c")
    assert read_claims(writer, NAME, [name_tag(image.digest)], image.digest, other.public) == ()


def test_signature_of_another_image_says_nothing(fake: FakeRegistry, writer: Writer, tmp_path: Path) -> None:
    image, other, key = add_image(fake, "1", one=1), add_image(fake, "2", two=2), make_key(tmp_path)
    sign(writer, other, key)
    writer.copy_tag(NAME, fake.tags[NAME][name_tag(other.digest)], name_tag(image.digest))
    assert read_claims(writer, NAME, [name_tag(image.digest)], image.digest, key.public) == ()


@pytest.mark.parametrize("gone", ["payload", "manifest"])
def test_signature_of_another_that_is_not_whole_hides_no_other(
    fake: FakeRegistry, writer: Writer, tmp_path: Path, gone: str
) -> None:
    image = add_image(fake, "1")
    key, other = make_key(tmp_path / "a"), make_key(tmp_path / "b")
    sign(writer, image, other, documents=frozenset({BILL}))
    sign(writer, image, key)
    first = writer.list_referrers(NAME, image.digest)[0].digest
    if gone == "payload":
        (layer,) = json.loads(fake.manifests[NAME, first][1])["layers"]
        del fake.blobs[layer["digest"]]
    else:
        fake.manifests[NAME, first] = (fake.manifests[NAME, first][0], b"[]")
    targets = list_targets(writer, NAME, image.digest)
    assert len(read_claims(writer, NAME, targets, image.digest, key.public)) == 1


@pytest.mark.parametrize("damage", ["signature", "payload", "type", "layers", "annotation"])
def test_damaged_signature_is_none(
    fake: FakeRegistry,
    writer: Writer,
    tmp_path: Path,
    damage: str,
) -> None:
    image, key = add_image(fake, "1"), make_key(tmp_path)
    sign(writer, image, key)
    tag = name_tag(image.digest)
    document = json.loads(fake.manifests[NAME, fake.tags[NAME][tag]][1])
    (layer,) = document["layers"]
    told = layer["annotations"]
    match damage:
        case "signature":
            told["dev.cosignproject.cosign/signature"] = base64.b64encode(key.sign(b"other")).decode()
        case "payload":
            layer |= fake.add_blob(fake.blobs[layer["digest"]] + b" ")
        case "type":
            layer["mediaType"] = "text/plain"
        case "layers":
            document["layers"] = 3
        case "annotation":
            told["dev.cosignproject.cosign/signature"] = "ä"
    fake.add_manifest(NAME, document, tag)
    assert read_claims(writer, NAME, [tag], image.digest, key.public) == ()


def publish(
    fake: FakeRegistry,
    writer: Writer,
    locked: LockedCell,
    signer: Signer | None,
) -> Engine:
    engine = Engine(fake, one=1)
    publisher = make_publisher(engine, writer, signer=signer)
    run(publisher, engine, locked)
    return engine


def test_fault_of_a_signature_says_what_was_going_on(
    fake: FakeRegistry, writer: Writer, locked: LockedCell, tmp_path: Path
) -> None:
    key = make_key(tmp_path)
    publish(fake, writer, locked, None)
    image = writer.find(NAME, "latest")
    assert image is not None
    fake.faults, fake.failing = [413] * 100, "POST"
    with pytest.raises(RegistryError, match=rf"{image.digest}: its signature cannot be attached: .* 413") as caught:
        sign_image(writer, NAME, image, [], key)
    assert "The registry's own log says more." in str(caught.value)


def verify(fake: FakeRegistry, signer: Signer, target: str = "latest") -> Verified:
    with Writer(Place(host=fake.address, url=f"http://{fake.address}"), lambda _: None) as registry:
        return verify_image(registry, Ref(host=fake.address, repository=NAME, target=target), signer.public)


def list_faults(verified: Verified) -> dict[str, str]:
    return {finding.name: finding.fault for finding in verified.findings if finding.fault}


def test_published_image_is_signed_once_and_verified(
    fake: FakeRegistry,
    writer: Writer,
    locked: LockedCell,
    tmp_path: Path,
) -> None:
    key = make_key(tmp_path)
    engine = publish(fake, writer, locked, key)
    moved = [path for path in fake.sent("PUT") if "/manifests/" in path]
    assert [path.rpartition("/")[2] for path in moved][-3:] == [
        name_tag(engine.image_id),
        "2.7.1-cu118-py310",
        "latest",
    ], "it is signed before its tags move"
    verified = verify(fake, key)
    assert verified.ref == f"{fake.address}/{NAME}@{engine.image_id}"
    assert [finding.name for finding in verified.findings] == ["signature", *TYPES]
    assert list_faults(verified) == {}
    fake.asked.clear()
    publish(fake, writer, locked, key)
    assert not fake.sent()
    assert set(list_faults(verify(fake, make_key(tmp_path / "other")))) == {"signature", *TYPES}


def test_image_that_was_published_without_a_key_can_be_signed_later(
    fake: FakeRegistry,
    writer: Writer,
    locked: LockedCell,
    tmp_path: Path,
) -> None:
    key = make_key(tmp_path)
    publish(fake, writer, locked, None)
    assert set(list_faults(verify(fake, key))) == {"signature", *TYPES}
    publish(fake, writer, locked, key)
    assert verify(fake, key).passed


def test_document_that_somebody_slipped_in_is_not_signed_and_not_believed(
    fake: FakeRegistry,
    writer: Writer,
    locked: LockedCell,
    tmp_path: Path,
) -> None:
    key, engine = make_key(tmp_path), Engine(fake, one=1)
    image = add_image(fake, one=1)
    made = Asked()
    made.find = lambda: {"python": "pass", "device": "pass"}  # type: ignore[method-assign]
    attach_documents(writer, NAME, image, make_facts(made, image.digest))
    forged = {it["digest"] for it in fake.referrers[image.digest]}
    run(make_publisher(engine, writer, signer=key), engine, locked)
    verified = verify(fake, key)
    assert verified.passed
    (checks,) = (finding for finding in verified.findings if finding.name == "checks")
    believed, _, refused = checks.note.partition(", not ")
    assert any(digest in refused for digest in forged)
    assert not any(digest in believed for digest in forged)


@pytest.mark.parametrize("kind", TYPES)
def test_document_that_is_gone_or_damaged_is_told(
    fake: FakeRegistry,
    writer: Writer,
    locked: LockedCell,
    tmp_path: Path,
    kind: str,
) -> None:
    key = make_key(tmp_path)
    engine = publish(fake, writer, locked, key)
    listed = fake.referrers[engine.image_id]
    (entry,) = (it for it in listed if it.get("annotations", {}).get("dev.imgbuild.document") == kind)
    layer = json.loads(fake.manifests[NAME, entry["digest"]][1])["layers"][-1]
    blob = fake.blobs[layer["digest"]]
    fake.blobs[layer["digest"]] = blob[:-1] + b" "
    assert "is not what its digest says" in list_faults(verify(fake, key))[kind]
    del fake.blobs[layer["digest"]]
    assert "it answers 404" in list_faults(verify(fake, key))[kind]
    listed.remove(entry)
    assert list_faults(verify(fake, key)) == {kind: "it is not attached"}


def test_document_that_is_listed_as_another_is_told(
    fake: FakeRegistry,
    writer: Writer,
    locked: LockedCell,
    tmp_path: Path,
) -> None:
    key = make_key(tmp_path)
    listed = fake.referrers[publish(fake, writer, locked, key).image_id]
    (gone,) = (it for it in listed if it.get("annotations", {}).get(DOCUMENT) == "checks")
    (bill,) = (it for it in listed if it.get("annotations", {}).get(DOCUMENT) == "spdx")
    listed[listed.index(gone)] = bill | {"annotations": {DOCUMENT: "checks"}}
    assert list_faults(verify(fake, key)) == {"checks": f"{bill['digest']} is listed as it and is another document"}


def test_image_that_was_signed_under_another_name_is_said_to_be(
    fake: FakeRegistry,
    writer: Writer,
    locked: LockedCell,
    tmp_path: Path,
) -> None:
    key = make_key(tmp_path)
    image = add_image(fake, "1", two=2)
    sign(writer, image, key)
    assert verify(fake, key, "1").findings[0] == Finding(name="signature", note="it was signed as r.example/a")
    publish(fake, writer, locked, key)
    assert verify(fake, key).findings[0] == Finding(name="signature")


def test_digest_that_was_asked_for_is_the_one_that_is_verified(
    fake: FakeRegistry,
    writer: Writer,
    locked: LockedCell,
    tmp_path: Path,
) -> None:
    key = make_key(tmp_path)
    signed = publish(fake, writer, locked, key).image_id
    other = add_image(fake, "other", other=1)
    # A registry that answers with the signed image, whatever digest it is asked for.
    fake.tags[NAME][other.digest] = signed
    assert not verify(fake, key, other.digest).passed
    assert verify(fake, key, signed).passed


def test_command_prints_the_digest_that_was_verified(
    fake: FakeRegistry,
    writer: Writer,
    locked: LockedCell,
    tmp_path: Path,
) -> None:
    engine = publish(fake, writer, locked, make_key(tmp_path))
    ref = f"{fake.address}/{NAME}:latest"
    command = ["verify", ref, "--key", str(tmp_path / "sign.pub"), "--sources", "host"]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{fake.address}/{NAME}@{engine.image_id}\n"
    assert done.stderr.splitlines() == [f"  ✓ {name}" for name in ("signature", *TYPES)]
    make_key(tmp_path)  # another, in the same files
    failed = CliRunner().invoke(cli, command)
    assert isinstance(failed.exception, ImgbuildError)
    assert failed.exception.exit_code == 14
    assert failed.stdout == ""


def promote(fake: FakeRegistry, writer: Writer, locked: LockedCell, signer: Signer | None) -> None:
    place = f"{fake.address}/team"
    staging = Staging(registry=writer, place=place, contexts={locked.id: CONTEXT}, signer=signer)
    staging.promote(locked.job, locked.environment, staging.find(locked.job), FOUND)


def test_results_of_a_later_test_are_signed_with_it_and_verified(
    fake: FakeRegistry, writer: Writer, locked: LockedCell, tmp_path: Path
) -> None:
    key = make_key(tmp_path)
    image = publish(fake, writer, locked, key).image_id
    promote(fake, writer, locked, key)
    assert verify(fake, key).findings == tuple(Finding(name=name) for name in ("signature", *TYPES, RETEST))
    fake.asked.clear()
    promote(fake, writer, locked, key)
    publish(fake, writer, locked, key)
    assert not fake.sent(), "what the key has signed is not signed again"
    (results,) = (it for it in fake.referrers[image] if it.get("annotations", {}).get(DOCUMENT) == RETEST)
    (layer,) = json.loads(fake.manifests[NAME, results["digest"]][1])["layers"]
    del fake.blobs[layer["digest"]]
    assert "it answers 404" in list_faults(verify(fake, key))[RETEST]


def test_results_that_nobody_signed_are_said_not_to_be_believed(
    fake: FakeRegistry, writer: Writer, locked: LockedCell, tmp_path: Path
) -> None:
    key = make_key(tmp_path)
    publish(fake, writer, locked, key)
    promote(fake, writer, locked, None)
    verified = verify(fake, key)
    assert verified.passed
    assert verified.findings[-1].name == RETEST
    assert "do not believe sha256:" in verified.findings[-1].note
    done = CliRunner().invoke(cli, ["verify", verified.ref, "--key", str(tmp_path / "sign.pub"), "--sources", "host"])
    assert done.stderr.splitlines()[-1].startswith(f"  ! {RETEST}  do not believe")
    promote(fake, writer, locked, key)
    assert verify(fake, key).findings[-1] == Finding(name=RETEST)


def slip_in(fake: FakeRegistry, writer: Writer, locked: LockedCell) -> str:
    """Return the digest of an image that the tag of what waits names, as whoever may push can make it do.

    What looks like its documents is attached to it.
    """
    image = add_image(fake, tag_waiting(locked.job, CONTEXT), foreign=1)
    for kind, form in TYPES.items():
        told = ((DOCUMENT, kind),)
        writer.attach(NAME, image, Artifact(artifact_type=form, media_type=form, blobs=(b"{}",), annotations=told))
    return image.digest


def test_image_that_the_key_never_signed_is_neither_found_nor_promoted_nor_signed(
    fake: FakeRegistry, writer: Writer, locked: LockedCell, tmp_path: Path
) -> None:
    key, engine = make_key(tmp_path), Engine(fake, one=1)
    run(make_publisher(engine, writer, signer=key, staged=True), engine, locked)
    foreign = slip_in(fake, writer, locked)
    staging = Staging(registry=writer, place=f"{fake.address}/team", contexts={locked.id: CONTEXT}, signer=key)
    before = dict(fake.tags[NAME])
    with pytest.raises(RegistryError, match=f"{foreign} lacks documents that the key has signed") as caught:
        staging.find(locked.job)
    assert f"imgbuild build --push {fake.address}/team --stage" in str(caught.value)
    image = writer.find(NAME, foreign)
    assert image is not None
    with pytest.raises(RegistryError, match="that the key has signed"):
        staging.promote(locked.job, locked.environment, image, FOUND)
    assert fake.tags[NAME] == before
    assert read_claims(writer, NAME, list_targets(writer, NAME, foreign), foreign, key.public) == ()
    run(make_publisher(engine, writer, signer=key, staged=True), engine, locked)
    promote(fake, writer, locked, key)
    assert fake.tags[NAME]["latest"] == engine.image_id


@pytest.mark.parametrize("kind", TYPES)
def test_image_with_a_document_that_the_key_never_signed_is_not_promoted(
    fake: FakeRegistry, writer: Writer, locked: LockedCell, tmp_path: Path, kind: str
) -> None:
    key = make_key(tmp_path)
    publish(fake, writer, locked, None)
    image = writer.find(NAME, "latest")
    assert image is not None
    told = {it["digest"] for it in fake.referrers[image.digest] if it["annotations"].get(DOCUMENT) != kind}
    sign(writer, image, key, documents=frozenset(told))
    with pytest.raises(RegistryError, match=f"lacks documents that the key has signed: {kind}\n"):
        promote(fake, writer, locked, key)
    assert RETEST not in {it.get("annotations", {}).get(DOCUMENT) for it in fake.referrers[image.digest]}


@pytest.mark.parametrize(("more", "said"), [((), "--push"), (("--push", "r.example", "--no-documents"), "documents")])
def test_key_that_has_nothing_to_sign_is_a_mistake(tmp_path: Path, more: tuple[str, ...], said: str) -> None:
    make_key(tmp_path)
    done = CliRunner().invoke(cli, ["build", "--all", "--sign-key", str(tmp_path / "sign.key"), *more])
    assert done.exit_code == 2
    assert said in done.stderr


@pytest.mark.parametrize("has_api", [True, False])
def test_image_is_signed_in_a_registry_that_knows_no_artifacts(
    fake: FakeRegistry,
    writer: Writer,
    locked: LockedCell,
    tmp_path: Path,
    has_api: bool,
) -> None:
    key, fake.has_referrers = make_key(tmp_path), has_api
    fake.refuses = ('"artifactType":', "application/vnd.oci.empty.v1+json")
    publish(fake, writer, locked, key)
    assert list_faults(verify(fake, key)) == {}
    fake.asked.clear()
    publish(fake, writer, locked, key)
    assert not fake.sent()
