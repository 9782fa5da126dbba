import json
import shutil

import numpy as np
import pytest

from storage import records
from storage.objects import open_store
from tasks.dataset import held_out, patch_source, read_cells
from tasks.settings import TrainSettings
from tasks.stage import folder
from tasks.tracking import Run
from tasks.tracking.models import ModelReference
from tasks.train import Tracking, loss_panels, read_history, read_model, registry_name, train
from tasks.train_settings import ConvBody
from tests.support import QUICK, SERIAL

LONGER = TrainSettings(epochs=4, latent=3, body=ConvBody(widths=(8,)), batch_size=16)


def mlflow_run(learned):
    details = records.read(learned.objects, "model", learned.model.key).details
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=details["tracking_uri"], registry_uri=details["tracking_uri"])
    return client, client.get_run(details["run_id"]), details


def trained(learned, store, settings, tracking=None):
    return train.fn(
        patches=learned.patches,
        store=store.url,
        settings=settings,
        resources=SERIAL,
        tracking=tracking or learned.tracking,
    )


def weights(store, model):
    return store.get(folder("model", model.key, "model.pt"))


@pytest.fixture
def copy(learned, tmp_path):
    shutil.copytree(learned.objects.url, tmp_path / "copy")
    return open_store(str(tmp_path / "copy"))


@pytest.fixture
def no_registry(monkeypatch):
    """Logging a traced network takes seconds and is tested on its own."""
    monkeypatch.setattr(Run, "model", lambda *_args, **_options: ModelReference("models:/x/1", 1))


def test_the_run_remembers_settings_data_losses_pictures_and_the_way_back(learned):
    client, run, _ = mlflow_run(learned)
    assert run.info.status == "FINISHED"
    assert run.data.params["train.epochs"] == "2"
    assert run.data.params["data.acquisitions"] == "4"
    assert len(client.get_metric_history(run.info.run_id, "train_total")) == 2
    assert {file.path for file in client.list_artifacts(run.info.run_id, "pictures")} == {
        "pictures/reconstructions.png",
        "pictures/traversals.png",
        "pictures/losses.png",
    }
    (data,) = run.inputs.dataset_inputs
    assert data.dataset.digest
    assert run.data.tags["chipcyte.key"] == learned.model.key
    assert learned.tracking.flow_run_url in run.data.tags["mlflow.note.content"]
    assert run.data.tags["prefect.flow_run_url"] == learned.tracking.flow_run_url


def test_the_model_is_registered_and_says_the_same_as_the_one_in_the_store(learned):
    client, run, details = mlflow_run(learned)
    assert details["registered_name"] == "chipcyte-vae-tiny"
    version = client.get_model_version("chipcyte-vae-tiny", str(details["model_version"]))
    assert version.run_id == run.info.run_id


def test_the_counts_are_those_of_the_split(learned):
    cells = read_cells(learned.objects, learned.patches)
    hold = held_out(cells, QUICK.train)
    assert learned.model.counts["validation_cells"] == hold.sum() > 0
    assert learned.model.counts["train_cells"] == (~hold).sum()
    assert set(cells["chip"][hold].astype(str)).isdisjoint(cells["chip"][~hold].astype(str))


def test_the_model_and_its_history_are_read_from_the_store(learned):
    model = read_model(learned.objects, learned.model)
    assert sum(one.numel() for one in model.parameters()) > 0
    history = read_history(learned.objects, learned.model)
    assert [one["epoch"] for one in history] == [1, 2]
    panels = loss_panels(history)
    assert panels["total"]["train"] == [one["train_total"] for one in history]
    assert len(panels["total"]["validation"]) == 2


def test_losses_that_are_not_known_are_no_lines():
    panels = loss_panels([{"epoch": 1.0, "train_total": 3.0, "validation_total": float("nan")}])
    assert panels == {"total": {"train": [3.0]}, "reconstruction": {}, "divergence": {}}


@pytest.mark.parametrize("dies_after", [1, pytest.param(3, marks=pytest.mark.long)])
def test_a_killed_training_goes_on_and_ends_with_the_same_weights(
    dies_after, learned, copy, no_registry, monkeypatch, tmp_path
):
    shutil.copytree(copy.url, tmp_path / "undisturbed")
    undisturbed = open_store(str(tmp_path / "undisturbed"))
    whole = trained(learned, undisturbed, LONGER)

    epochs = []

    def heard(_label):
        def tell(epoch, _total):
            epochs.append(epoch)
            if len(epochs) == dies_after + 1:
                raise KeyboardInterrupt

        return tell

    monkeypatch.setattr("tasks.announce.listener", heard)
    with pytest.raises(KeyboardInterrupt):
        trained(learned, copy, LONGER)
    assert records.find(copy, "model", whole.key) is None
    resumed = trained(learned, copy, LONGER)
    assert resumed.key == whole.key
    assert weights(copy, resumed) == weights(undisturbed, whole)
    assert read_history(copy, resumed) == read_history(undisturbed, whole)
    assert epochs[-1] == 4
    assert len(epochs) <= 4 + 2  # at most the epoch that was under way is done twice


def test_another_seed_gives_other_weights_and_the_same_question_none(learned, copy, no_registry):
    again = trained(learned, copy, QUICK.train)
    assert (again.reused, again.key) == (True, learned.model.key)
    other = trained(learned, copy, QUICK.train.model_copy(update={"seed": 1}))
    assert other.key != learned.model.key
    assert weights(copy, other) != weights(copy, learned.model)


def test_without_a_hold_out_there_is_no_validation(learned, copy, no_registry):
    made = trained(learned, copy, LONGER.model_copy(update={"validation_share": 0.0, "epochs": 1}))
    assert made.counts["validation_cells"] == 0
    assert not [name for name in made.metrics if name.startswith("validation")]
    json.dumps(made.metrics, allow_nan=False)


@pytest.mark.parametrize("name", ["a/b", "7:8", "plain"])
def test_an_experiment_may_bear_any_name(name):
    registered = registry_name(Tracking("x", name))
    assert not set(registered) & set("/:")


def test_without_a_flow_run_nothing_is_linked():
    assert set(Tracking("x", "y").tags.values()) == {""}


def test_the_patches_are_what_the_network_is_shown(learned):
    ncyx = patch_source(learned.objects, learned.patches, SERIAL)
    assert ncyx.shape[1:] == (1, 32, 32)
    assert np.isfinite(ncyx).all()
