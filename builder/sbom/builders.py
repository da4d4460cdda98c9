"""Who builds, as provenance names it: the workflow of a CI, or what somebody says."""

from __future__ import annotations

import os
import re

from builder.errors import ImgbuildError
from builder.sbom.components import bare_url
from builder.sbom.document import HOME

VARIABLE = "IMGBUILD_BUILDER_ID"
"""Environment variable with the URI of who builds, where no CI tells it or another is meant."""

UNKNOWN = f"{HOME}/builders/unknown"
"""Stands for a machine that nobody has named: there is nobody to be trusted for it."""

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s\x00-\x1f\x7f]+")


def name_builder() -> str:
    """Return the URI of who builds: what the variable says, the workflow on GitHub Actions, or UNKNOWN.

    A workflow is named with repository and branch, as verifiers of SLSA's provenance compare it
    (docs.github.com, "Default environment variables": GITHUB_WORKFLOW_REF). Raises ImgbuildError for no URI.
    """
    if told := os.environ.get(VARIABLE):
        if not _URI.fullmatch(told):
            raise ImgbuildError(f"{VARIABLE} is no URI", hint="write it like https://ci.example/builders/images")
        return bare_url(told) if "//" in told else told
    server, workflow = (os.environ.get(f"GITHUB_{key}", "") for key in ("SERVER_URL", "WORKFLOW_REF"))
    if os.environ.get("GITHUB_ACTIONS") == "true" and _URI.fullmatch(f"{server}/{workflow}") and workflow:
        return bare_url(f"{server}/{workflow}")
    return UNKNOWN
