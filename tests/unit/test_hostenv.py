from __future__ import annotations

import configparser
import netrc
import shlex
import stat
import subprocess
import tomllib
from pathlib import Path

import pytest

from builder.errors import DefinitionError
from builder.hostconfig import Login, PipConfig
from builder.hostenv import render_settings
from builder.sources import Sources
from tests.samples import make_environment, make_wheel

CF = "https://conda.anaconda.org/conda-forge"
WHL = "https://download.pytorch.org/whl"
NASTY = "p'w\"$(touch owned)`touch owned`\\ &|;*~!"


def run(tmp_path: Path, sources: Sources, script: str, pip: tuple[str, ...] = ()) -> str:
    """Return what a script prints that sources the settings in dash, as a step of a build does."""
    environment = make_environment(pip=[make_wheel("x", folder=folder) for folder in pip])
    settings = tmp_path / "settings"
    settings.write_bytes(render_settings(sources, environment))
    done = subprocess.run(
        ["sh", "-eu", "-c", f". {shlex.quote(str(settings))} && {script}"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert not (tmp_path / "owned").exists()
    return done.stdout


def make_sources(**more: object) -> Sources:
    return Sources(name="mine", **more)  # type: ignore[arg-type]


def test_without_settings_a_list_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "conda.txt").write_text(f"@EXPLICIT\n{CF}/noarch/a.conda#sha256:0\n")
    shown = run(
        tmp_path, make_sources(), 'cat "$(mirrored conda.txt)"; echo "${NETRC-}${PIP_CONFIG_FILE-}${PIP_CERT-}"'
    )
    assert shown == f"@EXPLICIT\n{CF}/noarch/a.conda#sha256:0\n\n"


@pytest.mark.parametrize(
    "value", ["http://proxy.example:3128", f"http://u:{NASTY}@proxy.example", "a\nb\nIMGBUILD_END\nc"]
)
def test_proxies_reach_the_step_in_both_cases(value: str, tmp_path: Path) -> None:
    sources = make_sources(proxies=(("https_proxy", value), ("no_proxy", "localhost,.example")))
    shown = run(tmp_path, sources, 'printf "%s|" "$https_proxy" "$HTTPS_PROXY" "$no_proxy"')
    assert shown == f"{value}|{value}|localhost,.example|"


def test_ca_bundle_reaches_every_client(tmp_path: Path) -> None:
    pem = tmp_path / "host.pem"
    pem.write_text("# Ä 'quoted' $(touch owned)\n-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n")
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "CONDA_SSL_VERIFY")
    shown = run(tmp_path, make_sources(ca_bundle=pem), "cat " + " ".join(f'"${name}"' for name in names))
    assert shown == pem.read_text() * len(names)


def test_apt_may_read_the_ca_bundle_as_its_own_user(tmp_path: Path) -> None:
    pem = tmp_path / "host.pem"
    pem.write_text("pem")
    script = 'echo "$SSL_CERT_FILE"; cat "$APT_CONFIG"; stat -c %a "$host" "$SSL_CERT_FILE"'
    bundle, config, folder, file = run(tmp_path, make_sources(ca_bundle=pem), script).splitlines()
    assert config == f'Acquire::https::CAInfo "{bundle}";'
    assert int(folder, 8) & stat.S_IXOTH
    assert not int(folder, 8) & stat.S_IROTH
    assert int(file, 8) & stat.S_IROTH


def test_logins_are_readable_for_the_owner_alone_and_only_those_needed(tmp_path: Path) -> None:
    hosts = ("conda.anaconda.org", "pypi.example", "files.example", "mirror.example", "registry.example", "example")
    sources = make_sources(
        pip=PipConfig(index_url="https://pypi.example/simple"),
        mirrors=((CF, "https://mirror.example:8443/cf"),),
        logins=tuple(Login(host=host, user="me", password=f"{host}-pw") for host in hosts),
    )
    shown = run(tmp_path, sources, 'stat -c %a "$NETRC"; cat "$NETRC"', pip=("https://files.example/w",))
    mode, _, text = shown.partition("\n")
    assert mode == "600"
    (tmp_path / "netrc").write_text(text)
    assert netrc.netrc(str(tmp_path / "netrc")).hosts == {host: ("me", "", f"{host}-pw") for host in hosts[:4]}


def test_settings_for_several_cells_have_the_logins_of_each() -> None:
    logins = tuple(Login(host=f"{name}.example", user="me", password="pw") for name in ("one", "two", "three"))
    cells = [make_environment(pip=[make_wheel("x", folder=f"https://{name}.example/w")]) for name in ("one", "two")]
    text = render_settings(make_sources(logins=logins), *cells).decode()
    assert ["one.example" in text, "two.example" in text, "three.example" in text] == [True, True, False]


def test_a_password_cannot_break_out(tmp_path: Path) -> None:
    password = "p'w\"$(touch${IFS}owned)`touch${IFS}owned`';touch${IFS}owned;'&|*~!#"
    login = Login(host="conda.anaconda.org", user="me", password=password)
    shown = run(tmp_path, make_sources(logins=(login,)), 'cat "$NETRC"')
    assert shown == f"machine conda.anaconda.org login me password {password}\n"


