"""Sigstore in a thread: certificates and a log of what they signed, by keys of its own, for tests without a network.

It answers as Fulcio (github.com/sigstore/fulcio, fulcio.proto, `CreateSigningCertificate`) and Rekor do
(github.com/sigstore/rekor, openapi.yaml, `createLogEntry`, kind dsse 0.0.1), and believes whoever says who they are.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import struct
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

if TYPE_CHECKING:
    from collections.abc import Iterator

GITHUB = "https://token.actions.githubusercontent.com"
WORKFLOW = "https://github.com/team/images/.github/workflows/images.yml@refs/heads/main"

_HOUR = timedelta(hours=1)
_OLD_ISSUER, _ISSUER = (x509.ObjectIdentifier(f"1.3.6.1.4.1.57264.1.{number}") for number in (1, 8))
_SCTS = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
"""Extensions: the issuer of the identity (fulcio, docs/oid-info.md), the log's promises (RFC 6962, section 3.3)."""


def make_token(*, issuer: str = GITHUB, seconds: int = 600, **claims: Any) -> str:
    """Return an identity token that nobody has signed; a workflow's, unless other claims are given."""
    now = int(datetime.now(UTC).timestamp())
    told = {"iss": issuer, "aud": "sigstore", "sub": "repo:team/images", "iat": now - 60, "exp": now + seconds}
    told |= claims or {"job_workflow_ref": WORKFLOW.removeprefix("https://github.com/")}
    return ".".join(_encode(json.dumps(part).encode()) for part in ({"alg": "none"}, told)) + "." + _encode(b"nobody")


