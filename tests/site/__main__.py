"""Write the picture of the catalogue that the README shows: `python -m tests.site docs/site.png`."""

from __future__ import annotations

import base64
import sys
import tempfile
from pathlib import Path

from builder.site.entries import read_entries
from builder.site.folder import write_site
from builder.site.pages import render_site
from tests.catalogue import write_catalogue
from tests.site.browser import start_browser

_CHOSEN = "?python=python-3.11&driver=driver-535&image=image-pytorch"


def main(picture: Path) -> None:
    with tempfile.TemporaryDirectory() as name, start_browser(Path(name) / "profile") as browser:
        folder = Path(name) / "site"
        write_site(render_site(read_entries(write_catalogue(Path(name) / "entries.json"))), folder)
        browser.send("Emulation.setDeviceMetricsOverride", width=1200, height=760, deviceScaleFactor=1, mobile=False)
        browser.send("Emulation.setScrollbarsHidden", hidden=True)
        browser.open(folder / "index.html", _CHOSEN)
        picture.write_bytes(base64.b64decode(browser.send("Page.captureScreenshot")["data"]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
