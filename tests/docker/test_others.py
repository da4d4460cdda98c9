"""What others read of images that were built and pushed: cosign and oras, as Debian ships them."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from builder.attach import DOCUMENT, TYPES
from builder.reuse import RECIPE
from tests.docker.conftest import give_up
from tests.kit.debian import download_packages
from tests.kit.workspace import Workspace
from tests.sigstore import GITHUB, WORKFLOW, make_token, run_sigstore
from tests.unit.test_signing import write_keys

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.docker.conftest import Lab
    from tests.docker.served import Registry

    Cosign = Callable[..., subprocess.CompletedProcess[str]]


def bring(name: str, kit: Path, tmp_path: Path) -> Path:
    """Return a program of a Debian package in sid, both of that name; nothing is installed."""
    program = kit / name / "usr" / "bin" / name
    if not program.exists():
        if not os.environ.get("IMGBUILD_REQUIRE_ENGINE"):
            give_up(f"{name} is not in the kit; the tests of .ci/run bring it")
        workspace = Workspace(root=kit, scratch=tmp_path, log=tmp_path / "apt.log")
        package = download_packages(workspace, "sid", (name,))[name]
        subprocess.run(["dpkg", "--extract", package, kit / name], check=True, capture_output=True)
    return program


def publish(lab: Lab, registry: Registry, *options: str) -> subprocess.CompletedProcess[str]:
    """Publish the image of a lab, whose ref is what is said then."""
    lab.define()
    done = lab.build("--push", registry.address, *options)
    assert done.returncode == 0, done.stderr
    return done


def test_oras_discovers_what_is_attached_and_pulls_it(lab: Lab, registry: Registry, kit: Path, tmp_path: Path) -> None:
    oras = bring("oras", kit, tmp_path)
    ref = publish(lab, registry).stdout.strip()
    listing = [oras, "discover", "--plain-http", "--format", "json", ref]
    told = json.loads(subprocess.run(listing, capture_output=True, check=True).stdout)
    attached = {it["annotations"].get(DOCUMENT): it["reference"] for it in told["referrers"]}
    assert set(attached) == {*TYPES, None}
    assert {it["artifactType"] for it in told["referrers"]} == {*TYPES.values(), RECIPE}
    getting = [oras, "manifest", "fetch", "--plain-http", attached["cyclonedx"]]
    (layer,) = json.loads(subprocess.run(getting, capture_output=True, check=True).stdout)["layers"]
    place = f"{registry.address}/{lab.name}@{layer['digest']}"
    fetching = [oras, "blob", "fetch", "--plain-http", "--output", "-", place]
    bill = json.loads(subprocess.run(fetching, capture_output=True, check=True).stdout)
    assert bill["bomFormat"] == "CycloneDX"


@pytest.fixture
def cosign(kit: Path, tmp_path: Path) -> Cosign:
    """Return a function that runs cosign 3 on a registry without TLS."""
    program = bring("cosign", kit, tmp_path)

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, *words, "--allow-http-registry"],
            env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_cosign_verifies_what_a_key_signed(lab: Lab, registry: Registry, cosign: Cosign, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("ours", "other")]
    for folder in folders:
        folder.mkdir()
    ours, other = (write_keys(folder, ec.generate_private_key(ec.SECP256R1())) for folder in folders)
    ref = publish(lab, registry, "--sign-key", str(ours)).stdout.strip()
    verified = cosign("verify", "--insecure-ignore-tlog", "--key", ours.with_suffix(".pub"), ref)
    assert verified.returncode == 0, verified.stderr
    (payload,) = json.loads(verified.stdout)
    assert payload["critical"]["image"]["docker-manifest-digest"] == registry.manifest(ref)[0]
    refused = cosign("verify", "--insecure-ignore-tlog", "--key", other.with_suffix(".pub"), ref)
    assert refused.returncode != 0


def test_cosign_verifies_what_an_identity_signed(
    any_lab: Lab, registry: Registry, cosign: Cosign, tmp_path: Path
) -> None:
    any_lab.env["SIGSTORE_ID_TOKEN"] = token = make_token()
    trust, root = tmp_path / "trust.json", tmp_path / "root.json"
    with run_sigstore() as sigstore:
        trust.write_text(json.dumps(sigstore.describe()))
        root.write_text(json.dumps(sigstore.describe()["trustedRoot"]))
        for _ in range(2):
            done = publish(any_lab, registry, "--sign-as", WORKFLOW, "--trust-config", str(trust))
            assert token not in done.stdout + done.stderr
        assert len(sigstore.logged) == 1
    ref = done.stdout.strip()
    who = ("--certificate-identity", WORKFLOW, "--certificate-oidc-issuer", GITHUB)
    verified = cosign("verify", *who, "--trusted-root", root, ref)
    assert verified.returncode == 0, verified.stderr
    (payload,) = json.loads(verified.stdout)
    assert payload["critical"]["image"]["docker-manifest-digest"] == registry.manifest(ref)[0]
    refused = cosign("verify", *who[:3], "https://id.example", "--trusted-root", root, ref)
    assert refused.returncode != 0
    ours = any_lab.run("verify", ref, *who, "--trust-config", str(trust), "--sources", "host")
    assert ours.returncode == 0, ours.stderr
