"""Keys that sign images: read from PEM files, through the cryptography library, which is optional.

Kinds and formats are those that cosign takes: ECDSA on P-256 with SHA-256, its signature in DER, and Ed25519
(github.com/sigstore/cosign, specs/SIGNATURE_SPEC.md, "Signature Schemes").
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from builder.errors import ImgbuildError
from builder.signing.signatures import attach_signature, list_targets, read_claims

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    from builder.registry.client import Registry
    from builder.registry.content import Descriptor
    from builder.registry.writing import Writer
    from builder.signing.payload import Claim

PASSWORD = "IMGBUILD_SIGN_PASSWORD"  # noqa: S105 (the variable's name)
"""Environment variable with the password of a signing key that has one."""

_MAKE = "make one with  openssl ecparam -name prime256v1 -genkey -noout -out sign.key"
_PUBLIC = "write it with  openssl pkey -in sign.key -pubout -out sign.pub"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """A key that tells whether somebody who has the other half has signed something."""

    key: EllipticCurvePublicKey | Ed25519PublicKey
    name: str = "the key"

    def read_claims(self, registry: Registry, repository: str, image: str) -> tuple[Claim, ...]:
        """Return what the owner of the key has signed of an image. Raises RegistryError."""
        return read_claims(registry, repository, list_targets(registry, repository, image), image, self)

    def has_signed(self, data: bytes, signature: bytes) -> bool:
        """Return whether a signature is this key's, of these bytes."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

        try:
            if isinstance(self.key, EllipticCurvePublicKey):
                self.key.verify(signature, data, _ecdsa())
            else:
                self.key.verify(signature, data)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A key that signs."""

    key: EllipticCurvePrivateKey | Ed25519PrivateKey

    @property
    def public(self) -> PublicKey:
        """The half that others may have."""
        return PublicKey(key=self.key.public_key())

    def attach(self, writer: Writer, repository: str, image: Descriptor, claim: Claim) -> None:
        """Sign an image and its documents. Raises RegistryError."""
        attach_signature(writer, repository, image, claim, self)

    def sign(self, data: bytes) -> bytes:
        """Return a signature of some bytes."""
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

        return self.key.sign(data, _ecdsa()) if isinstance(self.key, EllipticCurvePrivateKey) else self.key.sign(data)


def read_signing_key(path: Path) -> SigningKey:
    """Return the private key in a PEM file; the variable PASSWORD has its password, where it has one.

    Raises ImgbuildError for a file that is none, a wrong password, another kind of key, and a missing library.
    """
    data = _read(path)
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    password = os.environ.get(PASSWORD, "").encode() or None
    try:
        try:
            key = load_pem_private_key(data, password)
        except TypeError:
            if password is None:
                raise ImgbuildError("the signing key has a password", path=path, hint=f"set {PASSWORD}.") from None
            key = load_pem_private_key(data, None)  # it has none, though the variable does
    except (ValueError, UnsupportedAlgorithm) as error:
        hint = f"is it a PEM file, and {PASSWORD} its password? cosign's own format is another; {_MAKE}"
        raise ImgbuildError("no private key can be read from it", path=path, hint=hint) from error
    if (isinstance(key, EllipticCurvePrivateKey) and _is_p256(key)) or isinstance(key, Ed25519PrivateKey):
        return SigningKey(key=key)
    raise _refuse(path, _MAKE)


def read_public_key(path: Path) -> PublicKey:
    """Return the public key in a PEM file. Raises ImgbuildError as for a private one."""
    data = _read(path)
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ImgbuildError("no public key can be read from it", path=path, hint=_PUBLIC) from error
    if (isinstance(key, EllipticCurvePublicKey) and _is_p256(key)) or isinstance(key, Ed25519PublicKey):
        return PublicKey(key=key)
    raise _refuse(path, _PUBLIC)


def _read(path: Path) -> bytes:
    if find_spec("cryptography") is None:
        message = "signatures need the library cryptography, which is not installed"
        raise ImgbuildError(message, hint="pip install 'imgbuild[sign]'")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImgbuildError(f"the key cannot be read: {error.strerror}", path=path, hint=_MAKE) from error


def _refuse(path: Path, hint: str) -> ImgbuildError:
    return ImgbuildError("the key is neither of ECDSA on P-256 nor of Ed25519", path=path, hint=hint)


def _is_p256(key: EllipticCurvePrivateKey | EllipticCurvePublicKey) -> bool:
    return key.curve.name == "secp256r1"


def _ecdsa() -> Any:
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256

    return ECDSA(SHA256())
