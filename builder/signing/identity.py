"""Identities that sign images, "keyless": Sigstore gives whoever proves to have one a certificate of a few minutes.

What is signed is in a public log, which proves that the certificate was valid then. All of it is the work of the
library sigstore, which is optional. Source: github.com/sigstore/fulcio, docs/oidc.md.
"""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeVar

from builder.errors import ImgbuildError, SigningError
from builder.signing.bundles import attach_bundle, list_bundles
from builder.signing.statement import dump_statement, parse_statement

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sigstore.models import Bundle, ClientTrustConfig
    from sigstore.oidc import IdentityToken

    from builder.registry.client import Registry
    from builder.registry.content import Descriptor
    from builder.registry.writing import Writer
    from builder.signing.payload import Claim

TOKEN = "SIGSTORE_ID_TOKEN"  # noqa: S105 (the variable's name)
"""Environment variable with the token that proves an identity, where the machine cannot be asked for one."""

PATIENCE = 120.0
"""Seconds that Sigstore may take for one signature; its library waits for ever."""

_PAUSES = (1.0, 4.0)
"""Seconds before Sigstore is asked again: it answers 429 and 5xx where many sign at once."""

_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """An identity and who vouches for it: `https://github.com/…/images.yml@refs/heads/main`, and GitHub's issuer.

    `trust` is whose certificates and log are believed.
    """

    name: str
    issuer: str
    trust: ClientTrustConfig

    def read_claims(self, registry: Registry, repository: str, image: str) -> tuple[Claim, ...]:
        """Return what this identity has signed of an image. Raises RegistryError when the registry cannot be asked."""
        claims = (self.read_claim(bundle) for bundle in list_bundles(registry, repository, image))
        return tuple(claim for claim in claims if claim and claim.image == image)

    def read_claim(self, data: bytes) -> Claim | None:
        """Return what a bundle says that this identity has signed; None for any other bundle, and any other bytes."""
        from sigstore.models import Bundle
        from sigstore.verify import Verifier
        from sigstore.verify.policy import Identity as Policy

        policy = Policy(identity=self.name, issuer=self.issuer)
        try:
            bundle = Bundle.from_json(data)
            kind, payload = Verifier(trusted_root=self.trust.trusted_root).verify_dsse(bundle, policy)
        except Exception:  # whoever may push there chooses the bytes, and the library has no end of errors
            return None
        return parse_statement(kind, payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentitySigner:
    """One who signs by an identity that it proves anew for each image: tokens last for minutes, builds for longer."""

    public: Identity

    def attach(self, writer: Writer, repository: str, image: Descriptor, claim: Claim) -> None:
        """Sign an image and its documents. Raises RegistryError, and SigningError where Sigstore does not let it."""
        data = _wait_for(lambda: self._sign(dump_statement(claim))).to_json().encode()
        if self.public.read_claim(data) != claim:
            hint = "what is signed is in the log now, as another's. --sign-as says who a certificate is to name."
            raise SigningError(f"the certificate is not {self.public.name}'s", hint=hint)
        attach_bundle(writer, repository, image, data)

    def _sign(self, statement: bytes) -> Bundle:
        from sigstore.dsse import Statement
        from sigstore.sign import SigningContext

        with SigningContext.from_trust_config(self.public.trust).signer(_read_token()) as signer:
            return signer.sign_dsse(Statement(statement))


def read_identity(name: str, issuer: str, path: Path | None) -> Identity:
    """Return an identity to believe, with the trust of a file, else of the public Sigstore.

    Raises ImgbuildError for a file that is none, and a missing library; SigningError where Sigstore cannot be asked.
    """
    return Identity(name=name, issuer=issuer, trust=_read_trust(path))


def read_identity_signer(name: str, path: Path | None) -> IdentitySigner:
    """Return one who signs by an identity. Raises what read_identity does, and SigningError without a token."""
    trust = _read_trust(path)
    return IdentitySigner(public=Identity(name=name, issuer=_read_token().federated_issuer, trust=trust))


def _read_trust(path: Path | None) -> ClientTrustConfig:
    if find_spec("sigstore") is None:
        message = "identities need the library sigstore, which is not installed"
        raise ImgbuildError(message, hint="pip install 'imgbuild[sigstore]'")
    from sigstore.models import ClientTrustConfig

    if path is None:
        return _wait_for(ClientTrustConfig.production)
    try:
        trust = ClientTrustConfig.from_json(path.read_text())
        # Parsed when they are asked for; what is wrong with them is to be said now.
        _ = trust.trusted_root, trust.signing_config
    except OSError as error:
        raise ImgbuildError(f"it cannot be read: {error.strerror}", path=path) from error
    except Exception as error:
        hint = "it is what `sigstore --trust-config` takes: application/vnd.dev.sigstore.clienttrustconfig.v0.1+json."
        raise ImgbuildError("it says of no Sigstore whom to trust", path=path, hint=hint) from error
    return trust


def _read_token() -> IdentityToken:
    from sigstore.oidc import IdentityError, IdentityToken, detect_credential

    hint = (
        f"on GitHub the job needs `permissions: id-token: write`; elsewhere set {TOKEN}, to one that is still valid."
    )
    try:
        raw = os.environ.get(TOKEN) or detect_credential()
        if raw:
            return IdentityToken(raw)
    except IdentityError as error:
        raise SigningError(f"no identity can be proven: {error}", hint=hint) from error
    raise SigningError("no identity can be proven: there is no token", hint=hint)


def _wait_for(make: Callable[[], _Made]) -> _Made:
    """Return what Sigstore makes. Raises SigningError when it refuses, fails, or takes too long."""
    future: Future[_Made] = Future()

    def run() -> None:
        for pause in (*_PAUSES, None):
            try:
                future.set_result(make())
            except Exception as error:  # of sigstore, requests, tuf and pydantic: no class of them is common
                if pause is None or isinstance(error, SigningError):
                    future.set_exception(error)
                    return
                time.sleep(pause)
            else:
                return

    threading.Thread(target=run, daemon=True).start()
    try:
        return future.result(PATIENCE)
    except SigningError:
        raise
    except TimeoutError as error:
        told = f"Sigstore took longer than {PATIENCE:.0f} s"
        raise SigningError(told, hint="run the same command again.") from error
    except Exception as error:
        told = str(error) or str(error.__cause__ or type(error).__name__)
        raise SigningError(f"Sigstore: {told}", hint="can it be reached? Run the same command again.") from error
