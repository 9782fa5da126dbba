"""`chipcyte demo`, really: two servers, two runs, and what a visitor of the pages finds.

PAGE_PICTURES names a folder that keeps the pictures of the pages; those in docs/pictures are from there.
"""

import os
from pathlib import Path

import pytest

from storage import records
from storage.experiment import read_angles, read_cells
from storage.objects import open_store
from tasks.tracking import artifact_page, front_page
from tests.chromium import browser, needs_chromium
from tests.flows.services.support import read

pytestmark = [pytest.mark.services, pytest.mark.timeout(1200)]
READABLE = (1240, 1100)  # px
CLOSE_ASSISTANT = (
    """document.querySelector('[data-component-id="mlflow.assistant.chat_panel.close"]')?.click()"""
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def first(command_line, folder):
    result = command_line("demo", "--folder", folder, "--json")
    assert result.code == 0, result.err
    return result.found


def details_of(found, folder, stage):
    """What the record of a stage's artifact says beside its numbers."""
    kind = {"train": "model", "cluster": "clusters"}[stage]
    return records.read(open_store(str(folder / "store")), kind, found["stages"][stage]["key"]).details


def test_cells_and_angles_are_those_of_the_truth(first, folder):
    (recordings,) = folder.glob("recordings-*")
    cells = len(read_cells(recordings))
    assert first["truth_cells"] == cells
    assert first["counts"]["cells"] == pytest.approx(cells, rel=0.05)
    angles = read_angles(recordings)
    assert first["metrics"]["angles_deg"].keys() == angles.keys()
    for file, found in first["metrics"]["angles_deg"].items():
        assert found == pytest.approx(angles[file], abs=1), file


def test_populations_are_scored_against_the_truth(first):
    for name in ("ari", "accuracy", "silhouette"):
        assert -1 <= first["metrics"][name] <= 1
    conditions = {row["condition"] for row in first["composition"]}
    assert conditions == {"wild type", "BRAF"}


def test_the_pages_and_the_report_are_there(first):
    for page in ("prefect_url", "mlflow_url"):
        assert read(first[page], "text/html")[0] == 200
    assert "<html" in Path(first["stages"]["report"]["uri"]).read_text()[:200]


def test_prefect_links_to_mlflow_and_mlflow_back(first, folder):
    from mlflow import MlflowClient
    from prefect.client.orchestration import SyncPrefectClient

    details = details_of(first, folder, "train")
    tags = MlflowClient(tracking_uri=first["mlflow_url"]).get_run(details["run_id"]).data.tags
    assert tags["prefect.flow_run_url"] == first["prefect_url"]

    address, flow_run_id = first["prefect_url"].split("/runs/flow-run/")
    here = {"flow_runs": {"id": {"any_": [flow_run_id]}}}
    with SyncPrefectClient(f"{address}/api") as client:
        artifacts = client.request("POST", "/artifacts/filter", json=here).json()
        flow_run = client.read_flow_run(flow_run_id)
    assert flow_run.name.startswith("demo")
    assert flow_run.state_name == "Completed"
    links = {one["key"]: one["data"] for one in artifacts if one["key"]}
    assert details["run_url"] in links["mlflow-train"]
    assert {"result", "composition", "mlflow-cluster"} <= links.keys()


@pytest.fixture
def pictures(tmp_path):
    kept = Path(os.environ.get("PAGE_PICTURES", tmp_path))
    kept.mkdir(parents=True, exist_ok=True)
    return kept


@needs_chromium
def test_a_scientist_sees_in_prefect_what_happened(first, tmp_path, pictures):
    address = first["prefect_url"].split("/runs/")[0]
    with browser(tmp_path / "profile") as page:
        page.open(first["prefect_url"])
        page.wait_for("demo-1", "Completed", "segment wt-1_p1.ome.tif", "Finished in state Completed()")
        page.photograph(pictures / "prefect-run.png")
        page.click("Artifacts")
        page.wait_for("result", "composition", "report", "all that was made of it")
        page.photograph(pictures / "prefect-artifacts.png")
        for artifact, words in (
            ("labels", ["outlines of the cells"]),
            ("result", ["preprocess", "segment", "cluster", "1416"]),
            ("history", ["raw", "clean", "labels", "patches"]),
        ):
            page.open(f"{address}/artifacts/artifact/{_artifact(first, artifact)}")
            page.wait_for(*words)
            if artifact == "labels":
                page.wait_until("[...document.images].some(one => one.naturalWidth > 300)")
            page.photograph(pictures / f"prefect-{artifact}.png")
        assert [one for one in page.asked if not one.startswith(address)] == []


@needs_chromium
def test_a_scientist_reads_the_report_from_its_file(first, tmp_path, pictures):
    with browser(tmp_path / "profile") as page:
        page.open(Path(first["stages"]["report"]["uri"]).as_uri(), READABLE)
        page.wait_for("What was found", "The conditions differ most", "Pictures")
        page.photograph(pictures / "report.png")
        assert (page.asked, page.errors) == ([], [])


@needs_chromium
def test_a_scientist_sees_in_mlflow_how_good_it_is(first, folder, tmp_path, pictures):
    run_url = details_of(first, folder, "cluster")["run_url"]
    with browser(tmp_path / "profile") as page:
        page.open(run_url)
        page.wait_for("Model registry", "cluster", "silhouette", "davies_bouldin", "ari")
        page.tell(CLOSE_ASSISTANT)
        page.photograph(pictures / "mlflow-run.png")
        page.open(artifact_page(run_url, "report.html"))
        page.wait_until("document.querySelector('iframe') !== null")
        page.tell(CLOSE_ASSISTANT)
        page.photograph(pictures / "mlflow-report.png")
        address = run_url.split("/#/")[0]
        page.open(front_page(address))
        page.wait_for("Model registry", "demo")
        assert [one for one in page.asked if not one.startswith(address)] == []


def _artifact(first, name):
    """The newest artifact of the run whose key begins with a name."""
    from prefect.client.orchestration import SyncPrefectClient

    address, flow_run_id = first["prefect_url"].split("/runs/flow-run/")
    here = {"flow_runs": {"id": {"any_": [flow_run_id]}}}
    with SyncPrefectClient(f"{address}/api") as client:
        every = client.request("POST", "/artifacts/filter", json=here).json()
    return next(one["id"] for one in every if (one["key"] or "").startswith(name))


@pytest.mark.slow
def test_the_second_time_everything_is_reused(first, folder, command_line):
    again = command_line("demo", "--folder", folder, "--json")
    assert again.code == 0, again.err
    found = again.found
    assert found["reused"] is True
    assert all(stage["reused"] for stage in found["stages"].values())
    assert found["counts"]["units_done"] == 0
    assert (found["key"], found["counts"]["cells"]) == (first["key"], first["counts"]["cells"])

    people = command_line("demo", "--folder", folder)
    assert people.code == 0
    assert "Nothing had to be computed" in people.out
    for place in (first["stages"]["report"]["uri"], "BRAF", "wild type", found["mlflow_url"]):
        assert place in people.out
