"""`imgbuild doctor` on the engine and the machine that are here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.docker.conftest import Lab


def test_doctor_tells_what_is_here(any_lab: Lab) -> None:
    any_lab.define(matrix={"python": ["3.11"], "cuda": ["cpu", "12.6"], "torch": "2.7.1"})
    done = any_lab.run("doctor", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    found = {finding["about"]: finding for finding in said["findings"]}
    assert found["engine"]["text"].startswith(any_lab.client.version()["Version"])
    containerd = "containerd" in str(any_lab.client.info()["DriverStatus"])
    assert found["image store"]["text"].startswith("containerd" if containerd else "graphdriver")
    assert found["BuildKit"]["state"] == "ok"
    fits = {cell["cell"]: cell["fit"] for cell in said["cells"]}
    assert fits[f"{any_lab.name}-py3.11-cpu"] == "runs"
    assert f"✓ {any_lab.name}-py3.11-cpu " in any_lab.run("doctor").stdout


def test_doctor_without_an_engine(lab: Lab) -> None:
    lab.define()
    lab.env["DOCKER_HOST"] = "unix:///nowhere/docker.sock"
    done = lab.run("doctor")
    assert done.returncode == 7
    assert "Traceback" not in done.stderr
