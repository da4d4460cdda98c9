"""Bills of materials: valid by the formats' own validators, whole, and the same for the same lock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given
from hypothesis import strategies as st
from packageurl import PackageURL
from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from builder.channels import channel_urls
from builder.errors import ImgbuildError
from builder.sbom.components import bare_url, list_components
from builder.sbom.cyclonedx import dump_cyclonedx
from builder.sbom.files import FileList
from builder.sbom.spdx import dump_spdx
from builder.sbom.subject import Subject, find_created, image_purl, split_tag
from tests.samples import BASE, FORGE, make_conda, make_environment, make_python, make_wheel

if TYPE_CHECKING:
    from builder.lock import Environment

LICENSES = ("MIT", "GPL-3.0", "BSD-3-Clause AND Apache-2.0", "LicenseRef-NVIDIA", "MIT/X11", "a (", "Apache 2.0")
WHEELS = (
    make_wheel("torch", "2.7.1+cu118", requires=("triton", "numpy", "not-here")),
    make_wheel("triton", "3.3.1"),
    make_wheel("some_lib", "1.0", requires=("some-lib-data",)),
    make_wheel("some.lib-data", "1.0"),
)
CONDA = (
    *make_python("3.10.16"),
    *(make_conda(f"licensed-{number}", license=text) for number, text in enumerate(LICENSES)),
    make_conda("under_score", depends=("__glibc >=2.17", "python[version='>=3.10']")),
    make_conda("under-score"),
)
CELL = make_environment(conda=CONDA, pip=WHEELS)
DIGEST = "sha256:" + "ab" * 32
DUMPS = (dump_cyclonedx, dump_spdx)
LISTS = tuple(FileList(name=UUID(int=number), data=b"%d" % number) for number in range(2))


def make_subject(environment: Environment = CELL, **more: Any) -> Subject:
    values = {
        "cell": "pytorch-py3.10-cu118",
        "ref": "registry.example/team/pytorch:2.7.1-cu118-py310",
        "digest": DIGEST,
        "base_ref": BASE.ref,
        "base_digest": BASE.digest,
        "created": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    }
    return Subject(**{**values, **more}, environment=environment)


def find(items: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = (item for item in items if item["name"] == name)
    return found


BARE = {"digest": None, "base_digest": None, "ref": "pytorch:2.7.1-cu118-py310"}


@pytest.mark.parametrize("more", [{}, BARE], ids=["published", "from the lock alone"])
def test_cyclonedx_is_valid(more: dict[str, Any]) -> None:
    text = dump_cyclonedx(make_subject(**more), LISTS)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


@pytest.mark.parametrize("more", [{}, BARE], ids=["published", "from the lock alone"])
def test_spdx_is_valid(more: dict[str, Any]) -> None:
    document = JsonLikeDictParser().parse(json.loads(dump_spdx(make_subject(**more))))
    assert validate_full_spdx_document(document, "SPDX-2.3") == []


def test_both_name_every_package_once_with_its_purl() -> None:
    wanted = sorted(it.purl for it in list_components(CELL))
    assert len(wanted) == len(set(wanted)) == len(CONDA) + len(WHEELS)
    bom = json.loads(dump_cyclonedx(make_subject()))
    assert sorted(it["purl"] for it in bom["components"] if it["type"] == "library") == wanted
    spdx = json.loads(dump_spdx(make_subject()))
    libraries = [it for it in spdx["packages"] if it["primaryPackagePurpose"] == "LIBRARY"]
    assert sorted(it["externalRefs"][0]["referenceLocator"] for it in libraries) == wanted
    assert len({it["SPDXID"] for it in spdx["packages"]}) == len(wanted) + 2


def test_package_is_told_with_place_and_hashes() -> None:
    libblas = CELL.conda[0]
    of_cyclonedx = find(json.loads(dump_cyclonedx(make_subject()))["components"], "libblas")
    assert of_cyclonedx["externalReferences"] == [{"type": "distribution", "url": libblas.url}]
    assert {it["alg"]: it["content"] for it in of_cyclonedx["hashes"]} == {
        "MD5": libblas.md5,
        "SHA-256": libblas.sha256,
    }
    of_spdx = find(json.loads(dump_spdx(make_subject()))["packages"], "libblas")
    assert of_spdx["downloadLocation"] == libblas.url
    assert {it["algorithm"]: it["checksumValue"] for it in of_spdx["checksums"]} == {
        "MD5": libblas.md5,
        "SHA256": libblas.sha256,
    }


def test_package_without_digests_has_no_hashes() -> None:
    cell = make_environment(conda=[make_conda("zlib", md5="", sha256="")])
    assert "hashes" not in find(json.loads(dump_cyclonedx(make_subject(cell)))["components"], "zlib")
    assert "checksums" not in find(json.loads(dump_spdx(make_subject(cell)))["packages"], "zlib")


def test_needs_are_those_of_the_lock_across_conda_and_pip() -> None:
    names = {it.purl: it.name for it in list_components(CELL)}
    needs = {it.name: sorted(names[purl] for purl in it.needs) for it in list_components(CELL)}
    assert needs["python"] == ["libgcc", "pip", "tzdata"]
    assert needs["under_score"] == ["python"]
    assert needs["torch"] == ["numpy", "triton"]
    assert needs["some-lib"] == ["some-lib-data"]
    bom = json.loads(dump_cyclonedx(make_subject()))
    graph = {it["ref"]: it.get("dependsOn", []) for it in bom["dependencies"]}
    nodes = [it for it in bom["components"] if it["type"] == "library"]
    assert {it["purl"] for it in nodes} == set(names)
    assert sorted(graph["image"]) == sorted(["base", *(it["bom-ref"] for it in nodes)])
    refs = {it["bom-ref"]: it["name"] for it in nodes}
    assert sorted(refs[ref] for ref in graph[find(nodes, "torch")["bom-ref"]]) == ["numpy", "triton"]
    spdx = json.loads(dump_spdx(make_subject()))
    ids = {it["SPDXID"]: it["name"] for it in spdx["packages"]}
    found = [it for it in spdx["relationships"] if it["relationshipType"] == "DEPENDS_ON"]
    edges = sorted((ids[it["spdxElementId"]], ids[it["relatedSpdxElement"]]) for it in found)
    assert edges == sorted((name, other) for name, others in needs.items() for other in others)


def test_image_is_the_root_and_its_base_is_named() -> None:
    bom = json.loads(dump_cyclonedx(make_subject()))
    assert bom["metadata"]["component"]["purl"] == image_purl(make_subject().ref, DIGEST)
    assert bom["components"][0]["purl"] == image_purl(BASE.ref, BASE.digest)
    spdx = json.loads(dump_spdx(make_subject()))
    told = {(it["spdxElementId"], it["relationshipType"], it["relatedSpdxElement"]) for it in spdx["relationships"]}
    assert ("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-image") in told
    assert ("SPDXRef-image", "DESCENDANT_OF", "SPDXRef-base") in told


def test_licence_that_is_no_spdx_expression_is_told_as_text() -> None:
    packages = json.loads(dump_spdx(make_subject()))["packages"]
    told = [find(packages, f"licensed-{number}") for number, _ in enumerate(LICENSES)]
    known = ["MIT", "GPL-3.0-only", "BSD-3-Clause AND Apache-2.0"]
    assert [it["licenseDeclared"] for it in told] == known + ["NOASSERTION"] * 4
    assert [it.get("licenseComments") for it in told] == [None] * 3 + [
        f"The package says: {it}" for it in LICENSES[3:]
    ]
    bom = json.loads(dump_cyclonedx(make_subject()))["components"]
    assert find(bom, "licensed-4")["licenses"] == [{"license": {"acknowledgement": "declared", "name": "MIT/X11"}}]
    assert "licenses" not in find(bom, "torch")


def test_document_of_another_content_has_another_name() -> None:
    subject = make_subject()
    others = (
        make_subject(digest="sha256:" + "cd" * 32),
        make_subject(base_digest=None),
        make_subject(created=datetime(2026, 1, 3, tzinfo=UTC)),
        make_subject(replace(CELL, pip=CELL.pip[:1])),
    )
    names = [json.loads(dump_cyclonedx(it))["serialNumber"] for it in (subject, *others)]
    names += [json.loads(dump_cyclonedx(subject, it))["serialNumber"] for it in (LISTS, LISTS[:1])]
    assert len(set(names)) == len(names)
    assert len({json.loads(dump_spdx(it))["documentNamespace"] for it in (subject, *others)}) == 5


def test_same_lock_gives_the_same_bytes_in_every_process() -> None:
    script = "from tests.unit.test_sbom import *; print(*(dump(make_subject()) for dump in DUMPS), sep='', end='')"
    seeds = ("1", "2")
    found = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in seeds
    ]
    assert found == ["".join(dump(make_subject()) for dump in DUMPS)] * 2


def test_what_may_be_a_credential_is_in_no_document() -> None:
    channel = "https://user:word@conda.example/t/tk-123/private"
    wheel = make_wheel("own", folder="https://user:word@wheels.example/w")
    wheel = replace(wheel, url=wheel.url + "?signature=tk-123#sha256=word")
    cell = make_environment(conda=[make_conda("own", channel=channel)], pip=[wheel])
    for dump in DUMPS:
        text = dump(make_subject(cell))
        assert "conda.example/private/linux-64/own-1.0-0.conda" in text
        assert "wheels.example/w/own-1.0-py3-none-any.whl" in text
        assert not [word for word in ("user", "word", "tk-123", "signature") if word in text]


@given(
    host=st.from_regex(r"[a-z]{1,9}\.example(:[0-9]{2,4})?", fullmatch=True),
    path=st.from_regex(r"(/[a-z0-9_.+-]{2,9}){1,4}", fullmatch=True),
    login=st.sampled_from(["", "u@", "u:p@", "u:p@q@"]),
    rest=st.sampled_from(["", "?a=b", "#x", "?a#b"]),
)
def test_bare_address_is_the_address_without_login_and_parameters(host: str, path: str, login: str, rest: str) -> None:
    assert bare_url(f"https://{login}{host}{path}{rest}") == f"https://{host}{path}"


@pytest.mark.parametrize(
    ("channel", "subdir", "name"),
    [
        (FORGE, "linux-64", "conda-forge"),
        (channel_urls("defaults")[0], "noarch", "main"),
        ("https://conda.example/team/own", "linux-64", "https://conda.example/team/own"),
    ],
)
def test_purl_of_a_conda_package_names_its_channel(channel: str, subdir: str, name: str) -> None:
    cell = make_environment(conda=[make_conda("zlib", "1.3", "h0_0", channel=channel, subdir=subdir)])
    purl = PackageURL.from_string(list_components(cell)[0].purl)
    assert (purl.type, purl.name, purl.version) == ("conda", "zlib", "1.3")
    assert purl.qualifiers == {"build": "h0_0", "channel": name, "subdir": subdir, "type": "conda"}


def test_purl_of_a_wheel_says_where_it_is_unless_it_is_of_the_common_index() -> None:
    common = make_wheel("tqdm", folder=f"https://files.example/packages/ab/cd/{'0' * 60}")
    own = make_wheel("torch", "2.7.1+cu118", folder="https://wheels.example/cu118")
    first, second = (
        PackageURL.from_string(it.purl) for it in list_components(make_environment(conda=(), pip=(common, own)))
    )
    assert (first.type, first.name, first.version, first.qualifiers) == ("pypi", "tqdm", "1.0", {})
    assert (second.version, second.qualifiers) == ("2.7.1+cu118", {"download_url": own.url})


@pytest.mark.parametrize(
    ("ref", "repository", "tag", "url"),
    [
        ("pytorch:2.7.1", "pytorch", "2.7.1", None),
        ("team/pytorch", "team/pytorch", None, None),
        ("registry.example:5000/pytorch", "registry.example:5000/pytorch", None, "registry.example:5000/pytorch"),
        ("localhost/a/pytorch:1@sha256:ab", "localhost/a/pytorch", "1", "localhost/a/pytorch"),
    ],
)
def test_purl_of_an_image_names_a_repository_only_with_its_registry(
    ref: str, repository: str, tag: str | None, url: str | None
) -> None:
    assert split_tag(ref) == (repository, tag)
    purl = PackageURL.from_string(image_purl(ref, DIGEST))
    assert (purl.type, purl.namespace, purl.name, purl.version) == ("oci", None, "pytorch", DIGEST)
    assert purl.qualifiers == {key: value for key, value in {"repository_url": url, "tag": tag}.items() if value}


def test_date_is_the_one_that_the_environment_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    assert find_created(86_400) == datetime(1970, 1, 2, tzinfo=UTC)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    assert find_created(86_400) == datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("told", ["yesterday", "-1", "1.5", "1e9", "٣", "9" * 12])
def test_date_that_is_no_number_is_refused(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", told)
    with pytest.raises(ImgbuildError, match="SOURCE_DATE_EPOCH"):
        find_created(0)
