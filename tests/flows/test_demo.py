"""`chipcyte demo`, really: two servers, two runs, and what a visitor of the pages finds."""

from pathlib import Path

import pytest

from storage.experiment import read_angles, read_cells
from tests.flows.services.support import read

pytestmark = [pytest.mark.services, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def first(command_line, folder):
    result = command_line("demo", "--folder", folder, "--json")
    assert result.code == 0, result.err
    return result.found


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

    from storage import records
    from storage.objects import open_store

    details = records.read(
        open_store(str(folder / "store")), "model", first["stages"]["train"]["key"]
    ).details
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
