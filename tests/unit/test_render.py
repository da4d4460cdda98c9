from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import ImgbuildError
from builder.hostconfig import Login, PipConfig
from builder.hostenv import render_settings
from builder.render import digest_packages, find_epoch, load_templates, render_context
from builder.sources import Sources
from tests.samples import BASE, PROJECT, make_conda, make_environment, make_job, make_locked, make_python, make_wheel

if TYPE_CHECKING:
    import jinja2

    from builder.context import Context
    from builder.inputs import Job
    from builder.lock import Environment

TEMPLATES = load_templates(PROJECT)
TORCH = make_wheel("torch", "2.7.1+cu118", folder="https://download-r2.pytorch.org/whl/cu118", size=900_000_000)


def render(
    job: Job, environment: Environment, *, checks: str = "sha256:c", templates: jinja2.Environment = TEMPLATES
) -> Context:
    """Render a cell that is planned together with its sister of the other Python."""
    locked, _ = make_locked((job, environment), make_sister(job))
    return render_context(locked, templates=templates, checks=checks)


def make_sister(job: Job) -> tuple[Job, Environment]:
    other = "3.11" if str(job.cell.python) == "3.10" else "3.10"
    sister = make_job(other, str(job.cell.cuda or "cpu"))
    return replace(sister, base=job.base), make_environment(
        conda=make_python({"3.10": "3.10.16", "3.11": "3.11.9"}[other])
    )


def files(context: Context) -> dict[str, str]:
    return {file.path: file.data.decode() for file in context.files}


def render_sample(python: str = "3.10", cuda: str = "11.8", **more: Any) -> dict[str, str]:
    full = {"3.10": "3.10.16", "3.11": "3.11.9"}[python]
    environment = make_environment(conda=make_python(full), pip=() if cuda == "cpu" else [TORCH])
    return files(render(make_job(python, cuda, **more), environment))


def runs(dockerfile: str) -> list[str]:
    """Return the RUN instructions, continuation lines and all."""
    return re.findall(r"^RUN (?:.*\\\n)*.*$", dockerfile, re.M)


def lists(context: dict[str, str], name: str) -> list[str]:
    """Return the package lists of one kind, in the order of the steps."""
    folders = re.findall(r"source=(layers/[0-9a-f]{12}),", context["Dockerfile"])
    return [context[f"{folder}/{name}"] for folder in folders if f"{folder}/{name}" in context]


def test_context_has_the_lists_that_its_steps_mount() -> None:
    context = render_sample()
    folders = re.findall(r"source=(layers/[0-9a-f]{12}),", context["Dockerfile"])
    assert {path.rpartition("/")[0] for path in context} == {
        "",
        "cell",
        "host",
        "image/etc",
        "image/etc/imgbuild",
        "image/etc/profile.d",
        *folders,
    }
    assert [len(lists(context, name)) for name in ("conda.txt", "pip.txt")] == [2, 1]


def test_same_cell_gives_the_same_bytes() -> None:
    shuffled = make_environment(conda=reversed(make_python("3.10.16")), pip=[TORCH])
    assert files(render(make_job(), shuffled)) == render_sample()


def test_cells_that_differ_in_python_share_the_native_layer_byte_for_byte() -> None:
    one, other = render_sample("3.10"), render_sample("3.11")
    prepare, native, python, *_ = runs(one["Dockerfile"])
    assert runs(other["Dockerfile"])[:2] == [prepare, native]
    assert python not in runs(other["Dockerfile"])
    assert lists(one, "conda.txt")[0] == lists(other, "conda.txt")[0]
    assert lists(one, "conda.txt")[1] != lists(other, "conda.txt")[1]
    before = one["Dockerfile"].partition(native)[0]
    assert _instructions(before) == _instructions(other["Dockerfile"].partition(native)[0])


