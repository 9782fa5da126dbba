"""A lost MLflow: the work goes on, and what it was not told is told later, once."""

import shutil
from pathlib import Path

import pytest

from storage import layout
from storage.objects import open_store
from tasks.stage import folder
from tasks.tracking import Tracking, TrackingError, deliver, log_to_run, runs, tracked_run
from tasks.tracking.entries import Entry
from tasks.tracking.spool import Spool, waiting_runs
from tasks.train import read_history
from tests.flows.services.support import free_port
from tests.support import dies_at
from tests.tasks.mlflow_server import MlflowServer
from tests.tasks.test_train import LONGER, trained

MODEL = {"MLmodel": b"flavors: {}\n", "data/model.pt2": bytes(range(256))}


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(runs, "traced", lambda *_: MODEL)


def work(uri, store, experiment="deliveries"):
    """A small run that tells everything a run can tell."""
    with tracked_run(experiment, "small", tracking_uri=uri, tags={"a": "b"}, spool=store) as run:
        run.params({"train": {"latent": 3}})
        run.dataset("patches", "ab" * 20, "file:///nowhere", {"cells": 5})
        for epoch in (1, 2, 3):
            run.metrics({"loss": 1.0 / epoch, "odd": float("nan")}, step=epoch)
        run.tag("chip", "7")
        run.picture("p", b"png")
        run.table("t", [{"x": 1, "y": 0.5}])
        run.model(None, None, name="vae", registered_name=f"vae-{experiment}", tags={"key": "k"})
    return run


