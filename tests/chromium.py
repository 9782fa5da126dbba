"""A page as people see it: headless Chromium opens it, and tells its text, its console and what it asked for.

Chromium is started anew for each page, with its own command line alone, so the tests need no driver.
"""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))),
    None,
)
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
    "--hide-scrollbars",
    # Nothing but this machine answers: whoever asks elsewhere is found in the log, and nothing leaves.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
NOBODY = "not an origin"  # who asks for the page itself, and for what Chromium wants of its makers
WIDE, PHONE = (1280, 1600), (390, 844)

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed (apt install chromium)"
)


@dataclass(frozen=True)
class Seen:
    """What a page showed.

    Attributes
    ----------
    html
        The document once its scripts have run.
    console
        Messages of its console.
    asked
        Every address that the page (and not Chromium by itself) asked for.
    """

    html: str
    console: list[str]
    asked: list[str]

    @property
    def text(self) -> str:
        """The document's words, without its marks, scripts and styles."""
        bare = re.sub(r"(?s)<(script|style)\b.*?</\1>", " ", self.html)
        return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", bare))

    def outside(self, *ours: str) -> list[str]:
        """Addresses asked for that begin with none of `ours`."""
        return [one for one in self.asked if not one.startswith(("data:", "blob:", "file:", *ours))]


def open_page(address: str, folder: Path, *, size: tuple[int, int] = WIDE, wait_ms: int = 5000) -> Seen:
    """Open a page and let its scripts run for some (virtual) time."""
    log = folder / "net.json"
    ended = _chromium(
        folder,
        "--dump-dom",
        f"--window-size={size[0]},{size[1]}",
        f"--virtual-time-budget={wait_ms}",
        f"--log-net-log={log}",
        "--enable-logging=stderr",
        address,
    )
    console = re.findall(r":CONSOLE[^\]]*\] (.*)", ended.stderr)
    return Seen(ended.stdout, console, _asked(log))


def photograph(address: str, picture: Path, *, size: tuple[int, int] = WIDE, wait_ms: int = 5000) -> None:
    """Write what a page looks like as a PNG."""
    _chromium(
        picture.parent,
        f"--screenshot={picture}",
        f"--window-size={size[0]},{size[1]}",
        f"--virtual-time-budget={wait_ms}",
        address,
    )


def print_page(address: str, paper: Path) -> None:
    """Print a page as a PDF."""
    _chromium(paper.parent, f"--print-to-pdf={paper}", "--no-pdf-header-footer", address)


def _chromium(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    profile = folder / "profile"
    try:
        return subprocess.run(
            [CHROMIUM, *OPTIONS, f"--user-data-dir={profile}", *words],
            capture_output=True,
            text=True,
            check=True,
            timeout=240,
        )
    finally:
        shutil.rmtree(profile, ignore_errors=True)


def _asked(log: Path) -> list[str]:
    """Return the addresses of Chromium's own log of its network."""
    text = log.read_text()
    try:
        events = json.loads(text)["events"]
    except json.JSONDecodeError:  # Chromium ended before it closed the list
        events = json.loads(text.rstrip().rstrip(",") + "]}")["events"]
    params = [one.get("params", {}) for one in events]
    return sorted({one["url"] for one in params if one.get("initiator", NOBODY) != NOBODY})
