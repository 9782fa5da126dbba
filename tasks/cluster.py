"""cluster: latent means to populations, their scores, and whether the conditions differ in them."""

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
from tasks.finding import FoundClusters, find_clusters
from tasks.kernels.appearance import held_out_probability
from tasks.kernels.comparison import compare_conditions
from tasks.kernels.composition import composition
from tasks.kernels.pictures import scatter_2d
from tasks.kernels.projection import umap_2d
from tasks.kernels.score_intervals import Draws
from tasks.kernels.scores import cluster_scores
from tasks.passing import may_pass
from tasks.settings import ClusterSettings, question
from tasks.stage import Handle, Outcome, Question, folder, produce, references
from tasks.tracking import Tracking

ALGORITHM = 4
FEWEST_DRAWN = 6  # chips; with fewer, drawing them anew says nothing
Rows = list[dict[str, Any]]


@task(task_run_name="cluster {embedding.name}", cache_policy=NO_CACHE, retry_condition_fn=may_pass)
def cluster(embedding: Handle, store: str, settings: ClusterSettings, tracking: Tracking) -> Handle:
    """Find clusters of latent means, score them, and compare the conditions in each."""
    objects = open_store(store)
    asked = Question("clusters", embedding.name, references([embedding]), question(settings), ALGORITHM)
    return produce(objects, asked, lambda key: _cluster(objects, key, embedding, settings, tracking))


def _cluster(
    objects: Objects, key: str, embedding: Handle, settings: ClusterSettings, tracking: Tracking
) -> Outcome:
    table = tables.read_table(objects, folder("embedding", embedding.key, "cells.zarr"))
    cells, latent = table.obs.copy(), np.asarray(table.obsm["latent"], dtype=np.float64)
    found = find_clusters(
        latent, ~cells["held_out"].to_numpy(bool), settings, table.obsm.get("responsibilities")
    )
    cells["cluster"], cells["cluster_probability"] = found.labels, found.probability
    cells["condition_probability"] = held_out_probability(
        found.memberships, cells["condition"].astype(str).to_numpy(), unit_of_cells(cells)
    )
    umap = umap_2d(
        latent, seed=settings.seed, n_neighbors=settings.umap_neighbours, min_dist=settings.umap_min_dist
    )
    spaces: dict[str, NDArray[Any]] = {"latent": latent, "umap": umap}
    if found.points is not None:
        spaces["clustered"] = found.points
    written: Digests = {}
    path = folder("clusters", key, "cells.zarr")
    columns = {name: cells[name].to_numpy() for name in cells.columns}
    tables.write_table(
        objects, path, names=list(cells.index), columns=columns, matrices=spaces, written=written
    )
    metrics = scores_of_parts(latent, cells, found, settings.seed) | {"bic": found.bic}
    rows = {"composition": _composition(cells), "comparison": compared(cells, settings)}
    rows |= {"choice": [one.row() for one in found.candidates]} if found.candidates else {}
    run_facts = _track(objects, key, embedding, settings, metrics, rows, (cells, umap), tracking)
    return Outcome(
        path=path,
        written=written,
        counts={"cells": len(cells), "clusters": found.count},
        metrics={name: _plain(value) for name, value in metrics.items()},
        details={**rows, "converged": found.converged, "interval_unit": drawn_unit(cells), **run_facts},
    )


def scores_of_parts(
    latent: NDArray[np.float64], cells: pd.DataFrame, found: FoundClusters, seed: int
) -> dict[str, float]:
    """Score all cells, those the network learned from (`train_`) and the others (`held_out_`), each apart.

    Scores of the space that was clustered, where it is not the latent one, are named `clustered_`.
    """
    hold = cells["held_out"].to_numpy(bool)
    parts = {"": np.ones(len(cells), dtype=bool)}
    if 2 <= hold.sum() < len(hold):
        parts |= {"train_": ~hold, "held_out_": hold}
    truth = cells["population"].astype(str).to_numpy() if "population" in cells else None
    units = unit_of_cells(cells) if drawn_unit(cells) == "chip" else None
    scores: dict[str, float] = {}
    for part, rows in parts.items():
        labels, unit, draws = found.labels[rows], None if units is None else units[rows], Draws(seed=seed)
        known = None if truth is None else truth[rows]
        here = cluster_scores(latent[rows], labels, known, units=unit, draws=draws)
        if found.points is not None:
            there = cluster_scores(found.points[rows], labels, units=unit, draws=draws)
            here |= {f"clustered_{name}": value for name, value in there.items() if name != "noise_share"}
        scores |= {f"{part}{name}": value for name, value in here.items()}
    return scores


def unit_of_cells(cells: pd.DataFrame) -> NDArray[Any]:
    """Return what was repeated: the chip of each cell, or its acquisition where no chip is known."""
    chips, acquisitions = (cells[name].astype(str).to_numpy() for name in ("chip", "acquisition"))
    return np.where(chips == "", acquisitions, chips)


def compared(cells: pd.DataFrame, settings: ClusterSettings) -> Rows:
    """Return how the conditions differ in each cluster, chips being the unit."""
    found = compare_conditions(
        cells["cluster"].to_numpy(),
        cells["condition"].astype(str).to_numpy(),
        unit_of_cells(cells),
        alpha=settings.alpha,
        seed=settings.seed,
    )
    return [one.row() for one in found]


def _composition(cells: pd.DataFrame) -> Rows:
    counted = composition(cells["cluster"].to_numpy(), cells["condition"].astype(str).to_numpy())
    return [dict(row) for row in counted.rows()]


def drawn_unit(cells: pd.DataFrame) -> str:
    """Return what intervals of scores draw anew."""
    return "chip" if len(np.unique(unit_of_cells(cells))) >= FEWEST_DRAWN else "cell"


def _colourings(cells: pd.DataFrame) -> dict[str, tuple[NDArray[np.int64], list[str]]]:
    """Return by which columns the map is coloured: for each a number a cell, and the names of the numbers."""
    names = [name for name in ("cluster", "condition", "chip", "population") if name in cells]
    found = {name: pd.factorize(cells[name].astype(str), sort=True) for name in names}
    return {
        name: (codes.astype(np.int64), [str(one) for one in known]) for name, (codes, known) in found.items()
    }


def _plain(value: float) -> float | None:
    """Return a number that JSON knows; None for one that is not defined."""
    return round(float(value), 6) if math.isfinite(value) else None


def _track(
    objects: Objects,
    key: str,
    embedding: Handle,
    settings: ClusterSettings,
    metrics: dict[str, float],
    rows: dict[str, Rows],
    shown: tuple[pd.DataFrame, NDArray[np.float32]],
    tracking: Tracking,
) -> dict[str, str]:
    cells, umap = shown
    record = records.read(objects, "embedding", embedding.key)
    model = next(parent.key for parent in record.parents if parent.kind == "model")
    training = records.read(objects, "model", model)
    of = {"chipcyte.training_run": str(training.details["run_id"])}
    with tracking.run(objects, "cluster", key, **of) as run:
        run.params({"cluster": question(settings), "train": training.settings, "model": model})
        run.dataset(tracking.experiment, record.digest, objects.uri(record.path), record.counts)
        run.metrics(metrics)
        for name, found in rows.items():
            if found:
                run.table(name, found)
        for name, codes in _colourings(cells).items():
            run.picture(
                f"umap-by-{name}", scatter_2d(umap, codes[0], title=f"UMAP by {name}", legend=codes[1])
            )
    return {"run_id": run.id, "run_url": run.url, "tracking_uri": tracking.uri}
