"""What `imgbuild test` says of images, on an engine that answers as it is told to. Real checks: tests/docker."""

from __future__ import annotations

import json
from contextlib import nullcontext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from builder.checks import GpuUse, Verdict
from builder.context import Context
from builder.errors import Cancelled, CheckError
from builder.progress import choose_progress
from builder.prove import Prover
from builder.registry.place import Place
from builder.registry.writing import Writer
from builder.render import LABEL, digest_packages
from builder.staged import Staging
from builder.tags import tag_lasting
from tests.published import make_workshop
from tests.registry import run_fake
from tests.samples import make_environment, make_job

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import Run


class Engine:
    """It has no image, and says so in words that quote the way to it."""

    is_local = False

    def describe(self) -> dict[str, object]:
        return {}

    def find_image(self, ref: str) -> None:
        raise CheckError(f"{ref}: asked through http://me:canary@proxy.example:3128", hint="canary")


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_no_login_is_in_what_is_said_of_an_image(
    run: Run, tmp_path: Path, bare_host: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    workshop = make_workshop(tmp_path / "project")
    sources = bare_host / "site.yaml"
    sources.write_text("proxy: {https: 'http://me:canary@proxy.example:3128'}\n")
    monkeypatch.setenv("IMGBUILD_SOURCES", str(sources))
    monkeypatch.setattr("builder.engine.Engine", lambda: nullcontext(Engine()))
    code, out, err = run("--project", workshop.root, "test", "--all", *more)
    assert code == 9
    assert "canary" not in out + err
    assert out.count("proxy.example") == len(workshop.cells)
    assert not more or {it["passed"] for it in json.loads(out)} == {False}


def test_interrupted_test_promotes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it was interrupted after the last check."""
    job, environment = make_job(), make_environment()
    context = Context(files=())
    engine: Any = SimpleNamespace(
        cancel=lambda: None,
        pull=lambda *_: iter(()),
        read_config=lambda _: {},
        read_history=lambda _: [],
        read_labels=lambda _: {f"{LABEL}.packages": digest_packages(environment)},
    )
    with run_fake() as fake, Writer(Place(host=fake.address, url=f"http://{fake.address}"), lambda _: None) as writer:
        fake.add_image("team/pytorch", lasting := tag_lasting(job, context))
        staging = Staging(registry=writer, place=f"{fake.address}/team", contexts={job.cell.id: context})
        with choose_progress("quiet", str) as progress:
            prover = Prover(engine=engine, gpu=GpuUse(state="none"), progress=progress, staging=staging, promote=True)

            def check(*_: object, **__: object) -> tuple[Verdict, ...]:
                prover._cancel()
                return ()

            monkeypatch.setattr("builder.prove.run_checks", check)
            monkeypatch.setattr("builder.prove.describe_cell", lambda *_: None)
            (proof,) = prover.prove_cells([(job, environment)], workers=1)
        assert isinstance(proof.error, Cancelled)
        assert list(fake.tags["team/pytorch"]) == [lasting]
