"""`imgbuild sbom` on a project that has a lock."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from builder.lock import read_lock

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.unit.conftest import Demo, Run


def test_bill_of_a_cell_is_made_from_its_lock_and_no_engine_is_asked(
    imgbuild: Run, demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    assert imgbuild("sbom", "demo-py3.10-cpu", "--format", "spdx")[0] == 5
    imgbuild("lock", "--sources", demo.sources, "--progress", "plain")
    code, out, err = imgbuild("sbom", "demo-py3.10-cpu", "--format", "cyclonedx")
    assert (code, err) == (0, "")
    bom = json.loads(out)
    assert {it["name"] for it in bom["components"]} >= {"python", "some_tool", "wheely"}
    assert bom["metadata"]["timestamp"] == "1980-01-01T00:00:00+00:00"
    (locked, _) = read_lock(demo.lock).environments
    told = {it["externalReferences"][0]["url"] for it in bom["components"] if it["type"] == "library"}
    assert told == {it.url for it in (*locked.conda, *locked.pip)}
    output = tmp_path / "bom.json"
    assert imgbuild("sbom", "demo-py3.10-cpu", "--format", "spdx", "--output", output) == (0, "", "")
    assert json.loads(output.read_text())["spdxVersion"] == "SPDX-2.3"
    assert imgbuild("sbom", "demo-py3.10-cpu", "--format", "spdx", "--output", tmp_path / "no" / "bom.json")[0] == 1
    assert imgbuild("sbom", "nothing", "--format", "spdx")[0] == 4


def test_bill_names_the_image_as_it_was_named(imgbuild: Run, demo: Demo) -> None:
    imgbuild("lock", "--sources", demo.sources, "--progress", "plain")
    for ref in ("demo:cpu-py310", "registry.example:5000/team/demo:cpu-py310"):
        _, spdx, _ = imgbuild("sbom", ref, "--format", "spdx")
        assert json.loads(spdx)["name"] == ref
        _, bom, _ = imgbuild("sbom", ref, "--format", "cyclonedx")
        assert ("registry.example" in bom) is ("/" in ref)
    code, out, err = imgbuild("sbom", "https://user:s3cret@registry.example/demo:cpu-py310", "--format", "spdx")
    assert (code, out) == (10, "")
    assert "registry.example/team/pytorch" in err