def told(client, experiment):
    """Everything that MLflow knows of the one run of an experiment."""
    (run,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    run_id, data = run.info.run_id, run.data
    history = [
        (name, one.step, str(one.value))
        for name in data.metrics
        for one in client.get_metric_history(run_id, name)
    ]
    versions = client.search_model_versions(f"name = 'vae-{experiment}'")
    models = [client.get_logged_model(one.model_id) for one in run.outputs.model_outputs]
    return {
        "status": run.info.status,
        "params": data.params,
        "tags": {name: value for name, value in data.tags.items() if name != "chipcyte.ticket"},
        "history": sorted(history),
        "datasets": [one.dataset.digest for one in run.inputs.dataset_inputs],
        "files": sorted(
            one.path for at in ("", "pictures", "tables") for one in client.list_artifacts(run_id, at)
        ),
        "versions": [(one.version, one.tags["key"]) for one in versions],
        "models": [str(one.status) for one in models],
    }


@pytest.fixture(scope="module")
def whole(uri, tmp_path_factory):
    """What MLflow knows of an undisturbed run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "traced", lambda *_: MODEL)
        made = work(uri, open_store(str(tmp_path_factory.mktemp("s") / "store"), create=True), "whole")
    assert not made.is_lost
    return told(made.client, "whole")


class Faulty:
    """Loses the server with the n-th thing told, before or after it was done."""

    def __init__(self, monkeypatch, n, *, after):
        self.n, self.after, self.calls = n, after, 0
        for name in ("tell", "open_run"):
            monkeypatch.setattr(runs, name, self.around(getattr(runs, name)))

    def around(self, function):
        from mlflow.exceptions import MlflowException

        def call(*arguments):
            self.calls += 1
            if self.calls == self.n and not self.after:
                raise MlflowException("lost before")
            found = function(*arguments)
            if self.calls == self.n:
                raise MlflowException("lost after")
            return found

        return call


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("n", [1, 2, 4, 9, 10, 11])
def test_wherever_the_server_is_lost_all_is_told_once(n, after, uri, store, whole, monkeypatch):
    experiment = f"lost-{n}-{after}"
    monkeypatch.setattr(runs, "is_reachable", lambda _uri: False)
    with monkeypatch.context() as faults:
        Faulty(faults, n, after=after)
        run = work(uri, store, experiment)
    assert run.is_lost
    done = deliver(store, uri)
    assert (done.waiting, done.problems, len(done.runs)) == (0, [], 1)
    assert told(run.client, experiment) == whole
    assert deliver(store, uri).entries == 0
    assert not list(store.names(layout.DELIVERIES))


@pytest.mark.parametrize("k", [1, 5, 10])
def test_a_delivery_that_is_killed_goes_on_and_tells_nothing_twice(k, uri, store, whole, monkeypatch):
    experiment = f"killed-{k}"
    monkeypatch.setattr(runs, "is_reachable", lambda _uri: False)
    with monkeypatch.context() as faults:
        Faulty(faults, 1, after=False)
        run = work(uri, store, experiment)
    with monkeypatch.context() as faults:
        dies_at(faults, "tasks.tracking.spool:Spool.gone", k)  # MLflow has taken it, the spool does not know
        with pytest.raises(KeyboardInterrupt):
            deliver(store, uri)
    assert deliver(store, uri).waiting == 0
    assert told(run.client, experiment) == whole


def test_a_server_that_comes_back_is_told_at_the_end_of_the_run(uri, store, whole, monkeypatch):
    with monkeypatch.context() as faults:
        Faulty(faults, 3, after=True)
        run = work(uri, store, "back")
    assert told(run.client, "back") == whole
    assert not waiting_runs(store)


def test_a_missing_server_is_no_error_and_what_is_logged_later_waits_too(uri, store, caplog):
    nowhere = f"http://127.0.0.1:{free_port()}"
    run = work(nowhere, store, "late")
    assert run.id.startswith("new-")
    log_to_run(nowhere, run.id, store).page("report", "<h1>late</h1>")
    done = deliver(store, nowhere)
    assert done.entries == 0
    assert "does not answer" in done.problems[0]
    assert done.waiting == len(Spool(store, run.id).names()) == 12
    assert deliver(store, uri).waiting == 0
    client = log_to_run(uri, run.id).client
    assert "report.html" in told(client, "late")["files"]
    with pytest.raises(TrackingError):
        log_to_run(nowhere, run.id)


def test_what_mlflow_refuses_waits_and_holds_up_no_other_run(uri, store, monkeypatch):
    Spool(store, "0123" * 8).add(Entry("tag", {"name": "a", "value": "b"}))
    Spool(store, "new-0").add(Entry("tag", {"name": "a", "value": "b"}))
    run = work(f"http://127.0.0.1:{free_port()}", store, "other")
    done = deliver(store, uri)
    assert done.runs == [run.id]
    assert done.waiting == 2
    assert any("0123" in problem for problem in done.problems)
    assert any("new-0" in problem and "MLFLOW_TRACKING_URI" in problem for problem in done.problems)


def test_entries_come_back_as_they_were():
    entry = Entry("model", {"a": [1, None], "b": {"c": "ü"}}, {"x/y.bin": bytes(range(256)), "z": b""})
    assert Entry.unpacked(entry.packed()) == entry


@pytest.mark.long
@pytest.mark.services
@pytest.mark.timeout(600)
def test_a_server_killed_in_a_training_changes_no_weight_and_hears_all_once(learned, tmp_path, monkeypatch):
    monkeypatch.undo()  # the network is traced as it is
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    server = MlflowServer(tmp_path / "home").start()
    tracking = Tracking(server.uri, "tiny")
    shutil.copytree(learned.objects.url, tmp_path / "undisturbed")
    shutil.copytree(learned.objects.url, tmp_path / "disturbed")
    undisturbed, store = open_store(str(tmp_path / "undisturbed")), open_store(str(tmp_path / "disturbed"))

    def heard(_label):
        return lambda epoch, _total: server.kill() if epoch == 2 else None

    try:
        with monkeypatch.context() as patch:
            patch.setattr("tasks.announce.listener", heard)
            made = trained(learned, store, LONGER, tracking)
        assert waiting_runs(store)
        trained(learned, undisturbed, LONGER)
        path = folder("model", made.key, "model.pt")
        assert store.get(path) == undisturbed.get(path)

        server.start()
        done = deliver(store, server.uri)
        assert (done.waiting, done.problems) == (0, [])
        assert deliver(store, server.uri).entries == 0
        client = log_to_run(server.uri, done.runs[0]).client
        (run,) = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
        assert run.info.status == "FINISHED"
        losses = client.get_metric_history(run.info.run_id, "train_total")
        expected = [one["train_total"] for one in read_history(store, made)]
        assert [one.value for one in sorted(losses, key=lambda one: one.step)] == expected
        (version,) = client.search_model_versions("name = 'chipcyte-vae-tiny'")
        assert version.tags["chipcyte.key"] == made.key
        shown = {Path(one.path).name for one in client.list_artifacts(run.info.run_id, "pictures")}
        assert shown >= {"losses.png", "reconstructions.png"}
    finally:
        server.kill()
