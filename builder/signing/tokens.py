"""The token that proves an identity to Sigstore: the machine's, which is asked for it, or that of a variable."""

from __future__ import annotations

import base64
import json
import os
import re
from typing import TYPE_CHECKING

from builder.errors import SigningError

if TYPE_CHECKING:
    from sigstore.oidc import IdentityToken

VARIABLE = "SIGSTORE_ID_TOKEN"
"""Environment variable with the token, where the machine cannot be asked for one; GitLab's jobs have theirs in it."""

_RULES = (("job_workflow_ref", "https://github.com/"), ("ci_config_ref_uri", "https://"), ("email", ""))
"""Which claim the certificate names, and what it has before it (github.com/sigstore/fulcio, docs/oidc.md)."""

_HINT = f"a job on GitHub needs `permissions: id-token: write`; elsewhere {VARIABLE} has a token that is still valid."


def read_token() -> IdentityToken:
    """Return the token of whoever runs this, anew each time. Raises SigningError where there is none that is valid.

    What a machine fails with that is asked for one is raised as it is: it may pass.
    """
    from id import GitHubOidcPermissionCredentialError
    from sigstore.oidc import IdentityError, IdentityToken, detect_credential

    try:
        raw = os.environ.get(VARIABLE, "").strip() or detect_credential()
    except IdentityError as error:
        if isinstance(error.__cause__, GitHubOidcPermissionCredentialError):
            raise SigningError("no identity can be proven: GitHub gives this job no token", hint=_HINT) from error
        raise
    if not raw:
        raise SigningError("no identity can be proven: there is no token", hint=_HINT)
    try:
        if not re.fullmatch(r"[\w.=-]+", raw):  # it goes into a header, which an error would tell
            raise ValueError("it is no token")
        return IdentityToken(raw)
    except Exception as error:  # of the library's own and of whoever reads the claims that it expects
        told = str(error.__cause__ or error)
        raise SigningError(f"no identity can be proven: {told}", hint=_HINT) from error


def require_token(name: str) -> IdentityToken:
    """Return a token, for which Sigstore gives a certificate of that name.

    Raises SigningError where it is known to be of another: what is signed stays in a public log. Of an issuer whose
    rule is not known any name is taken.
    """
    token = read_token()
    payload = str(token).split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    for claim, before in _RULES:
        if claim in claims:
            told = f"{before}{claims[claim]}"
            if told != name:
                raise SigningError(f"the token is of {told}", hint=f"that is who can sign: --sign-as {told}")
            break
    return token
