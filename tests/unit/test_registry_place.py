"""Which registry is meant, how this machine speaks to it, and docker's own logins for it."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import RegistryError
from builder.logins import read_logins
from builder.registry import place
from builder.registry.place import Place, Ref, find_place, parse_ref, split_registry
from builder.sources import Sources

DIGEST = "sha256:" + "0a" * 32


@pytest.fixture(autouse=True)
def engine_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bare_host: Path) -> Path:  # noqa: ARG001
    monkeypatch.setattr(place, "CERTS", tmp_path / "certs.d")
    monkeypatch.setattr(place, "DAEMON", tmp_path / "daemon.json")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("r.example/team/app:1", ("r.example", "team/app", "1")),
        ("r.example:5000/app:1", ("r.example:5000", "app", "1")),
        ("localhost/app:1", ("localhost", "app", "1")),
        ("builder:5000/app:1", ("builder:5000", "app", "1")),
        ("[fd00::1]:5000/team/app:1", ("[fd00::1]:5000", "team/app", "1")),
        (f"r.example/app@{DIGEST}", ("r.example", "app", DIGEST)),
        (f"r.example/app:1@{DIGEST}", ("r.example", "app", DIGEST)),
        ("docker.io/debian:12", ("docker.io", "library/debian", "12")),
    ],
)
def test_ref_is_taken_apart(text: str, ref: tuple[str, str, str]) -> None:
    assert parse_ref(text) == Ref(host=ref[0], repository=ref[1], target=ref[2])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "app:1",
        "team/app:1",
        "r.example/app",
        "r.example/App:1",
        "https://r.example/a:1",
        "r.example/a:1\n",
        "[:::]/a:1",
    ],
)
def test_ref_that_names_no_image_in_a_registry_is_refused(text: str) -> None:
    with pytest.raises(RegistryError, match="no image in a registry"):
        parse_ref(text)


@pytest.mark.parametrize("text", ["user:canary@r.example/app:1", "https://user:canary@r.example/team"])
def test_login_in_a_mistyped_ref_is_not_shown(text: str) -> None:
    for parse in (parse_ref, split_registry):
        with pytest.raises(RegistryError) as caught:
            parse(text)
        assert "canary" not in str(caught.value)


@given(host=st.from_regex(r"[a-z]{1,5}\.example(:[0-9]{1,5})?", fullmatch=True), path=st.sampled_from(["a", "a/b-c"]))
def test_registry_and_ref_agree(host: str, path: str) -> None:
    assert split_registry(f"{host}/{path}") == (host, path)
    assert str(parse_ref(f"{host}/{path}:1")) == f"{host}/{path}:1"
    assert split_registry(host) == (host, "")


@pytest.mark.parametrize("host", ["127.0.0.1:5000", "127.3.2.1", "localhost", "localhost:5000", "[::1]", "[::1]:5000"])
def test_loopback_is_spoken_to_without_tls(host: str) -> None:
    assert split_registry(f"{host}/team") == (host, "team")
    assert find_place(host, Sources(name="host")).url == f"http://{host}"


def test_others_are_spoken_to_with_tls_unless_they_are_insecure(engine_files: Path) -> None:
    sources = Sources(name="host", ca_bundle=Path("site-ca.pem"))
    assert find_place("r.example", sources).url == "https://r.example"
    assert find_place("docker.io", sources).url == "https://registry-1.docker.io"
    assert find_place("r.example", sources).ca == Path("site-ca.pem")
    assert find_place("r.example", sources, insecure=True).url == "http://r.example"
    (engine_files / "daemon.json").write_text('{"insecure-registries": ["r.example"]}')
    assert find_place("r.example", sources).url == "http://r.example"
    own = engine_files / "certs.d" / "r.example" / "ca.crt"
    own.parent.mkdir(parents=True)
    own.touch()
    assert find_place("r.example", sources).url == "https://r.example"
    found = find_place("r.example", sources)
    assert (found.ca, found.own_ca) == (Path("site-ca.pem"), own)


@pytest.mark.parametrize("text", ["", "[]", '{"insecure-registries": 3}', "\xff"])
def test_engine_configuration_that_is_none_calls_nobody_insecure(engine_files: Path, text: str) -> None:
    (engine_files / "daemon.json").write_text(text)
    assert find_place("r.example", Sources(name="host")).url == "https://r.example"


@pytest.mark.parametrize("url", ["https://r.example", "https://r.example:443", "https://R.example"])
def test_address_of_a_registry_is_known_however_it_is_written(url: str) -> None:
    found = Place(host="r.example", url=url)
    assert all(found.has(f"{it}/v2/") for it in ("https://r.example", "https://r.example:443", "HTTPS://R.EXAMPLE"))
    others = "http://r.example", "https://r.example:444", "https://r.example.evil", "https://me:pw@r.example", "/v2"
    assert not any(
        found.has(f"{it}/v2/") for it in (*others, "https://r.example:x", "https://[", "https://r.example@e")
    )


def test_proxy_of_the_sources_is_used_unless_it_is_not_meant() -> None:
    told = (("https_proxy", "http://user:canary@proxy.example:3128"), ("no_proxy", ".inside.example"))
    sources = Sources(name="site", proxies=told)
    found = find_place("r.example", sources)
    assert dict(found.proxies) == {"https": "http://user:canary@proxy.example:3128"}
    assert "canary" not in repr(found)
    assert find_place("r.inside.example", sources).proxies == ()
    assert find_place("localhost:5000", sources).proxies == ()


def write_docker_config(home: Path, content: object) -> None:
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text(json.dumps(content))


def test_dockers_own_logins_are_found_without_an_engine(bare_host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    pair = base64.b64encode(b"reader:s3cret").decode()
    token = {"auth": base64.b64encode(b"<token>:").decode(), "identitytoken": "identity"}
    hub = "https://index.docker.io/v1/"
    write_docker_config(bare_host, {"auths": {"r.example": {"auth": pair}, "t.example": token, hub: {"auth": pair}}})
    find_login = read_logins()
    assert find_login("r.example") == find_login("docker.io") == ("reader", "s3cret")
    assert find_login("t.example") == ("", "identity")
    assert find_login("other.example") is None


def test_logins_that_cannot_be_read_are_told_without_showing_them(
    bare_host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    write_docker_config(bare_host, {"auths": {"r.example": "canary"}})
    with pytest.raises(RegistryError, match="logins cannot be read") as caught:
        read_logins()
    assert "canary" not in str(caught.value)