@dataclass
class Sigstore:
    """`logged` are the bodies of the log's entries; `refuses` are the paths of the next requests that get `status`."""

    url: str = ""
    logged: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    refuses: list[str] = field(default_factory=list)
    status: int = 503
    ca_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    ct_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    log_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    ca: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "stand-in")])
        made = _begin(name, self.ca_key.public_key(), hours=24).subject_name(name)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        made = made.add_extension(_usage(signs_certificates=True), critical=True)
        key_id = x509.SubjectKeyIdentifier.from_public_key(self.ca_key.public_key())
        self.ca = made.add_extension(key_id, critical=False).sign(self.ca_key, SHA256())

    def issue(self, request: dict[str, Any], token: str) -> dict[str, Any]:
        """Answer a request for a certificate: one of who the token says it is."""
        claims = json.loads(_decode(token.split(".")[1]))
        wanted = x509.load_pem_x509_csr(base64.b64decode(request["certificateSigningRequest"]))
        certificate = self.certify(wanted.public_key(), claims)  # type: ignore[arg-type]
        chain = [it.public_bytes(Encoding.PEM).decode() for it in (certificate, self.ca)]
        return {"signedCertificateEmbeddedSct": {"chain": {"certificates": chain}}}

    def certify(self, key: ec.EllipticCurvePublicKey, claims: dict[str, str]) -> x509.Certificate:
        match claims:
            case {"email": address}:
                identity: x509.GeneralName = x509.RFC822Name(address)
            case {"job_workflow_ref": job}:
                identity = x509.UniformResourceIdentifier(f"https://github.com/{job}")
            case _:
                identity = x509.UniformResourceIdentifier(claims["sub"])
        told = claims["iss"].encode()
        made = _begin(self.ca.subject, key).subject_name(x509.Name([]))
        made = made.add_extension(_usage(signs_certificates=False), critical=True)
        made = made.add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        ca_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.ca_key.public_key())
        made = made.add_extension(ca_id, critical=False)
        made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        made = made.add_extension(x509.SubjectAlternativeName([identity]), critical=True)
        for kind, value in ((_OLD_ISSUER, told), (_ISSUER, bytes([12, len(told)]) + told)):
            made = made.add_extension(x509.UnrecognizedExtension(kind, value), critical=False)
        promise = self.promise(made.sign(self.ca_key, SHA256()))
        return made.add_extension(x509.UnrecognizedExtension(_SCTS, promise), critical=False).sign(
            self.ca_key, SHA256()
        )

    def promise(self, certificate: x509.Certificate) -> bytes:
        """Return the extension in which a log promises to have a certificate (RFC 6962, sections 3.2 and 3.3)."""
        when = int(datetime.now(UTC).timestamp() * 1000)
        body = certificate.tbs_certificate_bytes
        entry = hashlib.sha256(_spki(self.ca_key)).digest() + len(body).to_bytes(3) + body
        signed = struct.pack("!BBQH", 0, 0, when, 1) + entry + struct.pack("!H", 0)
        signature = self.ct_key.sign(signed, ec.ECDSA(SHA256()))
        told = (
            b"\0" + hashlib.sha256(_spki(self.ct_key)).digest() + struct.pack("!QHBBH", when, 0, 4, 3, len(signature))
        )
        one = told + signature
        listed = struct.pack("!HH", len(one) + 2, len(one)) + one
        return bytes([4, len(listed)]) + listed  # an octet string of less than 128 bytes

    def log(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Answer a request to log an envelope, in a log that has nothing else."""
        proposed = entry["spec"]["proposedContent"]
        envelope = json.loads(proposed["envelope"])
        payload = base64.b64decode(envelope["payload"])
        (verifier,) = proposed["verifiers"]
        hashes = {
            name: {"algorithm": "sha256", "value": hashlib.sha256(data).hexdigest()}
            for name, data in (("envelopeHash", proposed["envelope"].encode()), ("payloadHash", payload))
        }
        told = [{"signature": it["sig"], "verifier": verifier} for it in envelope["signatures"]]
        document = {"apiVersion": "0.0.1", "kind": "dsse", "spec": {**hashes, "signatures": told}}
        self.logged.append(json.loads(payload))
        return self.include(_canonical(document))

    def include(self, body: bytes) -> dict[str, Any]:
        """Return a log's entry: its promise, and its proof that it is the only one of a tree."""
        key_id = hashlib.sha256(_spki(self.log_key)).digest()
        when, index = int(datetime.now(UTC).timestamp()), 0
        told = {"body": base64.b64encode(body).decode(), "integratedTime": when, "logID": key_id.hex()}
        promise = self.log_key.sign(_canonical({**told, "logIndex": index}), ec.ECDSA(SHA256()))
        root = hashlib.sha256(b"\0" + body).digest()
        note = f"stand-in - 1\n1\n{base64.b64encode(root).decode()}\n"
        signature = base64.b64encode(key_id[:4] + self.log_key.sign(note.encode(), ec.ECDSA(SHA256()))).decode()
        checkpoint = f"{note}\n\N{EM DASH} stand-in {signature}\n"
        proof = {"logIndex": index, "rootHash": root.hex(), "treeSize": 1, "hashes": [], "checkpoint": checkpoint}
        verification = {"inclusionProof": proof, "signedEntryTimestamp": base64.b64encode(promise).decode()}
        return {key_id.hex(): {**told, "logIndex": index, "verification": verification}}

    def describe(self) -> dict[str, Any]:
        """Return whom a client has to trust, and whom it asks (sigstore/protobuf-specs, `ClientTrustConfig`)."""
        since = {"start": "2020-01-01T00:00:00Z"}
        chain = [{"rawBytes": base64.b64encode(self.ca.public_bytes(Encoding.DER)).decode()}]
        subject = {"organization": "stand-in", "commonName": "stand-in"}
        root = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [self._trust(self.log_key)],
            "ctlogs": [self._trust(self.ct_key)],
            "certificateAuthorities": [
                {"subject": subject, "uri": self.url, "certChain": {"certificates": chain}, "validFor": since}
            ],
        }
        service = {"url": self.url, "majorApiVersion": 1, "operator": "stand-in", "validFor": since}
        signing = {
            "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
            "caUrls": [service],
            "rekorTlogUrls": [service],
            "rekorTlogConfig": {"selector": "ANY"},
            "tsaConfig": {"selector": "ANY"},
        }
        kind = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
        return {"mediaType": kind, "trustedRoot": root, "signingConfig": signing}

    def _trust(self, key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
        data = _spki(key)
        public = {
            "rawBytes": base64.b64encode(data).decode(),
            "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            "validFor": {"start": "2020-01-01T00:00:00Z"},
        }
        log_id = {"keyId": base64.b64encode(hashlib.sha256(data).digest()).decode()}
        return {"baseUrl": self.url, "hashAlgorithm": "SHA2_256", "publicKey": public, "logId": log_id}


def _begin(issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, hours: int = 1) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().issuer_name(issuer).public_key(key).serial_number(x509.random_serial_number())
    return made.not_valid_before(now - _HOUR).not_valid_after(now + _HOUR * hours)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    no = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
         "decipher_only"), False
    )  # fmt: skip
    return x509.KeyUsage(
        digital_signature=not signs_certificates, key_cert_sign=signs_certificates, crl_sign=signs_certificates, **no
    )


def _spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _canonical(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        """Answer as GitHub does when a job asks for its token."""
        path = self.path.partition("?")[0]
        if path in self.server.sigstore.refuses:
            self.server.sigstore.refuses.remove(path)
            self.answer(503, {})
        else:
            self.answer(200, {"value": make_token()})

    def do_POST(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        sigstore = self.server.sigstore
        sigstore.asked.append(self.path)
        if self.path in sigstore.refuses:
            sigstore.refuses.remove(self.path)
            self.answer(sigstore.status, {"message": "not now"})
        elif self.path == "/api/v2/signingCert":
            self.answer(201, sigstore.issue(told, self.headers["Authorization"].removeprefix("Bearer ")))
        else:
            assert self.path.rstrip("/") == "/api/v1/log/entries"
            self.answer(201, sigstore.log(told))

    def answer(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    sigstore: Sigstore


@contextlib.contextmanager
def run_sigstore() -> Iterator[Sigstore]:
    server = _Server(("127.0.0.1", 0), _Handler)
    server.sigstore = Sigstore(url=f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.sigstore
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
