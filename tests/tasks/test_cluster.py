import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from storage import records, tables
from tasks.cluster import cluster
from tasks.cluster_settings import ModelMixture
from tasks.dataset import held_out
from tasks.embed import embed
from tasks.finding import find_clusters
from tasks.kernels.appearance import held_out_probability
from tasks.models.embedding import most_probable_clusters
from tasks.models.vae import seeded_vae
from tasks.settings import ClusterSettings
from tasks.stage import folder
from tasks.train import read_model
from tests.support import QUICK, cells_of


def table_of(learned, made):
    return tables.read_table(learned.objects, folder(made.kind, made.key, "cells.zarr"))


# --- embed


def test_every_patch_has_a_latent_mean(learned):
    embedding = table_of(learned, learned.embedding)
    patches = sum(one.counts["patches"] for one in learned.patches)
    assert embedding.obsm["latent"].shape == (patches, QUICK.train.latent)
    assert np.isfinite(embedding.obsm["latent"]).all()
    names = [name for one in learned.patches for name in cells_of(learned.objects, one).index]
    assert embedding.obs_names.tolist() == names


def test_held_out_cells_are_those_the_training_held_out(learned):
    cells = table_of(learned, learned.embedding).obs
    expected = held_out(cells, QUICK.train)
    assert cells["held_out"].tolist() == expected.tolist()
    assert cells["held_out"].sum() == learned.model.counts["validation_cells"]


def test_a_vade_brings_its_own_clusters(learned, monkeypatch):
    """A network with a mixture prior stands in for the trained one: the way to the clusters counts."""
    shape = read_model(learned.objects, learned.model).config
    network = seeded_vae(replace(shape, clusters=3), seed=1).eval()
    monkeypatch.setattr("tasks.embed.read_model", lambda *_: network)
    settings = QUICK.embed.model_copy(update={"batch_size": 7})  # another key than the network without
    embedding = embed.fn(
        patches=learned.patches,
        model=learned.model,
        store=learned.objects.url,
        settings=settings,
        training=QUICK.train,
        resources=QUICK.resources,
    )
    table = table_of(learned, embedding)
    latent = np.asarray(table.obsm["latent"])
    np.testing.assert_allclose(np.asarray(table.obsm["responsibilities"]).sum(axis=1), 1, rtol=1e-5)
    found = find_clusters(
        latent,
        ~table.obs["held_out"].to_numpy(bool),
        ClusterSettings(method=ModelMixture()),
        table.obsm["responsibilities"],
    )
    expected = most_probable_clusters(network, latent)
    assert adjusted_rand_score(found.labels, expected) == 1


# --- cluster


def test_every_cell_has_a_cluster_and_a_place_on_the_map(learned):
    clusters = table_of(learned, learned.clusters)
    assert set(clusters.obs["cluster"]) <= set(range(QUICK.cluster.n_clusters))
    assert clusters.obs["cluster_probability"].between(0, 1).all()
    assert clusters.obsm["umap"].shape == (clusters.n_obs, 2)
    np.testing.assert_array_equal(
        clusters.obsm["latent"], table_of(learned, learned.embedding).obsm["latent"].astype(float)
    )


def test_every_cell_is_judged_by_what_never_saw_its_chip(learned):
    cells = table_of(learned, learned.clusters).obs
    clusters = np.arange(learned.clusters.counts["clusters"])
    own, probability = (cells[name].to_numpy()[:, None] for name in ("cluster", "cluster_probability"))
    memberships = (own == clusters) * probability
    conditions, chips = (cells[name].to_numpy(str) for name in ("condition", "chip"))
    expected = held_out_probability(memberships, conditions, chips)
    assert cells["condition_probability"].between(0, 1).all()
    np.testing.assert_array_equal(cells["condition_probability"], expected)


def test_the_composition_counts_every_cell_once_and_percents_sum_up(learned):
    rows = records.read(learned.objects, "clusters", learned.clusters.key).details["composition"]
    cells = table_of(learned, learned.clusters).obs
    for condition, count in cells["condition"].astype(str).value_counts().items():
        mine = [row for row in rows if row["condition"] == condition]
        assert sum(row["cells"] for row in mine) == count
        assert sum(row["percent"] for row in mine) == pytest.approx(100, abs=0.5)
    for row in rows:
        here = (cells["cluster"] == row["cluster"]) & (cells["condition"] == row["condition"])
        assert row["cells"] == here.sum()


def test_scores_with_and_without_truth_and_of_unseen_cells(learned):
    metrics = learned.clusters.metrics
    for name in ("silhouette", "davies_bouldin", "calinski_harabasz", "accuracy", "purity", "nmi", "ari"):
        assert name in metrics
        assert f"held_out_{name}" in metrics
    json.dumps(metrics, allow_nan=False)


def test_the_run_in_mlflow_names_the_training_and_the_flow(learned):
    from mlflow import MlflowClient

    details = records.read(learned.objects, "clusters", learned.clusters.key).details
    run = MlflowClient(tracking_uri=details["tracking_uri"]).get_run(details["run_id"])
    training = records.read(learned.objects, "model", learned.model.key).details["run_id"]
    assert run.data.tags["chipcyte.training_run"] == training
    assert run.data.tags["prefect.flow_run_url"] == learned.tracking.flow_run_url
    assert run.data.metrics["silhouette"] == pytest.approx(learned.clusters.metrics["silhouette"], abs=1e-5)


def test_more_clusters_than_the_cells_can_bear_are_fewer_and_said(learned, caplog):
    settings = ClusterSettings.model_validate(
        {"n_clusters": 150, "method": {"kind": "mixture", "covariance": "diag", "n_init": 1}}
    )
    made = cluster.fn(learned.embedding, learned.objects.url, settings, learned.tracking)
    cells = int((~table_of(learned, learned.embedding).obs["held_out"]).sum())
    assert made.counts["clusters"] == cells // 2
    assert f"{cells} cells cannot bear 150 clusters" in caplog.text


def test_the_same_seed_gives_the_same_clusters(learned, tmp_path):
    import dataclasses
    import shutil

    from storage.objects import open_store

    shutil.copytree(learned.objects.url, tmp_path / "copy")
    copy = open_store(str(tmp_path / "copy"))
    copy.delete([f"records/clusters/{learned.clusters.key}.json"])
    again = cluster.fn(learned.embedding, copy.url, QUICK.cluster, learned.tracking)
    first, second = (
        table_of(one, learned.clusters) for one in (learned, dataclasses.replace(learned, objects=copy))
    )
    assert not again.reused
    assert again.metrics == learned.clusters.metrics
    assert second.obs.equals(first.obs)
    np.testing.assert_array_equal(second.obsm["umap"], first.obsm["umap"])
