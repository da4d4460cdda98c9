from __future__ import annotations

from pathlib import Path

import pytest

import builder
from builder.errors import DefinitionError
from builder.hostconfig import Login
from builder.sources import Sources, find_sources

SHIPPED = sorted((Path(builder.__file__).parent / "data" / "sources").glob("*.yaml"))

pytestmark = pytest.mark.usefixtures("bare_host")


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def load(tmp_path: Path, text: str) -> Sources:
    return find_sources(write(tmp_path / "mine.yaml", text))


def test_without_settings_it_is_the_host() -> None:
    assert find_sources(None) == Sources(name="host")


def test_precedence_is_argument_then_variable_then_user_config(
    bare_host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(bare_host / ".config/imgbuild/config.yaml", "sources: tuna\n")
    assert find_sources(None).name == "tuna"
    monkeypatch.setenv("IMGBUILD_SOURCES", "ustc")
    assert find_sources(None).name == "ustc"
    assert find_sources("bfsu").name == "bfsu"
    assert find_sources("host").mirrors == ()


def test_own_profile_comes_before_the_shipped_one_of_that_name(bare_host: Path) -> None:
    write(bare_host / ".config/imgbuild/sources/tuna.yaml", "conda: {conda-forge: https://mine.example/cf}\n")
    assert find_sources("tuna").mirror("https://conda.anaconda.org/conda-forge/x") == "https://mine.example/cf/x"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_profile_loads_and_serves_a_channel(path: Path) -> None:
    sources = find_sources(path.stem)
    assert sources.name == path.stem
    assert all(mirror.startswith(("https://", "http://127.0.0.1:")) for _, mirror in sources.mirrors)
    assert any("conda" in canonical for canonical, _ in sources.mirrors)


def test_unknown_name_lists_those_that_exist() -> None:
    with pytest.raises(DefinitionError, match=r"no sources called 'tuan'") as caught:
        find_sources("tuan")
    assert "host" in str(caught.value.hint)
    assert "tuna" in str(caught.value.hint)


def test_longest_mirror_wins_and_is_undone_by_the_longest(tmp_path: Path) -> None:
    sources = load(
        tmp_path,
        "conda:\n"
        "  defaults: https://m.example\n"
        "  '*': https://m.example/cloud\n"
        "  conda-forge: https://m.example/cloud/forge\n",
    )
    assert sources.mirror("https://conda.anaconda.org/conda-forge/a") == "https://m.example/cloud/forge/a"
    assert sources.mirror("https://conda.anaconda.org/nvidia/a") == "https://m.example/cloud/nvidia/a"
    assert sources.mirror("https://repo.anaconda.com/pkgs/main/a") == "https://m.example/main/a"
    assert sources.mirror("https://conda.anaconda.organic/a") == "https://conda.anaconda.organic/a"
    said = "https://m.example/cloud/forge/a https://m.example/cloud/nvidia/a https://m.example/main/a"
    assert sources.redact(said).split() == [
        "https://conda.anaconda.org/conda-forge/a",
        "https://conda.anaconda.org/nvidia/a",
        "https://repo.anaconda.com/pkgs/main/a",
    ]


def test_every_setting_is_read(tmp_path: Path) -> None:
    write(tmp_path / "ca.pem", "pem")
    write(tmp_path / "netrc", "machine conda.example login me password filed\n")
    sources = load(
        tmp_path,
        "bases: {miniforge: registry.example/miniforge:1}\n"
        "conda: {conda-forge: 'https://u:inline@conda.example/cf/'}\n"
        "torch-find-links: https://wheels.example/torch\n"
        "pip: {index-url: 'https://me:piped@pypi.example/simple', extra-index-url: [https://more.example/simple]}\n"
        "ca-bundle: ca.pem\n"
        "proxy: {https: 'http://proxy.example:3128', no: localhost}\n"
        "netrc: netrc\n"
        "network: host\n",
    )
    assert sources.base_ref("miniforge") == "registry.example/miniforge:1"
    assert sources.base_ref("miniconda") is None
    assert sources.mirror("https://download.pytorch.org/whl/cu118") == "https://wheels.example/torch/cu118"
    assert sources.torch_flat
    assert sources.pip.urls == ("https://pypi.example/simple", "https://more.example/simple")
    assert sources.ca_bundle == tmp_path / "ca.pem"
    assert sources.proxies == (("https_proxy", "http://proxy.example:3128"), ("no_proxy", "localhost"))
    assert sources.network == "host"
    assert sources.mirror("https://conda.anaconda.org/conda-forge") == "https://conda.example/cf"
    assert sources.logins == (
        Login(host="conda.example", user="me", password="filed"),
        Login(host="pypi.example", user="me", password="piped"),
    )


def test_file_login_wins_over_that_of_the_host(bare_host: Path, tmp_path: Path) -> None:
    write(bare_host / ".netrc", "machine conda.example login old password old\n")
    sources = load(tmp_path, "conda: {conda-forge: 'https://new:new@conda.example/cf'}\n")
    assert [login.user for login in sources.logins] == ["new"]


def test_secrets_are_neither_shown_nor_left_in_texts(tmp_path: Path) -> None:
    sources = load(
        tmp_path,
        "conda: {conda-forge: 'https://me:s%2Fcret@m.example/cf'}\nproxy: {https: 'http://u:pr0xied@proxy.example'}\n",
    )
    assert "pr0xied" not in repr(sources)
    assert "cret" not in repr(sources)
    said = "s/cret s%2Fcret bWU6cy9jcmV0 http://u:pr0xied@proxy.example https://m.example/cf/x"
    shown = "*** *** *** http://u:***@proxy.example https://conda.anaconda.org/conda-forge/x"
    assert sources.redact(said) == shown


def test_password_is_hidden_as_it_was_written(tmp_path: Path) -> None:
    sources = load(tmp_path, "proxy: {http: 'http://bob:p%40ss!w0rd@proxy.example:3128'}\n")
    assert sources.redact("http_proxy=http://bob:p%40ss!w0rd@proxy.example:3128") == (
        "http_proxy=http://bob:***@proxy.example:3128"
    )


def test_tokens_in_paths_and_queries_are_secrets(tmp_path: Path) -> None:
    sources = load(
        tmp_path,
        "conda: {conda-forge: 'https://m.example/t/tk-1234/cf'}\n"
        "pip: {index-url: 'https://p.example/simple?key=s3cret'}\n",
    )
    assert sources.redact("url: /t/tk-1234/cf/repodata.json, /simple?key=s3cret") == (
        "url: /t/***/cf/repodata.json, /simple?***"
    )


def test_mirror_is_known_as_clients_write_it(tmp_path: Path) -> None:
    sources = load(tmp_path, "conda: {conda-forge: 'https://M.Example:443/t/tk-1234/cf'}\n")
    assert sources.origins == (("https://m.example/t/tk-1234/cf", "https://conda.anaconda.org/conda-forge"),)
    assert sources.redact("https://m.example/t/tk-1234/cf/x") == "https://conda.anaconda.org/conda-forge/x"


def test_token_in_place_of_a_user_is_a_secret(tmp_path: Path) -> None:
    sources = load(
        tmp_path, "conda: {conda-forge: 'https://t0ken-long@m.example/cf'}\nproxy: {http: 'http://t0ken@p'}\n"
    )
    assert sources.redact("t0ken-long and t0ken") == "*** and ***"


def test_token_that_is_a_user_beside_a_password_is_a_secret(tmp_path: Path) -> None:
    sources = load(tmp_path, "conda: {conda-forge: 'https://a1b2c3d4e5f6a7b8:x-oauth-basic@m.example/cf'}\n")
    assert sources.redact("a1b2c3d4e5f6a7b8 x-oauth-basic") == "*** ***"


def test_password_of_a_few_letters_leaves_words_as_they_are(tmp_path: Path) -> None:
    sources = load(tmp_path, "proxy: {http: 'http://me:x@proxy.example'}\n")
    assert sources.redact("exit http://me:x@proxy.example") == "exit http://me***proxy.example"


def test_hosts_of_mirrors_are_not_told_but_other_hosts_are(tmp_path: Path) -> None:
    sources = load(
        tmp_path,
        "conda: {conda-forge: 'https://m.example:8443/cf'}\npip: {index-url: 'https://me:pw@p.example:1/simple'}\n",
    )
    said = "User for P.example:1: 'm.example' at p.example. other-m.example m.example.org conda.anaconda.org"
    shown = (
        "User for <mine mirror>: '<mine mirror>' at <mine mirror>. other-m.example m.example.org conda.anaconda.org"
    )
    assert sources.redact(said) == shown


def test_hosts_without_proxy_may_be_a_list(tmp_path: Path) -> None:
    sources = load(tmp_path, "proxy: {http: 'socks5h://p.example:1080', no: [localhost, .example]}\n")
    assert sources.proxies == (("http_proxy", "socks5h://p.example:1080"), ("no_proxy", "localhost,.example"))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("conda: {conda-forge: 'htps://user:s3cr3t@host/x'}", "conda: conda-forge"),
        ("torch-wheels: 'htps://user:s3cr3t@host/x'", "torch-wheels"),
        ("pip: {index-url: 'htps://user:s3cr3t@host/x'}", "index-url"),
        ("proxy: {https: 'htps://user:s3cr3t@host/x'}", "proxy: https"),
        ("bases: {miniforge: 'https://user:s3cr3t@host/x'}", "bases: miniforge"),
        ("ca-bundle: [s3cr3t]", "ca-bundle"),
        ("netrc: {s3cr3t: s3cr3t}", "netrc"),
        ("network: [s3cr3t]", "network"),
    ],
)
def test_malformed_value_is_named_by_its_key_and_not_shown(text: str, key: str, tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=key) as caught:
        load(tmp_path, text)
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.path == tmp_path / "mine.yaml"


