"""A sweep: its points, its runs one below the other, what is reused, and a point that fails."""

import json

import pytest
from pydantic import ValidationError
from sklearn.metrics import adjusted_rand_score

from storage import tables
from storage.errors import InputError
from tasks import sweep as sweeping
from tasks.cluster_settings import ClusterSettings
from tasks.dataset import held_out, read_cells, uses_of
from tasks.scoring import best_first, ranking_score
from tasks.settings import SweepSettings, TrainSettings, question
from tasks.stage import folder
from tasks.sweep import read_points, sweep, validation_scores
from tasks.sweep_points import Point, outermost, points, training_of
from tasks.tracking.server import make_client
from tests.tasks.test_metric_names import listed

CLUSTERS = ClusterSettings()


def test_every_combination_is_a_point_once():
    found = points(SweepSettings(latents=(2, 4), betas=(1, 10, 1), models=("conv", "vade"), seeds=(0, 1)))
    assert len(found) == len({one.name for one in found}) == 2 * 2 * 2 * 2


def test_the_ends_of_a_search_are_points():
    found = outermost(SweepSettings(latents=(4, 64, 8), betas=(1e-3, 1, 10), models=("conv",), trials=9))
    assert {(one.latent, one.beta) for one in found} == {(4, 1e-3), (4, 10), (64, 1e-3), (64, 10)}


def test_a_point_is_the_training_given_but_for_what_it_says():
    given = TrainSettings(epochs=4, seed=7, learning_rate=0.01)
    made = training_of(Point(3, 0.5, "vade", 1), given, CLUSTERS)
    assert (made.latent, made.beta, made.seed, made.learning_rate) == (3, 0.5, 1, 0.01)
    assert (made.prior.kind, made.prior.clusters, made.prior.pretrain_epochs) == ("mixture", 4, 2)
    assert training_of(Point(3, 1, "dense", 1), given, CLUSTERS).body.kind == "dense"
    assert training_of(Point(8, 1, "refined", 1), given, CLUSTERS).condition.kind == "refined"


def test_seeds_share_their_held_out_chips_and_a_known_training_its_key(learned):
    cells = read_cells(learned.objects, learned.patches)
    given = TrainSettings(seed=3)
    other = training_of(Point(16, 1, "given", 4), given, CLUSTERS)
    assert (held_out(cells, other) == held_out(cells, given)).all()
    assert question(training_of(Point(16, 1, "given", 3), given, CLUSTERS)) == question(given)
    assert "split_seed" not in question(given)


@pytest.mark.parametrize("wrong", [{"betas": (0.0,), "trials": 3}, {"latents": ()}, {"models": ("best",)}])
def test_wrong_points_are_an_error(wrong):
    with pytest.raises(ValidationError):
        SweepSettings(**wrong)


def test_a_point_that_cannot_be_trained_is_named():
    with pytest.raises(InputError, match="latent-1-beta-1-refined-seed-0"):
        training_of(Point(1, 1, "refined", 0), TrainSettings(), CLUSTERS)


def test_the_best_comes_first_whichever_way_the_score_points():
    rows = [{"score": 1.0}, {"score": None}, {"score": 2.0}]
    assert [row["score"] for row in best_first(rows, "ari")] == [2.0, 1.0, None]
    assert [row["score"] for row in best_first(rows, "davies_bouldin")] == [1.0, 2.0, None]


def test_the_score_is_of_validation_cells_where_there_are_any_and_never_of_test_cells():
    known = {"ari": 0.5, "held_out_ari": 0.4, "train_ari": 0.6, "validation_ari": 0.3, "silhouette": 0.1}
    assert ranking_score("auto", known) == ("validation_ari", 0.3)
    assert ranking_score("silhouette", known) == ("silhouette", 0.1)
    without = {name: value for name, value in known.items() if name != "validation_ari"}
    assert ranking_score("ari", without) == ("train_ari", 0.6)


def test_points_are_scored_on_validation_cells_alone(learned):
    cells = tables.read_table(learned.objects, folder("clusters", learned.clusters.key, "cells.zarr"))
    training = TrainSettings(validation_share=0.2, test_share=0.2)
    uses = uses_of(cells.obs, training)
    assert set(uses) == {"train", "validation", "test"}
    rows = uses == "validation"
    found = validation_scores(learned.objects, learned.clusters, training)
    truth = cells.obs["population"].astype(str)[rows]
    assert found["validation_ari"] == pytest.approx(
        adjusted_rand_score(truth, cells.obs["cluster"][rows]), abs=1e-6
    )
    assert all(listed().fullmatch(name) for name in found)
    assert validation_scores(learned.objects, learned.clusters, TrainSettings(validation_share=0)) == {}


def test_a_sweep_is_one_run_above_its_points(swept):
    rows, made = read_points(swept.objects, swept.made), swept.made
    assert [row["latent"] for row in rows][-1] == 5
    assert (rows[-1]["failed"], rows[-1]["score"]) == ("too hot", None)
    assert rows[0]["score"] >= rows[1]["score"]
    assert (made.counts["points"], made.counts["failed"], made.units_done) == (3, 1, 3)

    client = make_client(swept.tracking.uri)
    everywhere = [client.get_experiment_by_name("swept").experiment_id]
    (parent,) = client.search_runs(everywhere, f"tags.`chipcyte.key` = '{made.key}'")
    assert parent.data.metrics[made.metrics["by"]] == pytest.approx(rows[0]["score"])
    assert json.loads(parent.data.tags["chipcyte.best"])["latent"] == rows[0]["latent"]
    assert {one.path for one in client.list_artifacts(parent.info.run_id)} == {"pictures", "tables"}
    below = client.search_runs(everywhere, f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    by_latent = {run.data.params["point.latent"]: run for run in below}
    assert set(by_latent) == {"2", "3", "5"}
    assert by_latent["5"].data.tags["chipcyte.failed"] == "too hot"
    assert by_latent["2"].data.metrics["held_out_silhouette"] is not None
    inside = f"tags.`mlflow.parentRunId` = '{by_latent['2'].info.run_id}'"
    stages = [run.data.tags["chipcyte.stage"] for run in client.search_runs(everywhere, inside)]
    assert sorted(stages) == ["cluster", "train"]


def test_a_sweep_is_made_once_and_another_reuses_what_was_trained(swept, monkeypatch):
    def again(settings):
        return sweep.fn(
            patches=swept.patches, store=swept.objects.url, settings=settings, tracking=swept.tracking
        )

    assert again(swept.settings).reused
    monkeypatch.setattr(sweeping, "alarms_of", lambda *_: [])
    monkeypatch.setattr("tasks.train.train_vae", None)  # nothing is trained again
    narrower = swept.settings.model_copy(update={"sweep": SweepSettings(latents=(3, 2))})
    rows = read_points(swept.objects, again(narrower))
    assert {row["trained"] for row in rows} <= {
        row["trained"] for row in read_points(swept.objects, swept.made)
    }
