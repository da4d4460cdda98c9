"""What bases are now, asked of the registries that have them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from builder import bases
from builder.bases import read_bases
from builder.errors import RegistryError
from builder.project import load_project
from builder.registry.image import PublishedImage
from builder.registry.place import Place
from builder.sources import Sources
from tests.samples import PROJECT

if TYPE_CHECKING:
    from builder.definition import Base
    from tests.registry import FakeRegistry

HOST = Sources(name="host")


@pytest.fixture
def base(fake: FakeRegistry) -> Base:
    """Return a base that a registry may have as `team/base:1`, and that no digest pins."""
    known = load_project(PROJECT).bases["miniforge"]
    return replace(known, ref=f"{fake.address}/team/base:1", digest=None)


def test_base_is_what_its_tag_means_now(fake: FakeRegistry, base: Base) -> None:
    pushed = fake.add_image("team/base", "1", layers={"system": 1000})
    found = read_bases([base], HOST)[base.key]
    assert isinstance(found, PublishedImage)
    assert found.digest == pushed["digest"]


def test_base_that_a_digest_pins_is_not_asked_about(fake: FakeRegistry, base: Base) -> None:
    assert read_bases([replace(base, digest="sha256:" + "0" * 64)], HOST) == {}
    assert not fake.asked


def test_base_of_many_images_is_asked_about_once(fake: FakeRegistry, base: Base) -> None:
    fake.add_image("team/base", "1")
    read_bases([base], HOST)
    once = len(fake.asked)
    fake.asked.clear()
    read_bases([base, base, base], HOST)
    assert len(fake.asked) == once > 0


def test_base_that_is_asked_in_vain_is_told_and_keeps_no_other_from_it(fake: FakeRegistry, base: Base) -> None:
    fake.add_image("team/base", "1")
    gone = replace(base, key="gone", ref=f"{fake.address}/team/gone:1")
    local = replace(base, key="local", ref="only-here:1")
    found = read_bases([gone, local, base], HOST)
    assert isinstance(found[base.key], PublishedImage)
    for key, words in (("gone", "team/gone:1 is not in the registry"), ("local", "is no image in a registry")):
        assert isinstance(error := found[key], RegistryError)
        assert words in error.message


def test_login_that_ran_out_is_told(fake: FakeRegistry, base: Base, bare_host: object) -> None:
    assert bare_host
    fake.add_image("team/base", "1")
    fake.auth = "basic"
    assert isinstance(error := read_bases([base], HOST)[base.key], RegistryError)
    assert "access denied" in error.message


def test_mirror_is_asked_in_place_of_the_registry_and_its_host_is_not_told(fake: FakeRegistry, base: Base) -> None:
    elsewhere = replace(base, ref="registry.invalid/team/base:1")
    site = Sources(name="site", bases=((base.key, f"{fake.address}/mirror/base:1"),))
    assert isinstance(error := read_bases([elsewhere], site)[base.key], RegistryError)
    assert error.message == "<site mirror>/mirror/base:1 is not in the registry"
    fake.add_image("mirror/base", "1")
    assert isinstance(read_bases([elsewhere], site)[base.key], PublishedImage)


@pytest.mark.parametrize("insecure", [True, False])
def test_registry_is_spoken_to_without_tls_only_where_that_is_said(
    fake: FakeRegistry, base: Base, monkeypatch: pytest.MonkeyPatch, *, insecure: bool
) -> None:
    asked = []

    def find(host: str, _: Sources, *, insecure: bool) -> Place:
        asked.append((host, insecure))
        return Place(host=host, url=f"http://{host}")

    monkeypatch.setattr(bases, "find_place", find)
    read_bases([base], HOST, insecure=[fake.address if insecure else "registry.example"])
    assert asked == [(fake.address, insecure)]
