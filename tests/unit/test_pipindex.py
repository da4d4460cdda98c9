from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder.errors import DefinitionError
from builder.hostconfig import Login, PipConfig
from builder.pipindex import canonical_url, fetch_size, netrc_file
from builder.sources import Sources

if TYPE_CHECKING:
    from tests.unit.conftest import Serve

WHL = "https://download.pytorch.org/whl"
HASHED = f"/packages/ab/cd/{'0' * 60}/x-1.0-py3-none-any.whl"


def make_sources(**more: object) -> Sources:
    return Sources(name="mine", **more)  # type: ignore[arg-type]


def pypi_host() -> str:
    """Return the host of PyPI's files as pip knows it."""
    from pip._internal.models.index import PyPI

    return str(PyPI.file_storage_domain)


def test_mirror_of_pypi_is_not_in_the_lock() -> None:
    sources = make_sources(pip=PipConfig(index_url="https://m.example/pypi/web/simple"))
    mirrored = f"https://m.example/pypi/web{HASHED}"
    assert canonical_url(mirrored, sources) == f"https://{pypi_host()}{HASHED}"


def test_private_package_of_the_same_host_keeps_its_address() -> None:
    sources = make_sources(pip=PipConfig(index_url="https://m.example/pypi/simple"))
    private = "https://m.example/pypi/packages/x/1.0/x-1.0-py3-none-any.whl"
    assert canonical_url(private, sources) == private


def test_wheels_of_another_host_keep_their_address() -> None:
    sources = make_sources(pip=PipConfig(index_url="https://m.example/pypi/simple"))
    assert canonical_url(f"https://other.example{HASHED}", sources) == f"https://other.example{HASHED}"


def test_mirror_of_torch_wheels_is_undone() -> None:
    sources = make_sources(mirrors=((WHL, "http://127.0.0.1:8765/whl"),))
    url = "http://127.0.0.1:8765/whl/cu118/torch-2.7.1%2Bcu118-cp310-cp310-manylinux_2_28_x86_64.whl#sha256=00"
    assert canonical_url(url, sources) == f"{WHL}/cu118/torch-2.7.1%2Bcu118-cp310-cp310-manylinux_2_28_x86_64.whl"


def test_credentials_query_and_fragment_are_dropped() -> None:
    url = "https://me:s3cret@files.example/x.whl?token=s3cret#sha256=00"
    assert canonical_url(url, make_sources()) == "https://files.example/x.whl"


def test_size_is_what_the_server_tells(tmp_path: Path, serve: Serve) -> None:
    (tmp_path / "x.whl").write_bytes(b"12345")
    server = serve(tmp_path, "me:s3cret")
    login = Login(host="127.0.0.1", user="me", password="s3cret")
    assert fetch_size(f"{server.url}/x.whl", make_sources(logins=(login,))) == 5
    assert [method for method, _, _ in server.asked] == ["HEAD"]


def test_unknown_size_is_none(tmp_path: Path, serve: Serve) -> None:
    assert fetch_size(f"{serve(tmp_path).url}/absent.whl", make_sources()) is None
    assert fetch_size("http://127.0.0.1:9/x.whl", make_sources()) is None


@pytest.mark.parametrize(("bypass", "size"), [("127.0.0.1", 5), ("localhost", None)])
def test_proxy_is_used_unless_told_not_to(bypass: str, size: int | None, tmp_path: Path, serve: Serve) -> None:
    (tmp_path / "x.whl").write_bytes(b"12345")
    proxies = (("http_proxy", "http://127.0.0.1:9"), ("no_proxy", bypass))
    assert fetch_size(f"{serve(tmp_path).url}/x.whl", make_sources(proxies=proxies)) == size


def test_netrc_of_one_run_is_private_and_gone_afterwards(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    login = Login(host="pypi.example", user="me", password="s3cret")
    sources = make_sources(logins=(login,), ca_bundle=bundle, proxies=(("https_proxy", "http://p.example"),))
    with netrc_file(sources) as variables:
        path = Path(variables["NETRC"])
        assert path.read_text() == "machine pypi.example login me password s3cret\n"
        assert path.stat().st_mode & 0o777 == 0o600
    assert not path.exists()
    assert variables["SSL_CERT_FILE"] == str(bundle)
    assert variables["HTTPS_PROXY"] == "http://p.example"
    assert "NETRC" not in os.environ


def test_login_that_no_netrc_holds_is_refused_only_where_it_is_needed() -> None:
    plain = Login(host="pypi.example", user="me", password="s3cret")
    spaced = Login(host="other.example", user="me", password="two words")
    needed = make_sources(pip=PipConfig(index_url="https://other.example/simple"), logins=(plain, spaced))
    with pytest.raises(DefinitionError, match=r"login for other\.example"), netrc_file(needed):
        pass
    with netrc_file(make_sources(logins=(plain, spaced))) as variables:
        assert Path(variables["NETRC"]).read_text() == "machine pypi.example login me password s3cret\n"


@pytest.mark.usefixtures("bare_host")
def test_settings_of_uv_do_not_reach_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_INDEX_URL", "https://other.example/simple")
    with netrc_file(make_sources()) as variables:
        assert not [key for key in variables if key.startswith("UV_")]
        assert "NETRC" not in variables
