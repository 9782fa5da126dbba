"""cluster: latent means to populations, their scores, and how the conditions spread over them."""

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE

from storage import records, tables
from storage.arrays import Digests
from storage.objects import Objects, open_store
from tasks import announce
from tasks.kernels.clustering import gaussian_mixture
from tasks.kernels.composition import composition
from tasks.kernels.projection import umap_2d
from tasks.kernels.scores import cluster_scores
from tasks.settings import ClusterSettings, question
from tasks.stage import Handle, Outcome, Question, folder, produce, references
from tasks.tracking import tracked_run
from tasks.train import Tracking

ALGORITHM = 1


@task(task_run_name="cluster {embedding.name}", cache_policy=NO_CACHE)
def cluster(embedding: Handle, store: str, settings: ClusterSettings, tracking: Tracking) -> Handle:
    """Fit a Gaussian mixture to the latent means and count each condition in each cluster."""
    objects = open_store(store)
    asked = Question("clusters", embedding.name, references([embedding]), question(settings), ALGORITHM)
    return produce(objects, asked, lambda key: _cluster(objects, key, embedding, settings, tracking))


def _cluster(
    objects: Objects, key: str, embedding: Handle, settings: ClusterSettings, tracking: Tracking
) -> Outcome:
    table = tables.read_table(objects, folder("embedding", embedding.key, "cells.zarr"))
    latent = np.asarray(table.obsm["latent"], dtype=np.float64)
    n_clusters = _fitting(settings.n_clusters, len(latent))
    mixture = gaussian_mixture(
        latent,
        n_clusters,
        seed=settings.seed,
        covariance=settings.covariance,
        n_init=settings.n_init,
    )
    umap = umap_2d(
        latent, seed=settings.seed, n_neighbors=settings.umap_neighbours, min_dist=settings.umap_min_dist
    )
    cells = table.obs.copy()
    cells["cluster"] = mixture.labels
    cells["cluster_probability"] = mixture.probabilities.max(axis=1)
    metrics = _scores(latent, cells, settings.seed) | {"bic": mixture.bic}
    shares = composition(mixture.labels, cells["condition"].astype(str).to_numpy())
    written: Digests = {}
    path = folder("clusters", key, "cells.zarr")
    tables.write_table(
        objects,
        path,
        names=list(cells.index),
        columns={name: cells[name].to_numpy() for name in cells.columns},
        matrices={"latent": latent, "umap": umap},
        written=written,
    )
    rows = shares.rows()
    run_facts = _track(objects, key, embedding, settings, metrics, rows, tracking)
    return Outcome(
        path=path,
        written=written,
        counts={"cells": len(cells), "clusters": n_clusters},
        metrics={name: _plain(value) for name, value in metrics.items()},
        details={"composition": rows, "converged": mixture.converged, **run_facts},
    )


def _fitting(wanted: int, cells: int) -> int:
    """Return how many clusters so few cells can bear: at least two cells each."""
    allowed = max(1, min(wanted, cells // 2))
    if allowed < wanted:
        announce.warn(f"{cells} cells cannot bear {wanted} clusters; {allowed} are fitted")
    return allowed


def _scores(latent: NDArray[np.float64], cells: pd.DataFrame, seed: int) -> dict[str, float]:
    """Score on all cells, and once more on those the model has not learned from."""
    truth = cells["population"].astype(str).to_numpy() if "population" in cells else None
    labels = cells["cluster"].to_numpy()
    scores = cluster_scores(latent, labels, truth, seed=seed)
    hold = cells["held_out"].to_numpy(bool)
    if 2 <= hold.sum() < len(hold):
        unseen = cluster_scores(latent[hold], labels[hold], None if truth is None else truth[hold], seed=seed)
        scores |= {f"held_out_{name}": value for name, value in unseen.items()}
    return scores


def _plain(value: float) -> float | None:
    """Return a number that JSON knows; None for one that is not defined."""
    return round(float(value), 6) if math.isfinite(value) else None


def _track(
    objects: Objects,
    key: str,
    embedding: Handle,
    settings: ClusterSettings,
    metrics: dict[str, float],
    rows: list[dict[str, Any]],
    tracking: Tracking,
) -> dict[str, str]:
    record = records.read(objects, "embedding", embedding.key)
    model = next(parent.key for parent in record.parents if parent.kind == "model")
    training = records.read(objects, "model", model).details
    tags = tracking.tags | {"chipcyte.key": key, "chipcyte.training_run": str(training["run_id"])}
    with tracked_run(tracking.experiment, f"cluster {key[:8]}", tracking_uri=tracking.uri, tags=tags) as run:
        run.params({"cluster": question(settings), "model": model})
        run.dataset(tracking.experiment, record.digest, objects.uri(record.path), record.counts)
        run.metrics(metrics)
        run.table("composition", rows)
    return {"run_id": run.id, "run_url": run.url, "tracking_uri": tracking.uri}
