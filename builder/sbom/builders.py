"""Who builds, and from which revision, as provenance names them: what a CI tells, or what somebody says."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from builder.errors import ImgbuildError
from builder.sbom.components import bare_url
from builder.sbom.document import HOME

VARIABLE = "IMGBUILD_BUILDER_ID"
"""Environment variable with the URI of who builds, where no CI tells it or another is meant."""

UNKNOWN = f"{HOME}/builders/unknown"
"""Stands for a machine that nobody has named: there is nobody to be trusted for it."""

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s\x00-\x1f\x7f]+")


_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A commit of a git repository: `git+https://github.com/team/images@refs/heads/main`, and its hash."""

    uri: str
    commit: str


def find_revision() -> Revision | None:
    """Return what is built from, as GitHub Actions tells it; None elsewhere.

    Source: docs.github.com, "Default environment variables"; the form is that of SLSA's build type for GitHub Actions
    (slsa-framework.github.io/github-actions-buildtypes/workflow/v1).
    """
    server, repository, ref, commit = (
        os.environ.get(f"GITHUB_{key}", "") for key in ("SERVER_URL", "REPOSITORY", "REF", "SHA")
    )
    uri = f"git+{bare_url(server)}/{repository}@{ref}" if server and repository and ref else ""
    if os.environ.get("GITHUB_ACTIONS") != "true" or not _URI.fullmatch(uri) or not _COMMIT.fullmatch(commit):
        return None
    return Revision(uri=uri, commit=commit)


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
