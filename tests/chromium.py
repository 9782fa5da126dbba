"""A page as people see it: headless Chromium opens it, and tells its words, its errors and what it asked for.

Spoken to by the Chrome DevTools Protocol over a WebSocket, so the tests need Chromium and nothing else.
"""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Nothing but this machine answers: whoever asks elsewhere is heard, and nothing leaves.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
WIDE, PHONE = (1280, 1100), (390, 844)
PATIENCE_S = 60
STILL_WITHIN_S = 10  # a page with a clock or a pulsing dot never holds still

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed (Debian: apt install chromium)"
)


class Page:
    """One tab.

    Attributes
    ----------
    errors
        What its console and its scripts complained of.
    asked
        Every address it asked for, its own and pictures inside it left out.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._number = socket, 0
        self.errors: list[str] = []
        self.asked: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._send(f"{domain}.enable")

    def open(self, address: str, size: tuple[int, int] = WIDE) -> None:
        """Go to an address, in a window of so many px."""
        width, height = size
        device = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE}
        self._send("Emulation.setDeviceMetricsOverride", **device)
        self._send("Page.navigate", url=address)
        self.wait_until("document.readyState == 'complete'")

    def tell(self, script: str) -> Any:
        """Return what a script gives."""
        found = self._send("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait_until(self, script: str) -> None:
        """Wait until a script gives something true."""
        give_up = time.monotonic() + PATIENCE_S
        while not self.tell(script):
            assert time.monotonic() < give_up, f"{script} stayed false; the page says: {self.text[:2000]}"
            time.sleep(0.2)

    def wait_for(self, *words: str) -> None:
        """Wait until people can read all of these."""
        self.wait_until(f"{json.dumps(words)}.every(one => document.body.innerText.includes(one))")

    def click(self, words: str) -> None:
        """Click on the innermost thing that says exactly this."""
        path = json.dumps(f"//body//*[normalize-space(.)={words!r}]")
        find = f"document.evaluate({path}, document, null, XPathResult.ORDERED_NODE_SNAPSHOT_TYPE)"
        self.wait_until(f"{find}.snapshotLength > 0")
        self.tell(f"(found => found.snapshotItem(found.snapshotLength - 1).click())({find})")

    @property
    def text(self) -> str:
        """What people can read."""
        return str(self.tell("document.body.innerText"))

    def photograph(self, picture: Path) -> None:
        """Write what is in the window as a PNG, once it holds still."""
        give_up, before, now = time.monotonic() + STILL_WITHIN_S, "", self._window()
        while now != before and time.monotonic() < give_up:
            time.sleep(1)
            before, now = now, self._window()
        picture.write_bytes(base64.b64decode(now))

    def _window(self) -> str:
        return str(self._send("Page.captureScreenshot")["data"])

    def print(self) -> bytes:
        """Return the page as a PDF."""
        return base64.b64decode(self._send("Page.printToPDF")["data"])

    def _send(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            heard = json.loads(self._socket.recv(timeout=PATIENCE_S))
            if heard.get("id") == self._number:
                assert "error" not in heard, heard
                return dict(heard["result"])
            self._hear(heard["method"], heard["params"])

    def _hear(self, event: str, params: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            address = params["request"]["url"]
            own = address.startswith(("data:", "blob:")) or address == params["documentURL"]
            self.asked += [] if own else [address]
        elif event == "Runtime.exceptionThrown":
            self.errors.append(str(params["exceptionDetails"]))
        elif event == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(str(params["entry"]))
        elif event == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.errors.append(str(params["args"]))


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """Start Chromium with a new profile in a folder, and end it."""
    assert CHROMIUM is not None
    words = [CHROMIUM, *OPTIONS, f"--user-data-dir={profile}", "--remote-debugging-port=0"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port = _port(profile / "DevToolsActivePort")
        asked = Request(f"http://127.0.0.1:{port}/json/new?about:blank", method="PUT")
        with urlopen(asked) as answer:
            address = json.load(answer)["webSocketDebuggerUrl"]
        with connect(address, max_size=None) as socket:
            yield Page(socket)
    finally:
        process.terminate()
        process.wait()


def _port(told: Path) -> str:
    give_up = time.monotonic() + PATIENCE_S
    while not told.exists() or not told.read_text():
        assert time.monotonic() < give_up, "Chromium did not start"
        time.sleep(0.1)
    return told.read_text().splitlines()[0]
