"""sweep: many trainings of the same patches, side by side; which latent size, beta and model serve best."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from storage import tables
from storage.arrays import digest
from storage.objects import Objects, open_store
from storage.progress import Done, Ledger
from tasks import announce
from tasks.chunked import run_units
from tasks.cluster import cluster
from tasks.dataset import uses_of
from tasks.embed import embed
from tasks.kernels.judging import sign
from tasks.kernels.pictures.parallel import Axis, parallel_coordinates
from tasks.kernels.score_intervals import Draws
from tasks.kernels.scores import cluster_scores
from tasks.models.training import TrainingDivergedError
from tasks.passing import may_pass
from tasks.scoring import best_first, chosen_score, ranking_score
from tasks.settings import Resources, Settings, TrainSettings, question
from tasks.stage import Handle, Outcome, Question, folder, produce, references
from tasks.sweep_points import Point, outermost, training_of
from tasks.sweep_search import asking
from tasks.sweep_settings import ScoreName
from tasks.tracking import Run, Tracking
from tasks.train import alarms_of, train

ALGORITHM = 2
SETTINGS = ("latent", "beta", "model", "seed")
LOSSES = ("validation_reconstruction", "validation_divergence")


@dataclass(frozen=True)
class Trial:
    """One point and all that its training needs; the unit that a worker takes."""

    point: Point
    store: str
    patches: tuple[Handle, ...]
    settings: Settings
    tracking: Tracking

    @property
    def name(self) -> str:
        """Name of the unit."""
        return self.point.name


@task(task_run_name="sweep {tracking.experiment}", cache_policy=NO_CACHE, retry_condition_fn=may_pass)
def sweep(*, patches: Sequence[Handle], store: str, settings: Settings, tracking: Tracking) -> Handle:
    """Train, embed and cluster at every point, several at once on Dask, below one MLflow run.

    A point that was trained before is not trained again; one that diverges is a row that says so.
    """
    objects = open_store(store)
    wanted: dict[str, Any] = {
        name: question(getattr(settings, name)) for name in ("sweep", "train", "embed", "cluster")
    }
    if settings.sweep.trials:
        wanted["at_once"] = settings.resources.workers  # what a search asks for next hangs on it
    asked = Question("sweep", tracking.experiment, references(patches), wanted, ALGORITHM)
    for point in outermost(settings.sweep):
        training_of(point, settings.train, settings.cluster)  # what cannot be trained is said before all else
    return produce(objects, asked, lambda key: _sweep(objects, key, patches, settings, tracking))


def _sweep(
    objects: Objects, key: str, patches: Sequence[Handle], settings: Settings, tracking: Tracking
) -> Outcome:
    with tracking.run(objects, "sweep", key) as run:
        tried, computed = _tried(objects, key, patches, settings, replace(tracking, parent=run.id))
        run.params({"sweep": question(settings.sweep), "points": len(tried)})
        score, rows = _ranked(list(tried.values()), settings.sweep.by)
        picture = _picture(rows, score)
        _log(run, rows, picture, score)
    files = {"points.json": json.dumps(rows, indent=1).encode(), "parallel.png": picture}
    for name, content in files.items():
        objects.put(folder("sweep", key, name), content)
    return Outcome(
        path=folder("sweep", key, "points.json"),
        written={folder("sweep", key, name): digest(content) for name, content in files.items()},
        counts={"points": len(rows), "failed": sum(bool(row["failed"]) for row in rows)},
        metrics={"best": rows[0], "by": score},
        details={"run_id": run.id, "run_url": run.url, "tracking_uri": tracking.uri},
        units_done=computed,
        units_reused=len(tried) - computed,
    )


def _tried(
    objects: Objects, key: str, patches: Sequence[Handle], settings: Settings, tracking: Tracking
) -> tuple[dict[Point, dict[str, Any]], int]:
    """Try the points asked for, a batch after another; return what each gave, and how many were tried now.

    A sweep that was killed asks for the same points again, of which those that are done are not done again.
    """
    source, alone = asking(settings.sweep, settings.resources.workers), _alone(settings)
    found: dict[Point, dict[str, Any]] = {}
    tell, computed = announce.listener("sweep"), 0
    while some := source.ask():
        new = [point for point in some if point not in found]
        units = run_units(
            try_point,
            [Trial(point, objects.url, tuple(patches), alone, tracking) for point in new],
            ledger=Ledger(objects, "sweep", key, "points"),
            resources=settings.resources,
            listener=lambda done, _: tell(len(found) + done, source.total),
            gpu=True,
        )
        found.update(zip(new, units.results, strict=True))
        computed += units.computed
        score, rows = _ranked(list(found.values()), settings.sweep.by)
        source.tell({_point_of(row): row["score"] and sign(score) * row["score"] for row in rows})
    return found, computed


def _alone(settings: Settings) -> Settings:
    """Return what one worker has: a point trains in one process, without a cluster of its own."""
    share = settings.resources.memory_bytes // max(1, settings.resources.workers)
    least = 2**28  # what Resources allows
    alone = Resources(compute="serial", workers=1, memory_bytes=max(share, least))
    return settings.model_copy(update={"resources": alone})


def try_point(trial: Trial) -> Done:
    """Train, embed and cluster at one point, below a run of its own that holds settings and scores."""
    objects, settings = open_store(trial.store), trial.settings
    training = training_of(trial.point, settings.train, settings.cluster)
    with trial.tracking.run(objects, "point", trial.name) as run:
        run.params({"point": trial.point.facts(), "train": question(training)})
        below = replace(trial.tracking, parent=run.id)
        try:
            found = _found(objects, trial, training, below)
        except TrainingDivergedError as error:
            run.tag("chipcyte.failed", str(error))
            found = {"metrics": {}, "failed": str(error), "trained": "", "clustered": ""}
        run.metrics(found["metrics"])
    return Done(trial.point.facts() | found, {})


def _found(objects: Objects, trial: Trial, training: Any, tracking: Tracking) -> dict[str, Any]:
    settings, store, patches = trial.settings, trial.store, trial.patches
    model = train.fn(
        patches=patches, store=store, settings=training, resources=settings.resources, tracking=tracking
    )
    embedding = embed.fn(
        patches=patches,
        model=model,
        store=store,
        settings=settings.embed,
        training=training,
        resources=settings.resources,
    )
    clusters = cluster.fn(embedding, store, settings.cluster, tracking)
    losses = {name: value for name, value in model.metrics.items() if name in LOSSES}
    return {
        "metrics": losses | clusters.metrics | validation_scores(objects, clusters, training),
        "failed": "; ".join(alarms_of(objects, model)),
        "trained": model.key,
        "clustered": clusters.key,
    }


def validation_scores(objects: Objects, clusters: Handle, training: TrainSettings) -> dict[str, float]:
    """Score a clustering in the latent space on the validation cells, by which points may be chosen."""
    table = tables.read_table(objects, folder("clusters", clusters.key, "cells.zarr"))
    rows = uses_of(table.obs, training) == "validation"
    if rows.sum() < 2:
        return {}
    cells = table.obs[rows]
    found = cluster_scores(
        np.asarray(table.obsm["latent"], np.float64)[rows],
        cells["cluster"].to_numpy(),
        cells["population"].astype(str).to_numpy() if "population" in cells else None,
        draws=Draws(count=0),
    )
    return {f"validation_{name}": round(value, 6) for name, value in found.items() if math.isfinite(value)}


def _ranked(results: list[dict[str, Any]], by: ScoreName) -> tuple[str, list[dict[str, Any]]]:
    """Return the score's name and the rows, the best first; one that failed has no score."""
    known: dict[str, Any] = next((one["metrics"] for one in results if one["metrics"]), {})
    name, _ = ranking_score(by, known)
    rows = [
        {setting: one[setting] for setting in SETTINGS}
        | {"score": None if one["failed"] else one["metrics"].get(name)}
        | {loss: one["metrics"].get(loss) for loss in LOSSES}
        | {what: one[what] for what in ("trained", "clustered", "failed")}
        for one in results
    ]
    return name, best_first(rows, chosen_score(by, known))


