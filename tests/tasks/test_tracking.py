import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flows.environment import prepare_environment
from flows.services import down, up
from tasks.tracking import Run, TrackingError, artifact_page, front_page, log_to_run, tracked_run
from tasks.tracking.server import page
from tasks.tracking.texts import PARAM_LENGTH, columns_of, flattened, key, shortened
from tests.flows.services.support import free_port

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "environ", dict(os.environ))
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_RUN_ID"):
            os.environ.pop(name, None)
        prepare_environment(tmp_path_factory.mktemp("home"))
        yield


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("servers")
    yield up(home, free_port(), free_port()).mlflow_url
    down(home)


@pytest.fixture(scope="module", params=["file", pytest.param("server", marks=pytest.mark.services)])
def address(request: pytest.FixtureRequest) -> str:
    """A database file, and the real server over HTTP."""
    return str(request.getfixturevalue({"file": "uri", "server": "server"}[request.param]))


@pytest.fixture
def run(address: str) -> Iterator[Run]:
    with tracked_run("tests", "a run", tracking_uri=address, tags={"condition": "wild type"}) as run:
        yield run


def described(run: Run) -> Any:
    return run.client.get_run(run.id)


def downloaded(run: Run, path: str, folder: Path) -> bytes:
    return Path(run.client.download_artifacts(run.id, path, str(folder))).read_bytes()


# --- texts


def test_nested_settings_become_one_level() -> None:
    nested = {"a": {"b": 1, "c": {"d": None}}, "list": [1, "x"], "empty": {}, "flag": True}
    assert flattened(nested) == {
        "a.b": "1",
        "a.c.d": "None",
        "list": '[1, "x"]',
        "empty": "{}",
        "flag": "True",
    }


def test_long_texts_are_cut_and_say_so() -> None:
    assert shortened("y" * PARAM_LENGTH) == "y" * PARAM_LENGTH
    assert shortened("y" * 9999) == "y" * (PARAM_LENGTH - 1) + "…"


def test_keys_keep_what_mlflow_accepts() -> None:
    assert key("wild type/f1-score_0.5:x") == "wild type/f1-score_0.5:x"
    assert key("f1 (BRAF) @ 50%") == "f1 _BRAF_ _ 50_"


def test_rows_become_columns_of_plain_values() -> None:
    rows = [{"a": np.float32(1.5), "b": float("nan")}, {"c": Path("x"), "a": np.uint32(2)}]
    columns = columns_of(rows)
    assert columns == {"a": [1.5, 2], "b": ["nan", None], "c": [None, "x"]}
    assert type(columns["a"][0]) is float


# --- runs


def test_a_run_has_its_name_tags_and_end(address: str) -> None:
    with tracked_run("tests", "named", tracking_uri=address, tags={"condition": "BRAF"}) as run:
        run.tag("chip", "7")
        assert described(run).info.status == "RUNNING"
    info = described(run)
    assert (info.info.run_name, info.info.status) == ("named", "FINISHED")
    assert info.data.tags["condition"] == "BRAF"
    assert info.data.tags["chip"] == "7"


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_an_error_ends_the_run_and_goes_on(error: type[BaseException], status: str, address: str) -> None:
    with (
        pytest.raises(error, match="mine"),
        tracked_run("tests", "bad", tracking_uri=address, tags={}) as run,
    ):
        raise error("mine")
    assert described(run).info.status == status


def test_params_of_any_number_and_length(run: Run) -> None:
    run.params({"net": {f"p{number}": number for number in range(250)}, "long": "y" * 9999})
    params = described(run).data.params
    assert len(params) == 251
    assert params["net.p249"] == "249"
    assert len(params["long"]) == PARAM_LENGTH


def test_a_setting_that_changes_is_refused(address: str) -> None:
    def change() -> None:
        with tracked_run("tests", "x", tracking_uri=address, tags={}) as run:
            run.params({"lr": 1})
            run.params({"lr": 2})

    with pytest.raises(TrackingError, match="lr"):
        change()


def test_metrics_keep_steps_and_not_a_number(run: Run) -> None:
    run.metrics({"loss": 2.0, "later": None}, step=1)
    run.metrics({"loss": 1.0, "f1 (BRAF)": float("nan")}, step=2)
    history = run.client.get_metric_history(run.id, "loss")
    assert [(one.step, one.value) for one in history] == [(1, 2.0), (2, 1.0)]
    metrics = described(run).data.metrics
    assert np.isnan(metrics["f1 _BRAF_"])
    assert "later" not in metrics


def test_more_metrics_than_one_request_takes(run: Run) -> None:
    run.metrics({f"m{number}": float(number) for number in range(2345)})
    assert described(run).data.metrics["m2344"] == 2344.0


def test_files_come_back_as_they_were(run: Run, tmp_path: Path) -> None:
    png = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
    run.picture("montage", png)
    run.page("report", "<h1>Größe</h1>")
    run.table("clusters", [{"condition": "wild type", "share": 0.25}, {"condition": "BRAF"}])
    assert downloaded(run, "pictures/montage.png", tmp_path) == png
    assert downloaded(run, "report.html", tmp_path).decode() == "<h1>Größe</h1>"
    table = json.loads(downloaded(run, "tables/clusters.json", tmp_path))
    assert table == {"columns": ["condition", "share"], "data": [["wild type", 0.25], ["BRAF", None]]}