def _instructions(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_lists_are_explicit_hashed_and_dependencies_come_first() -> None:
    packages = {package.name: package for package in make_python("3.10.16")}
    expected = [f"{packages[name].url}#sha256:{packages[name].sha256}" for name in ("libgcc", "tzdata", "libblas")]
    assert lists(render_sample(), "conda.txt")[0].splitlines() == ["@EXPLICIT", *expected]


def test_wheels_are_pinned_by_hash_and_torch_has_its_index() -> None:
    assert lists(render_sample(), "pip.txt")[0].splitlines() == [
        "--extra-index-url https://download.pytorch.org/whl/cu118",
        "--only-binary :all:",
        f"torch==2.7.1+cu118 --hash=sha256:{TORCH.sha256}",
    ]


def test_wheels_without_torch_have_no_other_index() -> None:
    job = make_job("3.10", "cpu", torch=replace(make_job().definition.torch, wanted=False))
    (listed,) = lists(files(render(job, make_environment(pip=[make_wheel("tqdm")]))), "pip.txt")
    assert "index-url" not in listed


def test_image_is_pinned_and_runs_as_an_ordinary_user() -> None:
    text = render_sample()["Dockerfile"]
    assert f"ARG BASE={BASE.ref}@{BASE.digest}\n" in text
    assert "\nFROM ${BASE}\n" in text
    assert text.index("\nUSER 1000:1000\n") > text.rindex("RUN ")
    assert "# syntax=" not in text
    unpinned = replace(make_job(), base=replace(BASE, digest=None))
    assert f"ARG BASE={BASE.ref}\n" in files(render(unpinned, make_environment()))["Dockerfile"]


def test_gpu_cells_alone_ask_for_the_gpu() -> None:
    gpu, cpu = render_sample()["Dockerfile"], render_sample(cuda="cpu")["Dockerfile"]
    assert 'NVIDIA_VISIBLE_DEVICES="all"' in gpu
    assert 'NVIDIA_DRIVER_CAPABILITIES="compute,utility"' in gpu
    assert "NVIDIA" not in cpu


def test_debian_packages_come_in_a_layer_of_their_own_before_conda() -> None:
    text = render_sample(apt=("git", "libgl1:amd64"))["Dockerfile"]
    _, apt, native, *_ = runs(text)
    assert "apt-get install --yes --no-install-recommends git libgl1:amd64 \\\n" in apt
    assert "source=layers/" in native
    assert "apt-get" not in render_sample()["Dockerfile"]


def docker_unquote(text: str) -> str:
    r"""Return what Docker makes of a double-quoted word: `\` escapes `"`, `$` and itself, nothing else.

    Source of the rules: moby/buildkit frontend/dockerfile/shell/lex.go, processDoubleQuote.
    """
    assert text[0] == text[-1] == '"'
    inner = text[1:-1]
    assert not re.search(r'(?<!\\)(?:\\\\)*["$]', inner), "an end of the quotes, or a variable, in the middle"
    return re.sub(r'\\(["$\\])', r"\1", inner)


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=30))
def test_value_of_a_variable_arrives_as_it_was_written(value: str) -> None:
    text = files(render(make_job(env=(("GREETING", value),)), make_environment()))["Dockerfile"]
    (line,) = (line for line in text.split("\n") if line.startswith("    GREETING="))
    assert docker_unquote(line.removeprefix("    GREETING=").removesuffix(" \\")) == value


@pytest.mark.parametrize("value", ['say "hi"', "$HOME/x", "a\\", "\\$x", "é", "$(id)", "`id`", "# no comment", "a  b"])
def test_awkward_values_are_quoted(value: str) -> None:
    test_value_of_a_variable_arrives_as_it_was_written.hypothesis.inner_test(value)  # type: ignore[attr-defined]


