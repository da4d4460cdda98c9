"""The pages of the catalogue: what each lists, that all are sound HTML, and that no name gets out of its place."""

from __future__ import annotations

import random
import re
from html.parser import HTMLParser
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from builder.compat import runs_on
from builder.compat_table import load_builds
from builder.site.answers import list_questions, runs_with, slug_texts, sort_entries
from builder.site.changes import list_changes
from builder.site.entries import Entry, Package, read_entries
from builder.site.gpus import GPUS, find_served, name_generations
from builder.site.pages import render_site
from tests.catalogue import make_catalogue, make_cpu_node, make_node, write_catalogue

if TYPE_CHECKING:
    from pathlib import Path

_VOID = {"meta", "link", "input"}
HOSTILE = "<script>alert(1)</script>\"'&amp;{{ 7 * 7 }}"


class Page(HTMLParser):
    """A page taken apart: its tags with their attributes, in order, and the text. Fails for tags that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._open: list[str] = []
        self._lonely: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), attrs
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def find(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def ids(self) -> list[str]:
        return [attributes["id"] for _, attributes in self.tags if "id" in attributes]


def read(path: Path, *nodes: dict[str, Any]) -> tuple[Entry, ...]:
    return read_entries(write_catalogue(path / "e.json", *nodes))


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> tuple[Entry, ...]:
    return read(tmp_path_factory.mktemp("entries"), *make_catalogue()["entries"])


@pytest.fixture(scope="module")
def site(entries: tuple[Entry, ...]) -> dict[str, str]:
    return render_site(entries)


@pytest.fixture(scope="module")
def pages(site: dict[str, str]) -> dict[str, Page]:
    return {name: Page(text) for name, text in site.items() if name.endswith(".html")}


def test_page_has_a_language_a_title_one_heading_and_landmarks(pages: dict[str, Page]) -> None:
    for name, page in pages.items():
        assert page.find("html") == [{"lang": "en"}], name
        assert [len(page.find(tag)) for tag in ("title", "h1", "main", "header", "footer")] == [1] * 5, name
        assert page.find("nav"), name
        assert page.tags[[tag for tag, _ in page.tags].index("body") + 1][1]["href"] == "#main", name


def test_headings_leave_no_level_out(pages: dict[str, Page]) -> None:
    for name, page in pages.items():
        levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1, name
        assert all(after - before <= 1 for before, after in pairwise(levels)), name


def test_table_has_a_caption_and_headers_with_scope(pages: dict[str, Page]) -> None:
    for name, page in pages.items():
        assert len(page.find("caption")) == len(page.find("table")), name
        assert all(header["scope"] in {"col", "row"} for header in page.find("th")), name
        rows = [tag for tag, attributes in page.tags if attributes.get("scope") == "row"]
        assert len(rows) + len(page.find("thead")) == len(page.find("tr")), name


def test_input_has_a_label(pages: dict[str, Page]) -> None:
    inputs = [attributes["id"] for attributes in pages["index.html"].find("input")]
    assert len(inputs) > 20
    assert sorted(inputs) == sorted(label["for"] for label in pages["index.html"].find("label"))
    assert len(pages["index.html"].find("legend")) == len(pages["index.html"].find("fieldset"))


def test_ids_are_unique_and_what_refers_to_them_finds_them(pages: dict[str, Page]) -> None:
    for name, page in pages.items():
        assert len(set(page.ids)) == len(page.ids), name
        for _, attributes in page.tags:
            for key in ("aria-labelledby", "aria-describedby", "for"):
                assert set(attributes.get(key, "").split()) <= set(page.ids), name


def test_link_leads_somewhere_in_the_site(site: dict[str, str], pages: dict[str, Page]) -> None:
    for name, page in pages.items():
        for attributes in (*page.find("a"), *page.find("link"), *page.find("script")):
            target, _, anchor = (attributes.get("href") or attributes.get("src", "")).partition("#")
            assert (target or name) in site, (name, attributes)
            if anchor:
                assert anchor in pages[target or name].ids, (name, attributes)


def test_every_page_is_reached_from_the_first(pages: dict[str, Page]) -> None:
    reached, ahead = {"index.html"}, ["index.html"]
    while ahead:
        links = {link["href"].partition("#")[0] for link in pages[ahead.pop()].find("a")} - {""}
        ahead += links - reached
        reached |= links
    assert reached == pages.keys()


def test_nothing_is_fetched_from_elsewhere(site: dict[str, str]) -> None:
    for name, text in site.items():
        assert "://" not in text, name
        assert not re.search(r"url\(|@import|\bstyle=|\son\w+=", text), name


def test_index_has_every_image_with_its_line(entries: tuple[Entry, ...], pages: dict[str, Page]) -> None:
    for entry in entries:
        gpus = "--gpus all " if entry.cuda else ""
        assert f"docker run --rm -it {gpus}{entry.ref}" in pages["index.html"].text
        assert entry.digest in pages["index.html"].text


def test_filter_and_pages_agree_on_which_images_suit(pages: dict[str, Page]) -> None:
    fits = {
        link["href"]: row["data-fits"].split()
        for row, link in zip(
            [it for it in pages["index.html"].find("tr") if "data-fits" in it],
            [it for it in pages["index.html"].find("a") if it["href"].startswith("cell-")],
            strict=True,
        )
    }
    choices = {choice["value"] for choice in pages["index.html"].find("input")} - {""}
    assert {f"{slug}.html" for slug in choices} == {name for name in pages if name.startswith(tuple(_KEYS))}
    for slug in choices:
        listed = {link["href"] for link in pages[f"{slug}.html"].find("a") if link["href"].startswith("cell-")}
        assert listed == {page for page, suited in fits.items() if slug in suited}, slug


_KEYS = ("python-", "driver-", "gpu-", "cuda-", "torch-", "image-")


def test_answer_leaves_the_images_that_have_it(entries: tuple[Entry, ...]) -> None:
    for question in list_questions(entries):
        if question.key in {"python", "cuda", "torch", "image"}:
            left = [entry.ref for answer in question.answers for entry in answer.entries]
            assert sorted(left) == sorted(entry.ref for entry in entries), question.key
            for answer in question.answers:
                assert len({getattr(entry, question.key) for entry in answer.entries}) == 1, answer.slug


def test_newer_driver_runs_all_that_an_older_one_does(entries: tuple[Entry, ...]) -> None:
    (question,) = [it for it in list_questions(entries) if it.key == "driver"]
    for older, newer in pairwise(question.answers):
        assert int(older.label) < int(newer.label)
        assert {it.ref for it in older.entries} <= {it.ref for it in newer.entries}
    assert "535" in {answer.label for answer in question.answers}


def test_driver_suits_from_the_branch_of_the_oldest_that_does(tmp_path: Path) -> None:
    ref = "registry.example/team/pytorch:"
    new, unknown, cpu = read(
        tmp_path,
        make_node(f"{ref}1", cuda="12.6", min_driver="525.60.13"),
        make_node(f"{ref}2", cuda="99.0", min_driver=None),
        make_cpu_node(),
    )
    assert [runs_with(new, branch) for branch in (470, 524, 525, 535)] == [False, False, True, True]
    assert not runs_with(unknown, 999)
    assert runs_with(cpu, 450)


def test_oldest_branch_that_suits_says_that_its_release_matters(tmp_path: Path) -> None:
    site = render_site(read(tmp_path, make_node(cuda="12.6", min_driver="525.60.13")))
    assert "a later release of 525" in site["driver-525.html"]
    assert "a later release of" not in site["driver-535.html"]
    assert "driver-515.html" not in site


def test_gpus_are_those_that_the_table_of_torch_says() -> None:
    for build in load_builds():
        if build.arches:
            served = {gpu.arch for gpu in find_served(build.arches)}
            assert served == {gpu.arch for gpu in GPUS if runs_on(build, gpu.arch)}


def test_generations_are_a_range_only_without_gaps() -> None:
    assert name_generations(find_served(["sm_75", "sm_80", "sm_90"])) == "Turing to Hopper"
    assert name_generations(find_served(["sm_75", "sm_90"])) == "Turing, Hopper"
    assert name_generations(find_served(["compute_90"])) == "Hopper, Blackwell"
    assert name_generations(find_served([])) == ""


def test_same_entries_in_any_order_give_the_same_bytes(entries: tuple[Entry, ...], tmp_path: Path) -> None:
    twins = read(tmp_path, *(make_node(f"registry.example/team/{name}:1") for name in "abcd"))
    site = render_site([*entries, *twins])
    for seed in range(3):
        shuffled = random.Random(seed).sample([*entries, *twins], len(entries) + len(twins))
        assert render_site(shuffled) == site


def test_newest_comes_first_and_the_cpu_last(tmp_path: Path) -> None:
    found = sort_entries(read(tmp_path, make_cpu_node(), make_node(), make_node("r.example/a:2", cuda="12.10")))
    assert [str(entry.cuda or "cpu") for entry in found] == ["12.10", "11.8", "cpu"]


def test_who_has_a_gpu_sees_what_uses_it_first(tmp_path: Path) -> None:
    site = render_site(read(tmp_path, make_cpu_node(image="a"), make_node(image="b")))
    for name in ("driver-535.html", "gpu-8.0.html"):
        text = Page(site[name]).text
        assert text.index("cu118") < text.index("cpu-py310"), name


def test_gpu_that_has_no_name_here_is_told_by_its_arch(tmp_path: Path) -> None:
    named, unnamed, unknown = (
        Page(render_site(read(tmp_path, make_node(arches=arches)))["index.html"]).text
        for arches in (["sm_80"], ["sm_110"], [])
    )
    assert "Ampere" in named
    assert "sm_110" in unnamed
    assert "not known" in unknown


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    packages = [{"name": HOSTILE, "version": HOSTILE, "kind": "pip"}]
    verdicts = [{"check": HOSTILE, "verdict": "fail", "detail": HOSTILE}]
    node = make_node(image=HOSTILE, revision=HOSTILE, packages=packages, verdicts=verdicts)
    plain = render_site(read(tmp_path, make_node()))
    site = render_site(read(tmp_path, node))
    for name, text in site.items():
        if name.endswith(".html"):
            page = Page(text)
            assert page.find("script") == [{"src": "site.js", "defer": ""}], name
            assert "<script>alert" not in text
    assert all(re.fullmatch(r"[a-z0-9.-]+", name) for name in site)
    (cell,) = [name for name in site if name.startswith("cell-")]
    assert Page(site[cell]).text.count(HOSTILE) >= 6
    assert [tag for tag, _ in Page(site["index.html"]).tags] == [tag for tag, _ in Page(plain["index.html"]).tags]


def test_page_of_an_image_says_what_changed_and_what_was_proven(tmp_path: Path) -> None:
    site = render_site(read(tmp_path, make_node()))
    text = " ".join(Page(site["cell-pytorch-2.7.1-cu118-py310.html"]).text.split())
    assert "3 packages are other than before" in text
    assert "six1.17.0removedpip" in text.replace(" ", "")
    assert "✓ passed" in text
    assert "\N{EN DASH} skipped" in text
    assert "registry.example/team/pytorch@sha256:" in text


@pytest.mark.parametrize(
    ("previous", "said"),
    [(None, "Nothing is known of an image"), ({"digest": f"sha256:{'0' * 64}", "packages": []}, "1 package is other")],
)
def test_one_package_and_no_image_before_are_said(tmp_path: Path, previous: dict[str, Any] | None, said: str) -> None:
    node = make_node(packages=[{"name": "numpy", "version": "1", "kind": "pip"}], previous=previous, verdicts=[])
    site = render_site(read(tmp_path, node))
    assert said in site["cell-pytorch-2.7.1-cu118-py310.html"]
    assert "No results are recorded." in site["cell-pytorch-2.7.1-cu118-py310.html"]


def test_failed_check_is_not_hidden(tmp_path: Path) -> None:
    verdicts = [{"check": "a", "verdict": "fail", "detail": "it broke"}, {"check": "b", "verdict": "pass"}]
    index = Page(render_site(read(tmp_path, make_node(verdicts=verdicts)))["index.html"])
    assert "Checks: 1 failed, 1 passed" in index.text
    assert {"class": "checks bad"} in index.find("span")


def test_nothing_published_is_a_page_too() -> None:
    site = render_site(())
    assert sorted(site) == ["index.html", "site.css", "site.js"]
    assert "0 images" in Page(site["index.html"]).text


def test_images_of_one_name_in_two_registries_have_pages_of_their_own(tmp_path: Path) -> None:
    site = render_site(read(tmp_path, make_node("a.example/pytorch:1"), make_node("b.example/pytorch:1")))
    assert len([name for name in site if name.startswith("cell-")]) == 2


def test_names_that_differ_in_what_files_cannot_say_have_slugs_of_their_own() -> None:
    names = ["Py Torch", "py/torch", "py-torch", "ÄÖ", "..", "plain"]
    slugs = slug_texts(names)
    assert slugs["plain"] == "plain"
    assert len({slug.lower() for slug in slugs.values()}) == len(names)
    assert all(re.fullmatch(r"[a-z0-9.-]+", slug) and ".." not in slug for slug in slugs.values())


def test_change_from_conda_to_pip_is_a_removal_and_an_addition() -> None:
    changes = list_changes(
        [Package(name="six", version="1", kind="conda")], [Package(name="six", version="1", kind="pip")]
    )
    assert [(it.kind, it.before, it.now) for it in changes] == [("conda", "1", None), ("pip", None, "1")]


def _list_colours(css: str) -> list[dict[str, str]]:
    blocks = re.findall(r":root \{([^}]*)\}", css)
    return [dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block)) for block in blocks]


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (it / 12.92 if it <= 0.03928 else ((it + 0.055) / 1.055) ** 2.4 for it in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_text_has_contrast_in_both_schemes(site: dict[str, str]) -> None:
    schemes = _list_colours(site["site.css"])
    assert len(schemes) == 2
    for colours in schemes:
        for text in ("ink", "quiet", "accent", "good", "bad"):
            for behind in ("paper", "card", "code"):
                assert _contrast(colours[text], colours[behind]) >= 4.5, (text, behind)
        assert _contrast(colours["on-accent"], colours["accent"]) >= 4.5
