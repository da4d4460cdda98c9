"""What the checks of an image found: an in-toto statement with a test result as its predicate.

Source: github.com/in-toto/attestation, spec/predicates/test-result.md, version 0.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from builder.errors import ImgbuildError
from builder.sbom.document import STATEMENT, dump_document, split_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.sbom.subject import Subject

PREDICATE = "https://in-toto.io/attestation/test-result/v0.1"

_LISTS = {"passedTests": "pass", "failedTests": "fail"}


def dump_results(subject: Subject, verdicts: Mapping[str, str], *, checks: str) -> str:
    """Return the statement of one published image, as JSON: the same bytes for the same verdicts.

    `verdicts` say pass, fail or skip by the name of each check; `checks` is the digest (`sha256:…`) of all of them.
    A check that was skipped has neither passed nor failed, nor passed with a warning: it is named beside the
    configuration. Raises ImgbuildError for an image without a digest.
    """
    if subject.digest is None:
        raise ImgbuildError(f"{subject.ref} has no digest to tell the results for", hint="push the image first.")
    lists = {key: [name for name, it in verdicts.items() if it == word] for key, word in _LISTS.items()}
    skipped = [name for name, it in verdicts.items() if it == "skip"]
    configuration: dict[str, Any] = {"name": "checks", "digest": split_digest(checks)}
    if skipped:
        configuration["annotations"] = {"skipped": skipped}
    predicate = {
        "result": "FAILED" if lists["failedTests"] else "PASSED",
        "configuration": [configuration],
        "passedTests": lists["passedTests"],
        "warnedTests": [],
        "failedTests": lists["failedTests"],
    }
    statement = {
        "_type": STATEMENT,
        "subject": [{"name": subject.ref, "digest": split_digest(subject.digest)}],
        "predicateType": PREDICATE,
        "predicate": predicate,
    }
    return dump_document(statement)


def parse_results(data: Any) -> dict[str, Literal["pass", "fail", "skip"]]:
    """Return the verdicts of a statement by the name of each check, as `dump_results` was given them.

    Raises ValueError for what is no such statement.
    """
    try:
        predicate = data["predicate"]
        skipped = [name for it in predicate["configuration"] for name in it.get("annotations", {}).get("skipped", ())]
        lists: tuple[tuple[Literal["pass", "fail", "skip"], Any], ...] = (
            ("pass", predicate["passedTests"]),
            ("fail", predicate["failedTests"]),
            ("skip", skipped),
        )
        return {str(name): word for word, names in lists for name in names}
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("no statement on tests") from error
