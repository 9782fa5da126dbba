import base64
import dataclasses
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from tasks.kernels import page, pictures

HOSTILE = "<script>alert('x')</script>\"&<img src=http://evil.example/a.png onerror=alert(1)>"
VOID = {"meta", "link", "img", "br", "col", "hr", "input"}


class Tree(HTMLParser):
    """Collects what a page holds, and fails on tags that do not nest."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.text = [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def tiny_png(shade=7):
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 6), shade, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def content(text="text", **changes):
    picture = page.Picture(f"{text} p", tiny_png(), f"{text} c", f"{text} alt")
    segment = {"flow": {"threshold": 0.123456789}, f"{text} key": text, "empty": ""}
    report = page.ReportContent(
        title=f"{text} title",
        data_set=f"{text} data",
        made_on="22 November 2025",
        sentences=(f"{text} sentence",),
        findings=(page.Finding("Cells", 12345), page.Finding(f"{text} ARI", None, f"{text} remark")),
        composition=page.Composition((f"{text} 0", "1"), (f"{text} wild type", "BRAF"), ((30, 1), (10, 0))),
        pictures=(page.PictureGroup(f"{text} group", (picture,), text),),
        acquisitions=(
            page.Acquisition(f"{text}.tif", text, text, None, 96, 1200, -7.1234, None, (text, "drift")),
            page.Acquisition("other.tif", frames=1),
        ),
        scores=(page.Score(f"{text} score", 0.41234, f"{text} held-out chip", text),),
        provenance=page.Provenance(
            settings={f"{text} segment": segment},
            versions={f"{text} torch": "2.14.1"},
            artifacts=(page.Artifact("clean", f"{text} c0ffee", (f"{text} parent",)),),
            links=(page.Link(f"{text} MLflow run", "http://127.0.0.1:5000/#/runs/1"),),
        ),
        cautions=(f"{text} caution",),
    )
    return dataclasses.replace(report, **changes)


def words(html):
    return " ".join(" ".join(Tree(html).text).split())


def test_the_parts_come_in_order():
    text = words(page.render_page(content()))
    parts = [
        "text title", "text sentence", "12 345", "text caution", "Cells of each cluster", "text group",
        "text.tif", "text score", "text MLflow run", "Settings of every stage", "Versions", "c0ffee",
    ]  # fmt: skip
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_hostile_text_stays_text():
    html = page.render_page(content(HOSTILE))
    tree = Tree(html)
    assert tree.all("script") == []
    assert len(tree.all("img")) == 1
    assert tree.all("img")[0]["alt"] == f"{HOSTILE} alt"
    assert not any(name.startswith("on") for _, attributes in tree.tags for name in attributes)
    assert {tag for tag, _ in tree.tags} == {tag for tag, _ in Tree(page.render_page(content())).tags}
    assert f"{HOSTILE}.tif" in words(html)


def test_a_stray_surrogate_can_be_written():
    html = page.render_page(content("name \udcff"))
    assert "name ?" in html.encode("utf-8").decode("utf-8")


def test_nothing_is_loaded():
    html = page.render_page(content())
    tree = Tree(html)
    loading = {"src", "srcset", "data", "poster", "background", "action"}
    loads = [
        value
        for tag, attributes in tree.tags
        for name, value in attributes.items()
        if name in loading or (name == "href" and tag != "a")
    ]
    assert len(loads) == 2
    assert all(value.startswith("data:") for value in loads)
    assert "url(" not in html
    assert "@import" not in html
    assert re.findall(r"https?://[^\"'<> ]+", html) == ["http://127.0.0.1:5000/#/runs/1"]
    policies = [meta["content"] for meta in tree.all("meta") if "http-equiv" in meta]
    assert "default-src 'none'" in policies[0]


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        " JavaScript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "//evil.example",
        "http://[",
        "",
    ],
)
def test_only_web_addresses_become_links(address):
    provenance = page.Provenance({}, {}, links=(page.Link("run", address),))
    tree = Tree(page.render_page(content(provenance=provenance)))
    assert all(link["href"].startswith("#") for link in tree.all("a"))


def test_pictures_are_inside_unchanged():
    image = Tree(page.render_page(content())).all("img")[0]
    assert base64.b64decode(image["src"].removeprefix("data:image/png;base64,")) == tiny_png()


def test_the_composition_counts_and_shares():
    text = words(page.render_page(content()))
    assert "text 0 30 75.0 % 1 100 % 31 1 10 25.0 % 0 0 % 10 All clusters 40 100 % 1 100 % 41" in text


def test_a_condition_without_cells_has_no_share():
    composition = page.Composition(("0",), ("a", "b"), ((3, 0),))
    assert "0 3 100 % 0 not known 3" in words(page.render_page(content(composition=composition)))


def test_missing_values_are_not_known_and_numbers_are_short():
    text = words(page.render_page(content()))
    assert f"text.tif text text not known 96 1 200 \N{MINUS SIGN}7.12 {'not known ' * 3}text, drift" in text
    assert f"other.tif {'not known ' * 3}1 {'not known ' * 5}none" in text
    assert "text score 0.412 text held-out chip" in text


def test_settings_are_exact_and_flat():
    text = words(page.render_page(content()))
    assert 'flow.threshold 0.123456789 text key text empty ""' in text


def test_the_caution_box_is_there_only_with_cautions():
    assert "Read with caution" in words(page.render_page(content()))
    assert "Read with caution" not in words(page.render_page(content(cautions=())))


def test_an_empty_report_is_a_page():
    report = page.ReportContent("t", "d", "now", (), (), page.Provenance({}, {}))
    tree = Tree(page.render_page(report))
    assert tree.all("figure") == []
    assert len(tree.all("h1")) == 1


def test_a_page_can_be_read_without_eyes():
    tree = Tree(page.render_page(content()))
    assert tree.all("html")[0]["lang"] == "en"
    assert {"header", "nav", "main", "footer"} <= {tag for tag, _ in tree.tags}
    assert all(image.get("alt") for image in tree.all("img"))
    assert all(heading.get("scope") for heading in tree.all("th"))
    assert len(tree.all("caption")) == len(tree.all("table"))
    identities = [attributes["id"] for _, attributes in tree.tags if "id" in attributes]
    assert len(identities) == len(set(identities))
    assert {link["href"][1:] for link in tree.all("a") if link["href"].startswith("#")} <= set(identities)


def test_equal_content_is_an_equal_page():
    assert page.render_page(content()) == page.render_page(content())


def test_what_is_no_png_is_refused():
    bad = (page.PictureGroup("g", (page.Picture("p", b"<svg onload=alert(1)>", "c", "a"),)),)
    with pytest.raises(ValueError, match="picture: expected the bytes of a PNG, found b'<svg onl'"):
        page.render_page(content(pictures=bad))


@pytest.mark.parametrize("cells", [((1, 2),), ((1,), (2,)), ((1, 2), (3,))])
def test_a_composition_must_fit_its_names(cells):
    with pytest.raises(ValueError, match=r"composition: expected clusters x conditions \(2, 2\), found"):
        page.render_page(content(composition=page.Composition(("0", "1"), ("a", "b"), cells)))


def test_a_full_report_stays_under_fifteen_megabytes():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 4000, (2048, 2048)).astype(np.uint16)  # noise is the worst that a PNG can meet
    labels = np.kron(np.arange(1, 1025, dtype=np.uint32).reshape(32, 32), np.ones((64, 64), np.uint32))
    example = (
        pictures.before_after(noise, noise, pixel_size_um=0.3, title="chip"),
        pictures.labels_over_image(noise, labels),
    )
    places, clusters = rng.normal(size=(50_000, 2)), np.arange(50_000) % 8
    scatter = pictures.scatter_2d(places, clusters, title="t", legend=[""] * 8)
    drawn = (
        *example * 3,
        pictures.patch_sheet(rng.random((128, 64, 64)), np.repeat(np.arange(8), 16), titles={}),
        *[scatter] * 3,
    )
    group = page.PictureGroup("all", tuple(page.Picture("p", png, "c", "a") for png in drawn))
    recordings = (page.Acquisition("one.tif", "chip", "p", "BRAF", 96, 5000, 1.0, 0.9),) * 2000
    html = page.render_page(content(pictures=(group,), acquisitions=recordings))
    assert len(html.encode("utf-8")) < 15_000_000
