"""A headless Chromium, driven through the DevTools protocol over a pipe: https://chromedevtools.github.io/devtools-protocol/."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_PATIENCE = 300.0  # seconds for one answer
_QUIET = ("no-first-run", "disable-background-networking", "disable-component-update", "disable-sync", "disable-gpu")
_CODES = {"Tab": 9, "Enter": 13, " ": 32, "ArrowRight": 39}


class Browser:
    """One tab. Methods raise RuntimeError for what the browser refuses, TimeoutError where it does not answer."""

    def __init__(self, ask: int, answer: int) -> None:
        self._ask, self._answer, self._buffer, self._number = ask, answer, b"", 0
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    _session: str | None = None

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Return the result of a command."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._ask, json.dumps(message).encode() + b"\0")
        while True:
            found = self._read()
            if found.get("id") == self._number:
                if "error" in found:
                    raise RuntimeError(f"{method}: {found['error']['message']}")
                result: dict[str, Any] = found["result"]
                return result

    def open(self, path: Path, query: str = "", *, scripts: bool = True) -> None:
        """Load a page of the disk, with or without the scripts in it."""
        self.send("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.send("Page.navigate", url=path.as_uri() + query)
        self.settle(path.name)

    def settle(self, address: str) -> None:
        """Wait until a page is there: `name.html`, or `name.html#part`."""
        name, sign, part = address.partition("#")
        place, part = json.dumps(f"/{name}"), json.dumps(sign + part)
        self.wait_for(
            f"location.pathname.endsWith({place}) && location.hash == {part} && document.readyState == 'complete'"
        )

    def wait_for(self, expression: str) -> Any:
        """Return the value of a JavaScript expression once it is true."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(RuntimeError):  # a page that is being left cannot be asked
                if found := self.ask(expression):
                    return found
            time.sleep(0.02)
        raise TimeoutError(f"never true: {expression}")

    def ask(self, expression: str) -> Any:
        """Return the value of a JavaScript expression; the protocol may ask even where pages run no scripts."""
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def capture(self, path: Path, query: str = "", *, width: int = 1200, height: int = 760, scheme: str = "") -> bytes:
        """Return the picture (PNG) of what a window of a size in pixels shows of a page; `scheme` is light or dark."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        media = [{"name": "prefers-color-scheme", "value": scheme}] if scheme else []
        self.send("Emulation.setDeviceMetricsOverride", **size)
        self.send("Emulation.setEmulatedMedia", features=media)
        self.send("Emulation.setScrollbarsHidden", hidden=True)
        try:
            self.open(path, query)
            return base64.b64decode(self.send("Page.captureScreenshot")["data"])
        finally:
            self.send("Emulation.setScrollbarsHidden", hidden=False)
            self.send("Emulation.setEmulatedMedia", features=[])
            self.send("Emulation.clearDeviceMetricsOverride")

    def click(self, selector: str) -> None:
        """Click with the mouse at the middle of an element, as a person would."""
        where = f"document.querySelector({json.dumps(selector)})"
        self.ask(f"{where}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        x, y = self.ask(f"(b => [b.x + b.width / 2, b.y + b.height / 2])({where}.getBoundingClientRect())")
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        """Press and release a key."""
        text = {"Enter": "\r", " ": " "}.get(key)
        more = {"text": text} if text else {}
        code = "Space" if key == " " else key
        for kind in ("keyDown" if text else "rawKeyDown", "keyUp"):
            values = {"type": kind, "key": key, "code": code, "windowsVirtualKeyCode": _CODES[key]}
            self.send("Input.dispatchKeyEvent", **values, **(more if kind != "keyUp" else {}))

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._answer], [], [], _PATIENCE)[0]:
                raise TimeoutError("the browser does not answer")
            part = os.read(self._answer, 1 << 16)
            if not part:
                raise RuntimeError("the browser has ended")
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(line)
        return found


@contextlib.contextmanager
def start_browser(profile: Path) -> Iterator[Browser]:
    """Run a browser of its own, with a profile of its own, until the end of the block."""
    (low_end, ask), (answer, low_answer) = os.pipe(), os.pipe()
    # The protocol is spoken on descriptors 3 and 4. A shell moves the pipes there, from where neither is in the way.
    theirs = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 10) for descriptor in (low_end, low_answer)]
    for descriptor in (low_end, low_answer):
        os.close(descriptor)
    shell = ["bash", "-c", f'exec "$0" "$@" 3<&{theirs[0]} 4>&{theirs[1]}', CHROMIUM or "chromium"]
    options = ["headless", "no-sandbox", "remote-debugging-pipe", f"user-data-dir={profile}", *_QUIET]
    command = [*shell, *(f"--{option}" for option in options)]
    process = subprocess.Popen(command, pass_fds=theirs, stderr=subprocess.DEVNULL)
    try:
        for descriptor in theirs:
            os.close(descriptor)
        yield Browser(ask, answer)
    finally:
        _end(process, ask)
        os.close(ask)
        os.close(answer)


def _end(process: subprocess.Popen[bytes], ask: int) -> None:
    """Let the browser close, so that nothing of it writes to its profile any more, or kill it."""
    try:
        os.write(ask, b'{"id": 0, "method": "Browser.close"}\0')
        process.wait(_PATIENCE)
    except (OSError, subprocess.TimeoutExpired):
        process.kill()
        process.wait()
