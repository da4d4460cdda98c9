from __future__ import annotations

import netrc
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from builder.errors import DefinitionError
from builder.hostconfig import (
    Login,
    PipConfig,
    read_ca_bundle,
    read_netrc,
    read_pip_config,
    read_proxies,
    render_netrc,
    split_login,
    split_pip_logins,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("bare_host")


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def user_config(home: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.delenv("PIP_CONFIG_FILE")
    write(home / ".config" / "pip" / "pip.conf", text)


def test_pip_without_settings_has_none() -> None:
    assert read_pip_config() == PipConfig()


def test_pip_config_of_the_user_is_read(bare_host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = "extra-index-url =\n    https://one.example/simple\n    https://two.example/simple\n"
    user_config(bare_host, monkeypatch, f"[global]\nindex_url = https://pypi.example/simple\n{extra}")
    config = read_pip_config()
    assert config.index_url == "https://pypi.example/simple"
    assert config.extra_index_urls[-2:] == ("https://one.example/simple", "https://two.example/simple")


def test_install_section_wins_over_global_and_variables_over_both(
    bare_host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = "index-url = https://{}.example/simple\n"
    text = "[install]\n" + section.format("install") + "[global]\n" + section.format("global")
    user_config(bare_host, monkeypatch, text)
    assert read_pip_config().index_url == "https://install.example/simple"
    monkeypatch.setenv("PIP_INDEX_URL", "https://variable.example/simple")
    assert read_pip_config().index_url == "https://variable.example/simple"


def test_named_config_file_replaces_that_of_the_user(bare_host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user_config(bare_host, monkeypatch, "[global]\nfind-links = https://user.example/links\n")
    named = write(bare_host / "named.conf", "[global]\nindex-url = https://named.example/simple\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(named))
    config = read_pip_config()
    assert config.index_url == "https://named.example/simple"
    assert "https://user.example/links" not in config.find_links


def test_indexes_on_this_disk_are_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "file:///srv/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", "/opt/wheels https://links.example/w")
    assert read_pip_config() == PipConfig(
        find_links=("https://links.example/w",), local=("file:///srv/simple", "/opt/wheels")
    )


def test_index_in_capitals_is_remote_and_a_local_one_shows_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "HTTPS://u:pw@host.example/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", "ftp://u:pw@links.example/w u:pw@bare.example/w /opt/w@1")
    config, logins = split_pip_logins(read_pip_config())
    assert config.urls == ("https://host.example/simple",)
    assert config.local == ("ftp://links.example/w", "bare.example/w", "/opt/w@1")
    assert [login.password for login in logins] == ["pw"]


@pytest.mark.parametrize(
    "written", ['"https://bob:s3cret@pypi.example/simple"', "https:/bob:s3cret@h.example/w", "ftp://bob:s3/cret@h"]
)
def test_mistyped_index_shows_no_password(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", written)
    (local,) = read_pip_config().local
    assert "cret" not in local
    assert "bob" not in local


@pytest.mark.parametrize(
    "raw", [b"index-url = x\n", b"[global]\nindex-url = \xff\n", b"[global]\n[global]\n", b"https://u:s3cr3t@x\n"]
)
def test_malformed_pip_config_is_told_with_its_path(
    raw: bytes, bare_host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bare_host / "pip.conf"
    path.write_bytes(raw)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(path))
    with pytest.raises(DefinitionError, match=r"pip's configuration") as caught:
        read_pip_config()
    assert caught.value.path == path
    assert "s3cr3t" not in str(caught.value)


def test_proxies_come_from_either_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "localhost")
    assert read_proxies() == (("https_proxy", "http://proxy.example:3128"), ("no_proxy", "localhost"))


def test_proxy_without_a_scheme_gets_one_and_a_broken_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "u:s3cr3t@proxy.example:3128")
    assert read_proxies() == (("http_proxy", "http://u:s3cr3t@proxy.example:3128"),)
    monkeypatch.setenv("http_proxy", "http://u:s3cr3t@[::1")
    with pytest.raises(DefinitionError) as caught:
        read_proxies()
    assert "s3cr3t" not in str(caught.value)


def test_ca_bundle_is_the_first_that_exists(bare_host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = write(bare_host / "ca.pem", "pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(bare_host / "absent.pem"))
    assert read_ca_bundle() is None
    monkeypatch.setenv("CURL_CA_BUNDLE", str(bundle))
    assert read_ca_bundle() == bundle


def test_netrc_comes_from_the_home_or_from_where_it_is_named(bare_host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_netrc(None) == ()
    write(bare_host / ".netrc", "machine home.example login me password one\ndefault login x password y\n")
    assert read_netrc(None) == (Login(host="home.example", user="me", password="one"),)
    named = write(bare_host / "other", "machine named.example login me password two")
    monkeypatch.setenv("NETRC", str(named))
    assert read_netrc(None) == (Login(host="named.example", user="me", password="two"),)


def test_netrc_that_is_named_has_to_be_right(bare_host: Path) -> None:
    with pytest.raises(DefinitionError, match="does not exist"):
        read_netrc(bare_host / "absent")
    broken = write(bare_host / "netrc", "machine a.example\nlogin me secret\n")
    with pytest.raises(DefinitionError, match="not a netrc file") as caught:
        read_netrc(broken)
    assert "secret" not in str(caught.value)


def test_netrc_survives_a_login_without_password(tmp_path: Path) -> None:
    token = Login(host="one.example", user="token", password="")
    both = Login(host="two.example", user="me", password="pass")
    path = write(tmp_path / "netrc", render_netrc([token, both]))
    assert netrc.netrc(str(path)).hosts == {
        "one.example": ("token", "", ""),
        "two.example": ("me", "", "pass"),
    }


@pytest.mark.parametrize(
    ("url", "bare", "login"),
    [
        ("https://pypi.example/simple", "https://pypi.example/simple", None),
        ("https://me:p%40ss@pypi.example:8443/x", "https://pypi.example:8443/x", ("pypi.example", "me", "p@ss")),
        ("https://token@pypi.example/x", "https://pypi.example/x", ("pypi.example", "token", "")),
        ("https://:pw@pypi.example/x", "https://pypi.example/x", ("pypi.example", "", "pw")),
        ("/opt/wheels", "/opt/wheels", None),
    ],
)
def test_credentials_leave_the_address(url: str, bare: str, login: tuple[str, str, str] | None) -> None:
    address, found = split_login(url)
    assert address == bare
    assert found == (Login(host=login[0], user=login[1], password=login[2]) if login else None)


@pytest.mark.parametrize(
    "url", ["https://u:s3cr3t@[::1/simple", "https://u:s3cr3t@h\u2100st.example/x", "https://u:s3cr3t/x@host.example/"]
)
def test_broken_address_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(DefinitionError, match="is not an address") as caught:
        split_login(url)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("text", ["a\nmachine evil.example", "a\x00", "a\tb", "\x7f"])
def test_control_character_makes_no_login(text: str) -> None:
    with pytest.raises(DefinitionError, match="control character"):
        Login(host="one.example", user="me", password=text)
    with pytest.raises(DefinitionError, match="control character"):
        split_login(f"https://{quote(text)}@one.example/x")


@pytest.mark.parametrize("text", ["two words", "no\u00a0break", '"quoted"', "#hash", "back\\slash"])
def test_login_that_clients_read_differently_is_refused(text: str) -> None:
    for login in (
        Login(host="one.example", user="me", password=text),
        Login(host="one.example", user=text, password=""),
    ):
        with pytest.raises(DefinitionError, match=r"login for one\.example"):
            render_netrc([login])


@pytest.mark.parametrize("text", ["p#w", "p\"w'", "$(x)&;|", "p%40ss@:/", "\u00e9"])
def test_odd_password_survives_the_netrc(text: str, tmp_path: Path) -> None:
    path = tmp_path / "netrc"
    path.write_text(render_netrc([Login(host="one.example", user="", password=text)]), encoding="utf-8")
    assert netrc.netrc(str(path)).hosts == {"one.example": ("", "", text)}


def test_every_index_of_pip_loses_its_credentials() -> None:
    given = PipConfig(
        index_url="https://a:1@one.example/s",
        extra_index_urls=("https://b:2@two.example/s",),
        find_links=("https://c:3@three.example/s",),
    )
    bare, logins = split_pip_logins(given)
    assert bare.urls == ("https://one.example/s", "https://two.example/s", "https://three.example/s")
    assert [login.password for login in logins] == ["1", "2", "3"]
