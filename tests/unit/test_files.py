"""Which package each file of an image belongs to: valid documents, which images with the same layers share."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from builder.sbom.components import list_components
from builder.sbom.cyclonedx import dump_cyclonedx
from builder.sbom.files import list_files
from builder.sbom.inventory import Inventory, Owned
from tests.samples import make_conda, make_environment, make_job, make_locked, make_python
from tests.unit.test_sbom import CELL, make_subject

if TYPE_CHECKING:
    from collections.abc import Iterable

    from builder.lock import Environment
    from builder.locked import LockedCell
    from builder.sbom.files import FileList


def make_inventory(environment: Environment) -> Inventory:
    names = [("conda", it.name, it.version, it.build) for it in environment.conda]
    names += [("pypi", it.name.replace("_", "-").replace(".", "-"), it.version, None) for it in environment.pip]
    packages = [
        Owned(
            kind=kind,
            name=name,
            version=version,
            build=build,
            files=tuple(f"lib/{kind}/{name}/{i}.py" for i in range(2)),
        )
        for kind, name, version, build in names
    ]
    return Inventory(prefix="/opt/env", packages=tuple(packages), unclaimed=("conda-meta/history",))


def list_all(locked: LockedCell, **more: Any) -> tuple[FileList, ...]:
    return list_files(locked.environment, locked.layers, replace(make_inventory(locked.environment), **more))


def read_all(lists: Iterable[FileList]) -> dict[str, list[str]]:
    """Return the files of each package by its purl, and under "" those of none."""
    told: dict[str, list[str]] = {}
    for it in lists:
        for node in json.loads(it.data)["components"]:
            if node["type"] == "file":
                told.setdefault("", []).append(node["name"])
            else:
                assert node["purl"] not in told
                told[node["purl"]] = [file["location"] for file in node["evidence"]["occurrences"]]
    return told


@pytest.fixture
def locked() -> LockedCell:
    (made,) = make_locked((make_job(), CELL))
    return made


def test_every_list_is_a_valid_document(locked: LockedCell) -> None:
    for it in list_all(locked):
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(it.data.decode()) is None


def test_every_file_is_told_once_by_its_package(locked: LockedCell) -> None:
    packages = {(it.kind, it.name): it.files for it in make_inventory(CELL).packages}
    wanted = {it.purl: [f"/opt/env/{path}" for path in packages[it.kind, it.name]] for it in list_components(CELL)}
    assert read_all(list_all(locked)) == {**wanted, "": ["/opt/env/conda-meta/history"]}


def test_image_without_loose_files_has_no_list_of_them(locked: LockedCell) -> None:
    assert len(list_all(locked)) == len(list_all(locked, unclaimed=())) + 1


def test_bill_links_to_each_list_by_name_and_content(locked: LockedCell) -> None:
    lists = list_all(locked)
    told = json.loads(dump_cyclonedx(make_subject(), lists))["externalReferences"]
    names = {f"urn:cdx:{json.loads(it.data)['serialNumber'].removeprefix('urn:uuid:')}/1": it.sha256 for it in lists}
    assert {it["url"]: it["hashes"][0]["content"] for it in told} == names
    assert {it["type"] for it in told} == {"bom"}


def test_images_with_the_same_layers_have_the_same_lists() -> None:
    """Two Pythons: what needs none is listed once for both, and only what is newer is listed anew."""
    common = [make_conda(f"c{number}") for number in range(3)]
    cells = [
        (make_job(python=minor), make_environment(conda=[*make_python(f"{minor}.1"), *common], name=minor))
        for minor in ("3.10", "3.11")
    ]
    one, two = ({it.sha256 for it in list_all(cell, unclaimed=())} for cell in make_locked(*cells))
    assert one & two
    assert one - two


def test_file_whose_name_is_not_utf8_can_be_told(locked: LockedCell) -> None:
    assert read_all(list_all(locked, unclaimed=("lib/\udce9t\udce9",)))[""] == ["/opt/env/lib/\udce9t\udce9"]
