"""Who signs images, and whose signatures are believed: the owner of a key, or of an identity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from builder.errors import RegistryError, SigningError
from builder.signing.payload import Claim

if TYPE_CHECKING:
    from collections.abc import Iterable

    from builder.registry.client import Registry
    from builder.registry.content import Descriptor
    from builder.registry.writing import Writer


class Voucher(Protocol):
    """Somebody whose signatures are believed."""

    @property
    def name(self) -> str:
        """What a person calls them, as the subject of a sentence: "the key"."""

    def read_claims(self, registry: Registry, repository: str, image: str) -> tuple[Claim, ...]:
        """Return what they have signed of an image, by its digest.

        What is no signature, another's, of another image, or not whole, is passed over: whoever may push there could
        keep the owner's from being read. Raises RegistryError when the registry cannot be asked.
        """


class Signer(Protocol):
    """Somebody who signs."""

    @property
    def public(self) -> Voucher:
        """The same, for those who believe them."""

    def attach(self, writer: Writer, repository: str, image: Descriptor, claim: Claim) -> None:
        """Sign an image and its documents; signatures of others stay. Raises RegistryError and SigningError."""


def sign_image(writer: Writer, repository: str, image: Descriptor, documents: Iterable[str], signer: Signer) -> None:
    """Sign an image together with documents, by the digests of their manifests.

    Raises RegistryError where the signature cannot be attached, and SigningError where it cannot be made.
    """
    claim = Claim(repository=f"{writer.host}/{repository}", image=image.digest, documents=frozenset(documents))
    ref = f"{claim.repository}@{image.digest}"
    try:
        signer.attach(writer, repository, image, claim)
    except SigningError as error:
        raise SigningError(f"{ref} cannot be signed: {error.message}", hint=error.hint) from error
    except RegistryError as error:
        raise RegistryError(f"{ref}: its signature cannot be attached: {error.message}", hint=error.hint) from error


def list_signed(registry: Registry, repository: str, image: str, voucher: Voucher) -> frozenset[str]:
    """Return the documents of an image that somebody has signed. Raises RegistryError."""
    return frozenset(
        digest for claim in voucher.read_claims(registry, repository, image) for digest in claim.documents
    )
