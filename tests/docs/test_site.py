"""The site builds without a warning and without a network, and no page asks for anything from elsewhere."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from tests.support import ROOT

WITHOUT_NETWORK = "http://127.0.0.1:9"  # nobody listens there
LOADED = {"script": "src", "img": "src", "iframe": "src", "link": "href"}


class Loaded(HTMLParser):
    """Collects what a browser would fetch to show a page."""

    def __init__(self):
        super().__init__()
        self.places = []

    def handle_starttag(self, tag, attributes):
        facts = dict(attributes)
        if facts.get("rel") not in ("canonical", "next", "prev"):
            self.places.append(facts.get(LOADED.get(tag, ""), ""))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("material", reason="needs the extra chipcyte[docs]")
    out = tmp_path_factory.mktemp("site")
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), WITHOUT_NETWORK)
    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", out],
        cwd=ROOT,
        env={**os.environ, **proxies, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path[1:]])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return out


def test_every_page_is_there(site):
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    built = {path.relative_to(site) for path in site.rglob("*.html")}
    assert pages <= built
    for made in ("settings", "commands"):
        assert (site / "reference" / f"{made}.html").is_file()
    assert not list(site.rglob("*.py"))


def test_no_page_loads_anything_from_elsewhere(site):
    for page in site.rglob("*.html"):
        loaded = Loaded()
        loaded.feed(page.read_text())
        outside = [place for place in loaded.places if place and re.match(r"(https?:)?//", place)]
        assert not outside, page
    sheets = "".join(path.read_text() for path in site.rglob("*.css"))
    assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", sheets)
