"""The catalogue in a real browser, from a folder on the disk: with and without scripts, by mouse and by keyboard."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from matplotlib.image import imread

from builder.site.entries import read_entries
from builder.site.folder import write_site
from builder.site.pages import render_site
from tests.catalogue import write_catalogue
from tests.samples import PROJECT
from tests.site.__main__ import CHOSEN
from tests.site.browser import CHROMIUM, Browser, start_browser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here: apt-get install chromium"),
]

WANTED = "docker run --rm -it --gpus all registry.example/team/pytorch:2.14.1-cu126-py311"
SHOWN = "[...document.querySelectorAll('#all tbody tr')].filter(row => row.checkVisibility())"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("catalogue")
    write_site(render_site(read_entries(write_catalogue(folder / "entries.json"))), folder / "site")
    return folder / "site"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with start_browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


def wait_for_command(browser: Browser, command: str) -> None:
    """Wait until the section that the address names has its heading on the screen, and the command is in it."""
    browser.wait_for(
        "(part => { const y = part.getBoundingClientRect().y; return y >= 0 && y < innerHeight &&"
        f" [...part.querySelectorAll('.command')].some(it => it.textContent == {json.dumps(command)}) }})"
        "(document.getElementById(location.hash.slice(1)))"
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [("driver-535.html", "#python-3.11"), ("python-3.11.html", "driver-535.html#python-3.11")],
)
def test_two_clicks_lead_to_the_line_without_scripts(site: Path, browser: Browser, first: str, second: str) -> None:
    browser.open(site / "index.html", scripts=False)
    assert browser.ask("document.querySelector('#filter').checkVisibility()") is False
    browser.click(f"#links a[href='{first}']")
    browser.settle(first)
    browser.click(f"a[href='{second}']")
    browser.settle("driver-535.html#python-3.11")
    wait_for_command(browser, WANTED)


def test_two_clicks_lead_to_the_line_with_scripts(site: Path, browser: Browser) -> None:
    browser.open(site / "index.html")
    assert browser.ask("document.querySelector('#links').checkVisibility()") is False
    browser.click("label[for='python-3.11']")
    browser.click("label[for='driver-535']")
    lines = browser.ask(f"{SHOWN}.map(row => row.querySelector('.command').textContent)")
    assert WANTED in lines
    assert all(line.endswith(("py311", "py3.11")) for line in lines)
    assert browser.ask("document.querySelector('#count').textContent") == f"{len(lines)} images"


@pytest.mark.parametrize("slug", ["driver-450", "gpu-12.0", "cuda-cpu", "image-train", "python-3.12"])
def test_filter_shows_what_the_page_of_the_answer_lists(site: Path, browser: Browser, slug: str) -> None:
    browser.open(site / "index.html", f"?{slug.partition('-')[0]}={slug}")
    filtered = browser.ask(f"{SHOWN}.map(row => row.querySelector('a').getAttribute('href'))")
    browser.open(site / f"{slug}.html")
    listed = browser.ask("[...document.querySelectorAll('.images tbody a')].map(it => it.getAttribute('href'))")
    assert filtered
    assert sorted(filtered) == sorted(listed)


def test_nothing_that_suits_is_said_and_taken_back(site: Path, browser: Browser) -> None:
    browser.open(site / "index.html", "?driver=driver-450&cuda=cuda-12.8")
    assert browser.ask("document.querySelector('#count').textContent") == "0 images"
    assert browser.ask("document.querySelector('#none').checkVisibility()") is True
    browser.click("button[type=reset]")
    assert browser.ask(f"new Promise(done => setTimeout(() => done({SHOWN}.length), 100))") > 40
    assert browser.ask("document.querySelector('#none').checkVisibility()") is False


def test_keyboard_alone_chooses_and_copies(site: Path, browser: Browser) -> None:
    browser.open(site / "index.html")
    browser.press("Tab")
    assert browser.ask("document.activeElement.className") == "skip"
    assert browser.ask("document.activeElement.getBoundingClientRect().top") >= 0
    browser.press("Tab")
    assert browser.ask("document.activeElement.id") == "any-python"
    browser.press("ArrowRight")
    assert browser.ask("document.activeElement.checked && document.activeElement.id") == "python-3.12"
    assert browser.ask(f"{SHOWN}.every(row => row.dataset.fits.includes('python-3.12'))") is True
    for _ in range(12):
        browser.press("Tab")
        if browser.ask("document.activeElement.textContent") == "Copy":
            break
    assert browser.ask("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.press("Enter")
    told = browser.wait_for("document.querySelector('#told').textContent")
    assert told.startswith(("Copied: docker run", "Selected: copy it"))


@pytest.mark.parametrize("page", ["index.html", "driver-535.html", "cell-train-2.7.1-cu118-py310.html"])
def test_page_fits_a_phone(site: Path, browser: Browser, page: str) -> None:
    browser.send("Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=1, mobile=True)
    try:
        browser.open(site / page)
        assert browser.ask("document.documentElement.scrollWidth") <= 360
    finally:
        browser.send("Emulation.clearDeviceMetricsOverride")


def test_picture_of_the_readme_shows_the_catalogue_of_today(site: Path, browser: Browser) -> None:
    """Fonts differ from one machine to another: what is compared is how dark each of 20 by 30 fields is."""
    shown = read_picture(browser.capture(site / "index.html", CHOSEN, scheme="light"))
    kept = read_picture((PROJECT / "docs" / "site.png").read_bytes())
    assert shown.shape == kept.shape
    assert np.abs(split(shown, np.mean) - split(kept, np.mean)).max() < 0.1


@pytest.mark.parametrize("page", ["index.html", "driver-535.html", "cell-train-2.7.1-cu118-py310.html"])
@pytest.mark.parametrize("width", [360, 1200])
def test_page_is_dark_where_that_is_wished_and_nothing_is_invisible_then(
    site: Path, browser: Browser, page: str, width: int
) -> None:
    light, dark = (
        read_picture(browser.capture(site / page, width=width, scheme=scheme)) for scheme in ("light", "dark")
    )
    assert np.median(light) > 0.9
    assert np.median(dark) < 0.2
    contrasts = [split(picture, np.ptp) for picture in (light, dark)]
    assert (contrasts[0] > 0.5).mean() > 0.1
    for one, other in (contrasts, contrasts[::-1]):
        assert other[one > 0.5].min() > 0.3


def read_picture(data: bytes) -> NDArray[np.float64]:
    """Return the brightness, 0 to 1, of each pixel of a picture (PNG), row by row."""
    return np.asarray(imread(io.BytesIO(data), format="png"), dtype=float)[..., :3].mean(axis=2)


def split(picture: NDArray[np.float64], summarize: Callable[[NDArray[np.float64]], Any]) -> NDArray[Any]:
    """Return what a function makes of each of 20 by 30 fields of a picture."""
    rows = (np.array_split(row, 30, axis=1) for row in np.array_split(picture, 20))
    return np.array([[summarize(field) for field in row] for row in rows])


def test_table_is_a_table_to_a_screen_reader(site: Path, browser: Browser) -> None:
    browser.open(site / "index.html")
    nodes = browser.send("Accessibility.getFullAXTree")["nodes"]
    roles = [node["role"]["value"] for node in nodes if not node["ignored"]]
    assert roles.count("table") == 1
    assert roles.count("columnheader") == 8
    assert roles.count("rowheader") == browser.ask(f"{SHOWN}.length")
    groups = {node["name"]["value"] for node in nodes if node["role"]["value"] in {"group", "radiogroup"}}
    assert {"Python", "NVIDIA driver", "CUDA"} <= groups