@pytest.mark.parametrize(
    "ref", ["ubuntu", "debian:13-slim", "127.0.0.1:5000/a/b__c:1.0", f"r.example/x:1@sha256:{'0' * 64}"]
)
def test_base_may_be_any_image(ref: str, tmp_path: Path) -> None:
    assert load(tmp_path, f"bases: {{miniforge: '{ref}'}}\n").base_ref("miniforge") == ref


def test_file_that_the_user_may_not_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    # A file that fails for root too, who may read any other: nothing is mapped at address 0.
    path.symlink_to("/proc/self/mem")
    with pytest.raises(DefinitionError, match="cannot be read") as caught:
        find_sources(str(path))
    assert caught.value.path == path


@pytest.mark.parametrize("name", ["x" * 5000, "./" + "x" * 5000 + ".yaml"])
def test_name_that_no_file_can_have_is_refused(name: str) -> None:
    with pytest.raises(DefinitionError):
        find_sources(name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a\n",
        "conda: [\n",
        "conda: {conda-forge: 1}\n",
        "conda: https://m.example\n",
        "conda: {conda-forge: m.example}\n",
        "conda: {conda-forge: 'https://[::1/x'}\n",
        'conda: {conda-forge: "https://m.example/x\\ny"}\n',
        "torch-wheels: [https://m.example]\n",
        "bases: [miniforge]\n",
        "condas: {}\n",
        "1: 2\n",
        "pip: https://pypi.example\n",
        "pip: {index: https://pypi.example}\n",
        "pip: {index-url: 5}\n",
        "pip: {extra-index-url: 5}\n",
        "pip: {find-links: /opt/wheels}\n",
        "proxy: {ftp: http://p.example}\n",
        "ca-bundle: absent.pem\n",
        "netrc: absent\n",
        "network: bridge\n",
        'ca-bundle: "\\0"\n',
        "netrc: 3\n",
        "ca-bundle: .\n",
        "proxy: {http: p.example}\n",
        "proxy: {http: 'http://p.example:x'}\n",
        "proxy: [http]\n",
        "bases: {miniforge: 'Registry Example/x'}\n",
        "name: !!python/object:os.system {}\n",
        "network: 2001-99-99\n",
        "? [a]\n: b\n",
        "a: " + "[" * 2000,
    ],
)
def test_malformed_file_is_refused_with_path_and_hint(text: str, tmp_path: Path) -> None:
    with pytest.raises(DefinitionError) as caught:
        load(tmp_path, text)
    assert caught.value.hint
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"conda: \x00"])
def test_file_that_is_no_text_is_refused(raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(raw)
    with pytest.raises(DefinitionError) as caught:
        find_sources(str(path))
    assert caught.value.path == path


def test_absent_file_and_odd_user_config_are_refused(bare_host: Path) -> None:
    with pytest.raises(DefinitionError, match="no sources file"):
        find_sources("./absent.yaml")
    write(bare_host / ".config/imgbuild/config.yaml", "source: tuna\n")
    with pytest.raises(DefinitionError, match="unknown key 'source'"):
        find_sources(None)
