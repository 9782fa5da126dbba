import re
from pathlib import Path

import numpy as np
import pytest

from flows.summary import STAGES
from storage import records
from tasks.kernels.pictures import style
from tasks.report import Trail, report
from tasks.settings import ReportSettings
from tests.chromium import PHONE, WIDE, browser, needs_chromium
from tests.support import QUICK

MOST_BYTES = 15 * 10**6


def reported(learned, tracking, **settings):
    return report.fn(
        trails=[Trail(one.clean, one.labels, one.patches, one.sample) for one in learned.acquisitions],
        clusters=learned.clusters,
        model=learned.model,
        store=learned.objects.url,
        settings=ReportSettings(**settings),
        every=QUICK,
        tracking=tracking,
    )


@pytest.fixture(scope="module")
def made(learned):
    return reported(learned, learned.tracking)


@pytest.fixture(scope="module")
def html(learned, made):
    record = records.read(learned.objects, "report", made.key)
    return learned.objects.get(record.path).decode()


def test_the_page_loads_nothing_from_anywhere(html):
    loads = re.findall(r"""(?:src|srcset|poster|data)\s*=\s*["']([^"']+)""", html)
    assert loads
    assert all(one.startswith("data:image/png;base64,") for one in loads)
    for pattern in (
        r"<link\s[^>]*href=['\"](?!data:)",
        r"<script[^>]*\bsrc",
        r"@import",
        r"url\((?!['\"]?(?:data:|#))",
        r"<iframe",
    ):
        assert not re.search(pattern, html), pattern


def test_the_page_shows_what_was_asked_for(html):
    for title in (
        "before and after preprocessing",
        "nuclei found",
        "Patches of each cluster",
        "UMAP by cluster",
        "UMAP by condition",
        "How conditions spread over clusters",
        "probability of its condition of each nucleus",
        "Latent traversals",
    ):
        assert title in html
    assert html.count("before and after preprocessing</") >= QUICK.report.examples


def test_finds_come_first_and_pictures_before_tables(html):
    assert html.index("What was found</h2>") < html.index("Read with caution") < html.index("<img")
    assert html.index("<img") < html.index("<table")


@needs_chromium
def test_people_see_the_page_on_a_desk_on_a_phone_and_on_paper(html, tmp_path):
    (tmp_path / "report.html").write_text(html)
    with browser(tmp_path / "profile") as shown:
        for size in (WIDE, PHONE):
            shown.open((tmp_path / "report.html").as_uri(), size)
            shown.wait_for("cells were found in", "Read with caution", "Where this comes from")
            assert shown.tell("document.documentElement.scrollWidth") <= size[0]
            assert shown.tell("[...document.images].every(one => one.naturalWidth > 0)")
        paper = shown.print()
        assert (shown.errors, shown.asked) == ([], [])
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", paper)) <= 60
    assert len(html.encode()) < MOST_BYTES


def test_the_page_names_every_setting_version_and_key(learned, html):
    chain = records.lineage(learned.objects, records.read(learned.objects, "clusters", learned.clusters.key))
    assert len(chain) > 4 * 6
    for record in chain:
        assert record.key in html
    for package, version in chain[0].versions.items():
        assert package in html
        assert version in html
    for section, values in QUICK.model_dump(mode="json", include=set(STAGES)).items():
        for name in values:
            assert name in html, (section, name)


def test_the_page_says_why_each_recording_has_its_profile(learned, html):
    for one in learned.acquisitions:
        assert one.clean.metrics["why"] in html


def test_the_page_counts_cells_as_the_labels_do(learned, html):
    cells = sum(one.labels.counts["cells"] for one in learned.acquisitions)
    assert f"{cells:,} cells were found in 4 acquisitions" in html
    for one in learned.acquisitions:
        assert one.raw.name in html


def test_numbers_made_with_the_answer_in_hand_say_so(html):
    assert "with the truth in hand" in html
    assert "fitted to the cells learned from" in html


def test_the_page_is_in_mlflow_too(learned, made, html, tmp_path):
    from mlflow import MlflowClient

    details = records.read(learned.objects, "clusters", learned.clusters.key).details
    client = MlflowClient(tracking_uri=details["tracking_uri"])
    path = client.download_artifacts(details["run_id"], "report.html", str(tmp_path))
    assert Path(path).read_text(encoding="utf-8") == html
    assert learned.tracking.flow_run_url in html


def as_if_tracked(monkeypatch, **facts):
    """Let the records say something else of the clustering's run."""
    read = records.read

    def changed(objects, kind, key):
        record = read(objects, kind, key)
        return record.model_copy(update={"details": record.details | facts})

    monkeypatch.setattr(records, "read", changed)


@pytest.fixture
def blank(monkeypatch):
    """No picture is drawn, which takes most of a report's time."""
    dot = style.image_png(np.zeros((1, 1, 3), np.uint8))
    monkeypatch.setattr(style, "figure_png", lambda _: dot)


@pytest.mark.usefixtures("blank")
def test_the_page_goes_to_the_mlflow_of_today_wherever_it_listened_before(learned, monkeypatch):
    as_if_tracked(monkeypatch, tracking_uri="http://127.0.0.1:1")
    assert not reported(learned, learned.tracking, examples=1).reused


@pytest.mark.usefixtures("blank")
def test_an_mlflow_that_does_not_know_the_run_does_not_cost_the_page(learned, monkeypatch, caplog):
    as_if_tracked(monkeypatch, run_id="0123" * 8)
    made = reported(learned, learned.tracking, examples=1, patches_per_cluster=3)
    assert learned.objects.exists(records.read(learned.objects, "report", made.key).path)
    assert "the report is in the store but not in MLflow" in caplog.text