def _point_of(row: dict[str, Any]) -> Point:
    return Point(*(row[name] for name in SETTINGS))


def _picture(rows: list[dict[str, Any]], score: str) -> bytes:
    names = [_point_of(row).name for row in rows]
    return parallel_coordinates(sweep_axes(rows, score), names, title="Points of the sweep, the best first")


def sweep_axes(rows: list[dict[str, Any]], score: str) -> list[Axis]:
    """Return the settings that vary and the numbers, for a chart."""
    varying = [name for name in SETTINGS if len({row[name] for row in rows}) > 1]
    axes = [Axis(name, [row[name] for row in rows]) for name in (*varying, *LOSSES)]
    return [*axes, Axis(score, [row["score"] for row in rows])]


def _log(run: Run, rows: list[dict[str, Any]], picture: bytes, score: str) -> None:
    run.table("points", rows)
    run.picture("parallel", picture)
    run.tag("chipcyte.ranked_by", score)
    run.metrics({score: rows[0]["score"]})
    run.tag("chipcyte.best", json.dumps({name: rows[0][name] for name in (*SETTINGS, "trained")}))


def read_points(objects: Objects, made: Handle) -> list[dict[str, Any]]:
    """Return the rows of a sweep, the best first."""
    rows: list[dict[str, Any]] = json.loads(objects.get(folder("sweep", made.key, "points.json")))
    return rows
