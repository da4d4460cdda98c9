"""Write the picture of the catalogue that the README shows: `python -m tests.site docs/site.png`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from builder.site.entries import read_entries
from builder.site.folder import write_site
from builder.site.pages import render_site
from tests.catalogue import write_catalogue
from tests.site.browser import start_browser

CHOSEN = "?python=python-3.11&driver=driver-535&image=image-pytorch"


def main(picture: Path) -> None:
    with tempfile.TemporaryDirectory() as name, start_browser(Path(name) / "profile") as browser:
        folder = Path(name) / "site"
        write_site(render_site(read_entries(write_catalogue(Path(name) / "entries.json"))), folder)
        picture.write_bytes(browser.capture(folder / "index.html", CHOSEN, scheme="light"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
