import itertools
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from flows import pipeline
from storage import records
from storage.errors import FormatError, InputError, MissingInputError
from tests.flows.test_cli import chipcyte, said
from tests.support import QUICK, cells_of, contents, write_tiff

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(scope="module")
def tracking_uri(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


def run(inputs, store, tracking_uri, settings=QUICK, name="tiny", **options):
    return pipeline.run(
        inputs=[str(one) for one in inputs],
        store=str(store),
        name=name,
        tracking_uri=tracking_uri,
        settings=settings,
        **options,
    )


def in_prefect(result):
    """The flow run of a result, its task runs, and all artifacts of both."""
    from prefect.client.orchestration import get_client

    flow_run_id = result.flow_run_url.rstrip("/").rsplit("/", 1)[1]
    here = {"id": {"any_": [flow_run_id]}}
    with get_client(sync_client=True) as client:
        flow_run = client.read_flow_run(flow_run_id)
        tasks, artifacts = (
            [SimpleNamespace(**one) for one in client.request("POST", path, json={"flow_runs": here}).json()]
            for path in ("/task_runs/filter", "/artifacts/filter")
        )
    return flow_run, tasks, artifacts


@pytest.fixture(scope="module")
def two_files(experiment, tmp_path_factory):
    """One chip of each condition."""
    folder = tmp_path_factory.mktemp("two") / "in"
    folder.mkdir()
    for name in ("wt-1_p1.ome.tif", "braf-1_p1.ome.tif", "samples.csv"):
        shutil.copy(experiment / name, folder)
    return folder


def test_a_run_as_far_as_asked_then_on_from_the_store(two_files, store, tracking_uri, monkeypatch):
    monkeypatch.setattr("tasks.announce.SECONDS_BETWEEN", 0.0)  # every step is shown, however short
    first = run([two_files], store.url, tracking_uri, until="ingest")
    assert list(first.stages) == ["ingest"]
    assert {one.kind for one in records.listing(store)} == {"raw", "sample"}
    wanted = next(one for one in first.stages["ingest"] if one.name.startswith("braf"))
    second = pipeline.process(
        store=store.url,
        name="tiny",
        tracking_uri=tracking_uri,
        settings=QUICK,
        acquisitions=[wanted.key[:9]],
        until="extract",
    )
    assert list(second.stages) == ["ingest", "preprocess", "segment", "extract"]
    (patches,) = second.stages["extract"]
    assert set(cells_of(store, patches)["condition"]) == {"BRAF"}
    assert second.stages["ingest"][0].reused

    flow_run, tasks, artifacts = in_prefect(second)
    assert flow_run.name == "tiny"
    assert sorted(one.name for one in tasks) == [
        f"{verb} braf-1_p1.ome.tif" for verb in ("extract", "preprocess", "segment")
    ]
    assert {one.state_name for one in tasks} == {"Completed"}
    assert {one.type for one in artifacts} == {"image", "progress", "table"}
    (table,) = [json.loads(one.data) for one in artifacts if one.key == "result"]
    assert [row["stage"] for row in table] == ["ingest", "preprocess", "segment", "extract"]
    assert table[2]["cells"] == second.stages["segment"][0].counts["cells"]
    progress = [one for one in artifacts if one.type == "progress"]
    assert {float(one.data) for one in progress} == {100.0}
    (history,) = [json.loads(one.data) for one in artifacts if one.key == f"history-{wanted.key[:12]}"]
    assert [row["what"] for row in history] == ["raw", "sample", "clean", "labels", "patches"]
    assert history[-1]["key"] == patches.key
    assert f"labels {second.stages['segment'][0].key[:12]}" in history[-1]["from"]
    assert json.loads(history[2]["settings"]) == records.read(store, "clean", history[2]["key"]).settings


def test_one_bad_file_does_not_stop_the_others(two_files, store, tracking_uri, tmp_path):
    shutil.copytree(two_files, tmp_path / "in")
    bad = write_tiff(
        tmp_path / "in" / "a-bad.tif", np.zeros((3, 64, 64), np.uint16), photometric="minisblack"
    )
    bad.write_bytes(bad.read_bytes()[:-9000])
    with pytest.raises(FormatError, match=r"a-bad\.tif"):
        run([tmp_path / "in"], store.url, tracking_uri, until="ingest")
    assert {one.name for one in records.listing(store, "raw")} == {"wt-1_p1.ome.tif", "braf-1_p1.ome.tif"}
    bad.unlink()
    again = run([tmp_path / "in"], store.url, tracking_uri, until="ingest")
    assert again.reused
    assert len(again.stages["ingest"]) == 2


def test_two_bad_files_are_both_told(store, tracking_uri, tmp_path, caplog):
    for name in ("a.tif", "b.tif"):
        path = write_tiff(tmp_path / "in" / name, np.zeros((3, 64, 64), np.uint16), photometric="minisblack")
        path.write_bytes(path.read_bytes()[:-9000])
    with pytest.raises(FormatError, match=r"a\.tif"):
        run([tmp_path / "in"], store.url, tracking_uri, until="ingest")
    assert "also failed" in caplog.text
    assert "b.tif" in caplog.text


def test_copies_of_one_file_are_taken_once(experiment, store, tracking_uri, tmp_path, caplog):
    for name in ("a.ome.tif", "b.ome.tif"):
        (tmp_path / "in").mkdir(exist_ok=True)
        shutil.copy(experiment / "wt-1_p1.ome.tif", tmp_path / "in" / name)
    result = run([tmp_path / "in"], store.url, tracking_uri, until="ingest")
    assert [one.name for one in result.stages["ingest"]] == ["a.ome.tif"]
    assert "b.ome.tif holds the same image as a.ome.tif; it is taken once" in caplog.text
    assert len(records.listing(store, "raw")) == 1


def test_the_last_samples_table_holds_also_after_going_back(two_files, store, tracking_uri, tmp_path):
    shutil.copytree(two_files, tmp_path / "in")
    table = tmp_path / "in" / "samples.csv"
    original = table.read_text()
    for text, expected in (
        (original, {"wild type", "BRAF"}),
        (original.replace("BRAF", "mutant"), {"wild type", "mutant"}),
        (original, {"wild type", "BRAF"}),
    ):
        table.write_text(text)
        run([tmp_path / "in"], store.url, tracking_uri, until="ingest")
        from tasks.samples import standing_samples

        assert {one.settings["condition"] for one in standing_samples(store).values()} == expected


def test_process_says_what_is_wrong_with_the_store_or_the_keys(carried, store, tracking_uri):
    def process(url, **options):
        pipeline.process(store=url, name="x", tracking_uri=tracking_uri, settings=QUICK, **options)

    with pytest.raises(MissingInputError, match="holds no acquisition"):
        process(store.url)
    objects, (one, *_) = carried
    with pytest.raises(InputError, match="expected keys of acquisitions, found clean"):
        process(objects.url, acquisitions=[one.clean.key])
    with pytest.raises(MissingInputError, match="zzz"):
        process(objects.url, acquisitions=["zzz"])


@pytest.fixture
def stub_servers(monkeypatch, tracking_uri):
    """The command line with the harness's Prefect and a database file in place of MLflow's server."""
    servers = SimpleNamespace(mlflow_url=tracking_uri, prefect_ui_url="http://127.0.0.1:1", notes=[])
    monkeypatch.setattr("flows.cli.stages.start_servers", lambda: servers)


def test_the_command_line_says_one_sentence_or_one_object(
    two_files, stub_servers, tmp_path, monkeypatch, tracking_uri
):
    monkeypatch.chdir(tmp_path)
    write_tiff(tmp_path / "deep.tif", np.zeros((64, 64), np.int32))
    (tmp_path / "samples.csv").write_text("file,condition\ndeep.tif,wild type\n")
    assert "found int32" in said("run", "deep.tif", "--set", "resources.compute=serial")
    words = ("ingest", two_files, "--set", "resources.compute=serial", "--store", "s", "--json")
    first, second = chipcyte(*words), chipcyte(*words)
    assert (first.exit_code, second.exit_code) == (0, 0), first.stderr
    found = [json.loads(one.stdout) for one in (first, second)]
    assert [one["reused"] for one in found] == [False, True]
    assert found[0]["counts"]["acquisitions"] == 2
    assert list(found[0]["stages"]) == ["ingest"]
    assert "ingest wt-1_p1.ome.tif: 2 of 2" in first.stderr
    assert "begins with 'zzz'" in said("segment", "--acquisition", "zzz", "--store", "s")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_way_and_once_more(experiment, store, tracking_uri, monkeypatch):
    monkeypatch.setattr("tasks.announce.SECONDS_BETWEEN", 0.0)  # every step is shown, however short
    first = run([experiment], store.url, tracking_uri)
    assert list(first.stages) == list(pipeline.STAGES)
    assert not first.reused
    _, tasks, artifacts = in_prefect(first)
    each = itertools.product(
        ("ingest", "preprocess", "segment", "extract"), ("wt-1", "wt-2", "braf-1", "braf-2")
    )
    names = [f"{verb} {place}_p1.ome.tif" for verb, place in each]
    wholes = [f"{verb} tiny" for verb in ("train", "embed", "cluster", "report")]
    assert sorted(one.name for one in tasks) == sorted([*names, *wholes])
    assert {one.type for one in artifacts} >= {"progress", "table"}
    assert {"mlflow-train", "mlflow-cluster", "result", "composition", "report"} <= {
        one.key for one in artifacts
    }
    found = first.as_json()
    assert found["counts"]["cells"] == sum(one.counts["cells"] for one in first.stages["segment"])
    assert found["metrics"]["ari"] == first.stages["cluster"][0].metrics["ari"]

    from mlflow import MlflowClient

    details = records.read(store, "model", first.stages["train"][0].key).details
    tags = MlflowClient(tracking_uri=tracking_uri).get_run(details["run_id"]).data.tags
    assert tags["prefect.flow_run_url"] == first.flow_run_url

    before = contents(store)
    monkeypatch.setattr("tasks.chunked._serially", lambda *_: pytest.fail("a unit was computed"))
    second = run([experiment], store.url, tracking_uri)
    assert second.reused
    assert second.as_json()["counts"]["units_done"] == 0
    assert second.as_json()["key"] == found["key"]
    assert second.as_json()["metrics"] == json.loads(json.dumps(found["metrics"]))
    assert contents(store) == before