def test_bundle_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="CA bundle cannot be read") as caught:
        render_settings(make_sources(ca_bundle=tmp_path), make_environment())
    assert caught.value.path == tmp_path


def test_pip_is_told_its_indexes_and_trusts_http_ones(tmp_path: Path) -> None:
    pip = PipConfig(
        index_url="HTTP://127.0.0.1:8765/simple",
        extra_index_urls=("https://one.example/s", "https://two.example/s%20"),
        find_links=("https://links.example/w",),
    )
    text = run(tmp_path, make_sources(pip=pip), 'cat "$PIP_CONFIG_FILE"')
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    found = {key: value.split() for key, value in parser.items("global")}
    assert found == {
        "index-url": ["HTTP://127.0.0.1:8765/simple"],
        "extra-index-url": ["https://one.example/s", "https://two.example/s%20"],
        "find-links": ["https://links.example/w"],
        "trusted-host": ["127.0.0.1:8765"],
    }


ODD = (
    (CF, "https://m.example/a&b|c\\d[1]*^$.x"),
    ("https://conda.anaconda.org", "https://m.example/cloud"),
    ("https://repo.anaconda.com/pkgs", "https://m.example"),
    (WHL, "http://127.0.0.1:8765/whl"),
)
LISTED = f"""@EXPLICIT
{CF}/linux-64/a-1.0-0.conda#sha256:00
https://conda.anaconda.org/nvidia/linux-64/b-1.0-0.conda#sha256:00
https://repo.anaconda.com/pkgs/main/noarch/c-1.0-0.conda#sha256:00
https://repoXanaconda.com/pkgs/main/noarch/d-1.0-0.conda#sha256:00
--extra-index-url {WHL}/cu118
torch==2.7.1+cu118 --hash=sha256:00
"""


def test_addresses_are_rewritten_to_mirrors_and_back_exactly(tmp_path: Path) -> None:
    (tmp_path / "conda.txt").write_text(LISTED)
    script = 'cat "$(mirrored conda.txt)"; echo ----; sed -f "$canonical_sed" "$(mirrored conda.txt)"'
    mirrored, back = run(tmp_path, make_sources(mirrors=ODD), script).split("----\n")
    assert back == LISTED
    assert mirrored.splitlines()[1:6] == [
        "https://m.example/a&b|c\\d[1]*^$.x/linux-64/a-1.0-0.conda#sha256:00",
        "https://m.example/cloud/nvidia/linux-64/b-1.0-0.conda#sha256:00",
        "https://m.example/main/noarch/c-1.0-0.conda#sha256:00",
        "https://repoXanaconda.com/pkgs/main/noarch/d-1.0-0.conda#sha256:00",
        "--extra-index-url http://127.0.0.1:8765/whl/cu118",
    ]


def test_flat_wheel_mirror_is_a_list_of_links(tmp_path: Path) -> None:
    (tmp_path / "pip.txt").write_text(f"--extra-index-url {WHL}/cu118\n")
    sources = make_sources(mirrors=((WHL, "https://m.example/wheels"),), torch_flat=True)
    assert run(tmp_path, sources, 'cat "$(mirrored pip.txt)"') == "--find-links https://m.example/wheels/cu118\n"


def test_everything_is_removed_at_the_end_even_of_a_failed_step(tmp_path: Path) -> None:
    login = Login(host="conda.anaconda.org", user="me", password="pw")
    folder = Path(run(tmp_path, make_sources(logins=(login,)), 'echo "$host"; false || true').strip())
    assert folder.parent == Path("/dev/shm")
    assert not folder.exists()
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run(tmp_path, make_sources(logins=(login,)), 'echo "$host"; false')
    assert not Path(caught.value.stdout.strip()).exists()


def test_neutral_settings_of_a_context_offer_the_same_function() -> None:
    neutral = Path(__file__).parents[2] / "templates" / "host" / "settings"
    done = subprocess.run(
        ["sh", "-euc", f". {neutral} && mirrored /build/conda.txt"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "/build/conda.txt\n"


def test_uv_asks_the_same_indexes_as_pip(tmp_path: Path) -> None:
    pip = PipConfig(
        index_url="https://pypi.example/simple",
        extra_index_urls=("https://more.example/simple", "https://third.example/'q'"),
        find_links=("https://wheels.example/x",),
    )
    settings = tomllib.loads(run(tmp_path, make_sources(pip=pip), 'cat "$UV_CONFIG_FILE"'))
    assert settings == {
        "index-strategy": "unsafe-best-match",
        "index-url": pip.index_url,
        "extra-index-url": list(pip.extra_index_urls),
        "find-links": list(pip.find_links),
    }


def test_uv_without_indexes_is_told_none(tmp_path: Path) -> None:
    assert tomllib.loads(run(tmp_path, make_sources(), 'cat "$UV_CONFIG_FILE"')) == {
        "index-strategy": "unsafe-best-match"
    }
