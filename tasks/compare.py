"""compare: trained models ranked on the same cells, which none of them learned from; and who is champion."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE

from storage import records, tables
from storage.errors import InputError
from storage.keys import digest_text
from storage.objects import Objects, open_store
from tasks import announce
from tasks.cluster import drawn_unit, unit_of_cells
from tasks.compare_settings import CompareSettings
from tasks.dataset import judging, read_cells
from tasks.kernels.judging import Clustering, Gain, gain
from tasks.kernels.pictures.parallel import Axis, parallel_coordinates
from tasks.kernels.score_intervals import Draws
from tasks.kernels.scores import cluster_scores
from tasks.passing import may_pass
from tasks.scoring import best_first, chosen_score
from tasks.settings import TrainSettings, question
from tasks.stage import Handle, folder, parents_of
from tasks.tracking import Run, Tracking
from tasks.train import alarms_of

SETTINGS = ("latent", "beta", "model", "seed")


@dataclass(frozen=True)
class Candidate:
    """A trained model, its clusters, and what the registry calls it."""

    model: Handle
    clusters: Handle
    version: int | None = None
    aliases: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What it is called: its version, or its key where the registry does not know it."""
        known = f"version {self.version}" if self.version else self.model.key[:8]
        return " ".join([known, *(f"({alias})" for alias in self.aliases)])


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes
    ----------
    score
        The score that ranked.
    rows
        A row for each candidate, the best first.
    cells
        How many held-out cells were scored.
    run_url
        The comparison in MLflow.
    """

    score: str
    rows: list[dict[str, Any]]
    cells: int
    run_url: str


@task(task_run_name="compare {tracking.experiment}", cache_policy=NO_CACHE, retry_condition_fn=may_pass)
def compare(
    *,
    candidates: Sequence[Candidate],
    standing: str | None,
    store: str,
    settings: CompareSettings,
    tracking: Tracking,
) -> Comparison:
    """Rank candidates on the cells held out from all of them; `standing` is the key of the champion.

    Raises
    ------
    InputError
        There is nothing to compare, or no cell that none of them learned from.
    """
    objects = open_store(store)
    cells = common_cells(objects, candidates, settings)
    clusterings = {one.model.key: _clustering(objects, one.clusters, cells.index) for one in candidates}
    score = chosen_score(settings.by, {"ari": _truth(cells) is not None or None})
    judge = _Judge(cells, score, settings)
    rows = best_first(
        [
            _row(objects, one) | judge.row(clusterings[one.model.key], clusterings.get(standing or ""))
            for one in candidates
        ],
        score,
    )
    key = digest_text(" ".join(sorted(clusterings)) + str(question(settings)))
    with tracking.run(objects, "compare", key) as run:
        _log(run, rows, score, len(cells), settings)
        announce.image(
            "compare", lambda: comparison_picture(rows, score), f"Models by {score}, the best first"
        )
    announce.table("compare", rows, f"Models by {score} on {len(cells)} held-out cells, the best first")
    return Comparison(score, rows, len(cells), run.url)


def common_cells(
    objects: Objects, candidates: Sequence[Candidate], settings: CompareSettings
) -> pd.DataFrame:
    """Return the cells that every candidate has seen the patch of and none has learned from, sorted by name.

    Of a model with test cells these alone: by its validation cells it may have been chosen.

    Raises
    ------
    InputError
        There are too few.
    """
    tables_of = [_judging_cells(objects, one.model) for one in candidates]
    if not tables_of:
        raise InputError("expected trained models in the store, found none; `chipcyte train` makes one")
    names: list[str] = sorted(set[str].intersection(*(set(table.index) for table in tables_of)))
    if len(names) < 2:
        raise InputError(
            f"expected cells that none of {len(candidates)} models learned from, found {len(names)}; compare "
            "fewer, or train them with one train.split_seed (as `chipcyte sweep` does)"
        )
    if len(names) > settings.most_cells:
        rng = np.random.default_rng(settings.seed)
        names = [names[i] for i in np.sort(rng.choice(len(names), settings.most_cells, replace=False))]
    return tables_of[0].loc[names]


def _judging_cells(objects: Objects, model: Handle) -> pd.DataFrame:
    record = records.read(objects, "model", model.key)
    cells = read_cells(objects, parents_of(objects, record, "patches"))
    return _named(cells[judging(cells, TrainSettings.model_validate(record.settings))])


def _named(cells: pd.DataFrame) -> pd.DataFrame:
    """Name cells by what was recorded, so that they are the same in patches of another size."""
    return cells.set_axis(cells["acquisition"].astype(str) + " " + cells.index.astype(str), axis=0)


def _clustering(objects: Objects, clusters: Handle, names: pd.Index) -> Clustering:
    table = tables.read_table(objects, folder("clusters", clusters.key, "cells.zarr"))
    rows = _named(table.obs).index.get_indexer(names)
    latent = np.asarray(table.obsm["latent"], dtype=np.float64)
    return Clustering(latent[rows], table.obs["cluster"].to_numpy(np.int64)[rows])


def _truth(cells: pd.DataFrame) -> NDArray[Any] | None:
    return cells["population"].astype(str).to_numpy() if "population" in cells else None


class _Judge:
    """Scores clusterings of the same cells by the same draws, whole chips where there are enough."""

    def __init__(self, cells: pd.DataFrame, score: str, settings: CompareSettings) -> None:
        self.score, self.truth = score, _truth(cells)
        self.units = unit_of_cells(cells) if drawn_unit(cells) == "chip" else None
        self.draws = Draws(count=settings.draws, level=settings.level, seed=settings.seed)

    def row(self, ours: Clustering, standing: Clustering | None) -> dict[str, Any]:
        """Return score, interval, and the gain over what stands."""
        scores = cluster_scores(ours.points, ours.clusters, self.truth, units=self.units, draws=self.draws)
        found: Gain | None = None
        if standing is not None and standing is not ours:
            found = gain(
                ours, standing, score=self.score, truth=self.truth, units=self.units, draws=self.draws
            )
        ends = {end: _plain(scores[f"{self.score}_{end}"]) for end in ("low", "high")}
        gains = {f"gain_{name}": _plain(value) for name, value in asdict(found).items()} if found else {}
        row = {
            "score": _plain(scores[self.score]),
            **ends,
            "gain_value": None,
            "gain_low": None,
            "gain_high": None,
        }
        return row | gains | {"certain": bool(found and found.is_certain)}


def _plain(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


def _row(objects: Objects, candidate: Candidate) -> dict[str, Any]:
    settings = TrainSettings.model_validate(records.read(objects, "model", candidate.model.key).settings)
    kinds = (settings.body.kind, settings.condition.kind, settings.prior.kind)
    return {
        "name": candidate.name,
        "key": candidate.model.key,
        "version": candidate.version,
        "aliases": ", ".join(candidate.aliases),
        "latent": settings.latent,
        "beta": settings.beta,
        "model": " ".join(kind for kind in kinds if kind not in ("none", "normal")),
        "seed": settings.seed,
        "alarms": "; ".join(alarms_of(objects, candidate.model)),
    }


def passes(row: dict[str, Any], standing: dict[str, Any] | None) -> bool:
    """Return whether a candidate may follow the champion: sound, and better beyond the bootstrap's interval.

    Parameters
    ----------
    row
        The candidate's row.
    standing
        The champion's row; None if there is none, and any sound candidate may be the first.
    """
    if row["alarms"] or row["score"] is None:
        return False
    if standing is None or standing["score"] is None or standing["alarms"]:
        return True
    return bool(row["certain"])


def comparison_axes(rows: Sequence[dict[str, Any]], score: str) -> list[Axis]:
    """Return the settings that vary and the score with its interval, for a chart."""
    varying = [name for name in SETTINGS if len({row[name] for row in rows}) > 1]
    shown = {score: "score", f"{score} low": "low", f"{score} high": "high"}
    return [Axis(name, [row[name] for row in rows]) for name in varying] + [
        Axis(name, [row[column] for row in rows]) for name, column in shown.items()
    ]


def comparison_picture(rows: Sequence[dict[str, Any]], score: str) -> bytes:
    """Draw the candidates as lines over settings and score."""
    names = [row["name"] for row in rows]
    return parallel_coordinates(
        comparison_axes(rows, score), names, title=f"Models by {score}, the best first"
    )


def _log(run: Run, rows: list[dict[str, Any]], score: str, cells: int, settings: CompareSettings) -> None:
    run.params({"compare": question(settings), "models": len(rows), "cells": cells})
    run.table("ranking", rows)
    run.picture("parallel", comparison_picture(rows, score))
    run.tag("chipcyte.ranked_by", score)
    run.metrics(
        {
            f"held_out_{score}{end}": rows[0][column]
            for end, column in (("", "score"), ("_low", "low"), ("_high", "high"))
        }
    )