def test_nothing_of_the_machine_is_in_the_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "corporate-ca.pem"
    bundle.write_text("-----BEGIN CERTIFICATE-----")
    sources = Sources(
        name="mine",
        pip=PipConfig(index_url="https://mirror.example/simple"),
        mirrors=(("https://conda.anaconda.org", "https://mirror.example/cloud"),),
        ca_bundle=bundle,
        proxies=(("https_proxy", "http://proxy.example:3128"),),
        logins=(Login(host="mirror.example", user="me", password="s3cret"),),
    )
    environment = make_environment(pip=[TORCH])
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    secret = render_settings(sources, environment).decode()
    text = "\n".join(files(render(make_job(), environment)).values())
    for word in ("mirror.example", "proxy.example", "s3cret", "BEGIN CERTIFICATE"):
        assert word in secret
        assert word not in text
    for path in (str(tmp_path), str(PROJECT), str(Path.home())):
        assert path not in re.sub(r"/root/\.\w+", "", text)


def test_labels_say_what_is_inside() -> None:
    environment = make_environment(pip=[TORCH])
    text = files(render(make_job(), environment, checks="sha256:abc"))["Dockerfile"]
    labels = dict(re.findall(r'([\w.]+)="([^"]*)"', text[text.index("LABEL") :]))
    assert labels == {
        "org.opencontainers.image.title": "pytorch-py3.10-cu118",
        "org.opencontainers.image.created": "2024-09-25T16:20:22+00:00",
        "org.opencontainers.image.base.name": BASE.ref,
        "org.opencontainers.image.base.digest": BASE.digest,
        "dev.imgbuild.image": "pytorch",
        "dev.imgbuild.python": "3.10",
        "dev.imgbuild.cuda": "11.8",
        "dev.imgbuild.torch": "2.7.1",
        "dev.imgbuild.driver": "450.80.02",
        "dev.imgbuild.arches": "sm_37 sm_50 sm_60 sm_70 sm_75 sm_80 sm_86 sm_90",
        "dev.imgbuild.packages": digest_packages(environment),
        "dev.imgbuild.checks": "sha256:abc",
    }


def test_digest_of_packages_follows_their_content_alone() -> None:
    environment = make_environment(pip=[TORCH])
    digest = digest_packages(environment)
    assert digest_packages(replace(environment, name="other", conda=environment.conda[::-1])) == digest
    changed = (*environment.conda[1:], make_conda("libblas", "3.9.1"))
    assert digest_packages(replace(environment, conda=changed)) != digest


def test_what_python_leaves_beside_the_scripts_stays_out(tmp_path: Path) -> None:
    cache = tmp_path / "templates" / "host" / "__pycache__"
    cache.mkdir(parents=True)
    (cache / "install.cpython-311.pyc").write_bytes(b"\xa7\r\r\n")
    context = files(render(make_job(), make_environment(), templates=load_templates(tmp_path)))
    assert not [path for path in context if "__pycache__" in path]
    assert "host/install.py" in context


def test_templates_of_the_project_come_first(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "Dockerfile.j2").write_text("FROM {{ image }}\n")
    job, environment = make_job(), make_environment()
    context = render(job, environment, templates=load_templates(tmp_path))
    assert files(context)["Dockerfile"] == f"FROM {BASE.ref}@{BASE.digest}\n"
    assert "mirrored" in files(context)["host/settings"]


@pytest.mark.parametrize(
    "text", ["{% if %}", "{{ absent }}", "{{ 1 / 0 }}", '{% include "absent.j2" %}', "{{ cell.x.y }}"]
)
def test_broken_template_is_told_without_a_traceback(text: str, tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "Dockerfile.j2").write_text(text)
    job = make_job()
    with pytest.raises(ImgbuildError, match="template") as caught:
        render(job, make_environment(), templates=load_templates(tmp_path))
    assert caught.value.hint


def test_time_that_is_none_counts_for_nothing() -> None:
    python, *others = make_environment().conda
    found = replace(make_environment(), conda=(replace(python, timestamp=10**18), *others))
    told = [package.timestamp // 1000 for package in others if package.timestamp]
    assert find_epoch(found) == max(told, default=315_532_800)