def test_a_dataset_is_its_digest_and_address(run: Run) -> None:
    run.dataset("patches", "ab" * 32, "file:///store/patches", {"cells": 12})
    (entry,) = described(run).inputs.dataset_inputs
    assert entry.dataset.digest == ("ab" * 32)[:36]
    assert json.loads(entry.dataset.source) == {"uri": "file:///store/patches", "digest": "ab" * 32}
    assert json.loads(entry.dataset.profile) == {"cells": 12}


def test_a_model_comes_back_without_pickle_and_takes_any_batch(run: Run, tmp_path: Path) -> None:
    torch.manual_seed(0)
    body = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Dropout(0.5))
    module = torch.nn.Sequential(
        body, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 2)
    )
    example = np.zeros((1, 1, 8, 8), np.float32)
    assert run.model(module, example, name="vae", registered_name=f"vae-{run.id}").version == 1
    reference = run.model(module, example, name="vae", registered_name=f"vae-{run.id}")
    assert reference.uri == f"models:/vae-{run.id}/2"
    assert module.training  # the caller's network is as it was

    entry = run.client.get_model_version(f"vae-{run.id}", "2")
    assert entry.run_id == run.id
    outputs = described(run).outputs.model_outputs
    logged = [run.client.get_logged_model(one.model_id) for one in outputs]
    assert [str(one.status) for one in logged] == ["READY", "READY"]
    links = [json.loads(one.tags["mlflow.modelVersions"]) for one in logged]
    assert sorted(link["version"] for (link,) in links) == ["1", "2"]

    from mlflow.artifacts import download_artifacts
    from mlflow.models import Model

    folder = Path(
        download_artifacts(entry.source, dst_path=str(tmp_path), tracking_uri=run.client.tracking_uri)
    )
    assert not [path for path in folder.rglob("*") if path.suffix in (".pkl", ".pickle", ".pth", ".pt")]
    traced = torch.export.load(folder / "data" / "model.pt2").module()
    batch = torch.rand(5, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(traced(batch), module.eval()(batch))
    (tensor,) = Model.load(str(folder)).signature.inputs.inputs
    assert tensor.shape == (-1, 1, 8, 8)


def test_a_run_can_be_reopened(address: str) -> None:
    with tracked_run("tests", "first", tracking_uri=address, tags={}) as run:
        pass
    again = log_to_run(address, run.id)
    again.metrics({"late": 1.0})
    assert again.url == run.url
    assert described(run).data.metrics == {"late": 1.0}
    assert described(run).info.status == "FINISHED"


def test_an_unknown_run_is_an_error(address: str) -> None:
    with pytest.raises(TrackingError, match="0123"):
        log_to_run(address, "0123" * 8)


def test_a_deleted_experiment_is_an_error_that_says_so(address: str) -> None:
    with tracked_run("doomed", "x", tracking_uri=address, tags={}) as run:
        pass
    run.client.delete_experiment(described(run).info.experiment_id)
    with (
        pytest.raises(TrackingError, match="deleted"),
        tracked_run("doomed", "y", tracking_uri=address, tags={}),
    ):
        pytest.fail("opened a run in a deleted experiment")


def test_a_missing_server_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TrackingError, match="chipcyte status"):
        log_to_run(f"http://127.0.0.1:{free_port()}", "a")


def test_threads_have_runs_of_their_own(address: str) -> None:
    def work(number: int) -> Run:
        with tracked_run("threads", f"run {number}", tracking_uri=address, tags={}) as run:
            run.metrics({"number": float(number)})
        return run

    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(work, range(8)))
    assert [described(run).data.metrics for run in runs] == [{"number": float(number)} for number in range(8)]
    assert len({described(run).info.experiment_id for run in runs}) == 1


def test_nothing_is_left_set(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)
    with tracked_run("tests", "x", tracking_uri=uri, tags={}) as run:
        run.page("a", "b")
        assert mlflow.active_run() is None
    assert dict(os.environ) == before
    assert list(tmp_path.iterdir()) == []


def test_importing_the_module_imports_neither_mlflow_nor_torch() -> None:
    code = "import sys, tasks.tracking; print({'mlflow', 'torch'} & set(sys.modules))"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "set()"


def test_addresses_lead_to_mlflows_pages_for_trainings():
    run = page("http://127.0.0.1:5000/", "3", "abc")
    view = "?workflowType=machine_learning"
    assert run == f"http://127.0.0.1:5000/#/experiments/3/runs/abc{view}"
    assert artifact_page(run, "report.html") == run.replace(view, f"/artifacts/report.html{view}")
    assert artifact_page("runs:/abc", "a.html") == "runs:/abc/artifacts/a.html"
    assert front_page("http://127.0.0.1:5000") == f"http://127.0.0.1:5000/#/experiments{view}"
    assert front_page("sqlite:///mlflow.db") == "sqlite:///mlflow.db"


@pytest.mark.services
def test_the_runs_page_opens(server: str) -> None:
    with tracked_run("pages", "x", tracking_uri=server, tags={}) as run:
        run.params({"a": 1})
    assert run.url.startswith(f"{server}/#/experiments/")
    assert run.url.partition("?")[0].endswith(f"/runs/{run.id}")
    with urllib.request.urlopen(run.url, timeout=20) as response:
        assert response.status == 200
