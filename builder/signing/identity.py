"""Identities that sign images, "keyless": Sigstore gives whoever proves to have one a certificate of a few minutes.

What is signed is in a public log, which proves that the certificate was valid then. All of it is the work of the
library sigstore, which is optional. Source: github.com/sigstore/fulcio, docs/oidc.md.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from builder.errors import ImgbuildError, SigningError
from builder.signing.asking import ask
from builder.signing.bundles import attach_bundle, list_bundles
from builder.signing.statement import dump_statement, parse_statement
from builder.signing.tokens import read_token, require_token

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sigstore.models import Bundle, ClientTrustConfig
    from sigstore.verify import Verifier

    from builder.registry.client import Registry
    from builder.registry.content import Descriptor
    from builder.registry.writing import Writer
    from builder.signing.payload import Claim

_PARTS = ("tlogs", "ctlogs", "certificateAuthorities")
"""What a root of trust has to have (github.com/sigstore/protobuf-specs, sigstore_trustroot.proto)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """An identity and who vouches for it: `https://github.com/…/images.yml@refs/heads/main`, and GitHub's issuer.

    `verifier` knows whose certificates and log are believed.
    """

    identity: str
    issuer: str
    verifier: Verifier
    name: str = "the identity"

    def read_claims(self, registry: Registry, repository: str, image: str) -> tuple[Claim, ...]:
        """Return what this identity has signed of an image. Raises RegistryError when the registry cannot be asked."""
        claims = (self.read_claim(bundle) for bundle in list_bundles(registry, repository, image))
        return tuple(claim for claim in claims if claim and claim.image == image)

    def read_claim(self, data: bytes) -> Claim | None:
        """Return what a bundle says that this identity has signed; None for any other bundle, and any other bytes."""
        from sigstore.models import Bundle
        from sigstore.verify import policy

        # The policy `Identity` would ask for no issuer where that is empty.
        wanted = policy.AllOf([policy.OIDCIssuer(self.issuer), policy.Identity(identity=self.identity)])
        try:
            kind, payload = self.verifier.verify_dsse(Bundle.from_json(data), wanted)
        except Exception:  # whoever may push there chooses the bytes, and the library has no end of errors
            return None
        return parse_statement(kind, payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentitySigner:
    """One who signs by an identity that it proves anew for each image: tokens last for minutes, builds for longer."""

    public: Identity
    trust: ClientTrustConfig

    def attach(self, writer: Writer, repository: str, image: Descriptor, claim: Claim) -> None:
        """Sign an image and its documents.

        Raises RegistryError, Cancelled once the writer is, and SigningError where Sigstore does not let it.
        """
        attach_bundle(writer, repository, image, self.sign(claim, lambda: writer.is_cancelled))

    def sign(self, claim: Claim, is_cancelled: Callable[[], bool] = lambda: False) -> bytes:
        """Return a bundle in which this identity claims something. Raises Cancelled and SigningError."""
        bundle = ask(lambda: self._sign(dump_statement(claim)), is_cancelled)
        data = bundle.to_json().encode()
        if self.public.read_claim(data) != claim:
            names = _list_names(bundle)
            if self.public.identity in names:
                hint = "does --trust-config trust the services that it names? What was signed is in the log now."
                raise SigningError("what Sigstore gave does not hold with what is trusted", hint=hint)
            hint = "what was signed is in the log now. --sign-as says whom a certificate is to name."
            told = f"Sigstore's certificate is of {', '.join(names)}, not of {self.public.identity}"
            raise SigningError(told, hint=hint)
        return data

    def _sign(self, statement: bytes) -> Bundle:
        from sigstore.dsse import Statement
        from sigstore.sign import SigningContext

        with SigningContext.from_trust_config(self.trust).signer(read_token()) as signer:
            return signer.sign_dsse(Statement(statement))


def read_identity(identity: str, issuer: str, path: Path | None) -> Identity:
    """Return an identity to believe, with the trust of a file, else of the public Sigstore.

    Raises ImgbuildError for a file that is none, and a missing library; SigningError where Sigstore cannot be asked.
    """
    return _make_identity(identity, issuer, _read_trust(path), path)


def read_identity_signer(identity: str, path: Path | None) -> IdentitySigner:
    """Return one who signs by an identity.

    Raises what read_identity does, and SigningError without a token, or with that of another.
    """
    trust = _read_trust(path)
    try:
        _ = trust.signing_config
    except Exception as error:
        raise _refuse(path, "it names no service that signs now") from error
    token = ask(lambda: require_token(identity))
    return IdentitySigner(public=_make_identity(identity, token.federated_issuer, trust, path), trust=trust)


def _make_identity(identity: str, issuer: str, trust: ClientTrustConfig, path: Path | None) -> Identity:
    from sigstore.verify import Verifier

    try:
        verifier = Verifier(trusted_root=trust.trusted_root)
    except Exception as error:
        raise _refuse(path, "it says of no Sigstore whom to trust") from error
    return Identity(identity=identity, issuer=issuer, verifier=verifier)


def _read_trust(path: Path | None) -> ClientTrustConfig:
    if find_spec("sigstore") is None:
        message = "identities need the library sigstore, which is not installed"
        raise ImgbuildError(message, hint="pip install 'imgbuild[sigstore]'")
    from sigstore.models import ClientTrustConfig

    logging.getLogger("sigstore").setLevel(logging.CRITICAL)  # of bundles that anybody may have attached
    if path is None:
        return ask(ClientTrustConfig.production)
    try:
        text = path.read_text()
        trust = ClientTrustConfig.from_json(text)
        root = json.loads(text)["trustedRoot"]
        if missing := [part for part in _PARTS if not root.get(part)]:
            raise ValueError(missing)  # the library would find nothing to be signed
    except OSError as error:
        raise ImgbuildError(f"it cannot be read: {error.strerror}", path=path) from error
    except Exception as error:
        raise _refuse(path, "it says of no Sigstore whom to trust") from error
    return trust


def _refuse(path: Path | None, message: str) -> ImgbuildError:
    hint = "it is what `sigstore --trust-config` takes: application/vnd.dev.sigstore.clienttrustconfig.v0.1+json."
    return ImgbuildError(message, path=path, hint=hint)


def _list_names(bundle: Bundle) -> list[str]:
    from cryptography.x509 import SubjectAlternativeName

    names = bundle.signing_certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    return [str(getattr(name, "value", name)) for name in names]
