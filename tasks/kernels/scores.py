"""How good a clustering is: by itself, and against a known truth; each score with an interval."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics

from tasks.kernels.score_intervals import (
    Draws,
    Floats,
    SortedPoints,
    intervals,
    named,
    shape_scores,
    silhouette_draws,
    table_scores,
)

Codes = npt.NDArray[np.int64]
UNKNOWN_TEXTS = ("", "nan", "<NA>")  # a missing value of numpy and of pandas, also once it became text
Labels = Sequence[Any] | npt.NDArray[Any]
NOISE = -1
SHAPE_SCORES = ("silhouette", "davies_bouldin", "calinski_harabasz")
TRUTH_SCORES = ("accuracy", "purity", "nmi", "ari")


def cluster_scores(
    points: npt.NDArray[np.floating],
    clusters: Labels,
    truth: Labels | None = None,
    *,
    units: Labels | None = None,
    draws: Draws = Draws(),  # noqa: B008 - frozen
    silhouette_limit: int = 5000,
) -> dict[str, float]:
    """Score a clustering of points; a score that is not defined is nan, never an exception.

    Parameters
    ----------
    points
        (n, d), finite.
    clusters
        (n,): numbers or text. -1 is no cluster (HDBSCAN's noise): such points are left out of the first three
        scores, and wrong for accuracy and purity.
    truth
        (n,): known populations, or None to leave these scores out. Points whose truth is None, "", nan or
        pandas' NA are unknown and left out of the truth scores.
    units
        (n,): what is drawn anew for the intervals, such as the chip of each cell; None: each point.
    draws
        How many draws (0: no intervals), their seed, and the level of the intervals.
    silhouette_limit
        Above this number the silhouette, which takes n^2 distances, is of that many points, drawn.

    Returns
    -------
    dict of str to float
        - silhouette: -1 to 1, higher is better (Rousseeuw, 1987);
        - davies_bouldin: 0 or more, lower is better (Davies and Bouldin, 1979);
        - calinski_harabasz: 0 or more, higher is better (Calinski and Harabasz, 1974);
        - with a truth, those of `truth_scores`;
        - NAME_low, NAME_high: the bootstrap's percentile interval (Efron, 1979), the clustering held;
        - silhouette_points, noise_share: points the silhouette is of, share of points in no cluster.
        The first three are nan with a single cluster, or as many clusters as points.

    Raises
    ------
    ValueError
        Lengths differ, or the points are not finite (n, d).
    """
    points_nd, names = np.asarray(points), _codes(clusters)
    if points_nd.ndim != 2 or len(points_nd) != len(names):
        raise ValueError(
            f"expected points (n, d) and n clusters, found {points_nd.shape} and {len(names)}: "
            "cluster the same points that are scored"
        )
    if not np.isfinite(points_nd).all():
        raise ValueError("expected finite points, found infinite or undefined ones: leave those rows out")
    unit = _units(units, len(names))
    inside = names != NOISE
    noise = {"noise_share": float(1 - inside.mean()) if len(inside) else 0.0}
    scores = _geometry(points_nd[inside], names[inside], unit[inside], draws, silhouette_limit) | noise
    if truth is None:
        return scores
    return scores | truth_scores(clusters, truth) | _truth_intervals(names, truth, unit, draws)


def score_draws(
    points: npt.NDArray[np.floating],
    clusters: Labels,
    truth: Labels | None = None,
    *,
    score: str,
    units: Labels | None = None,
    draws: Draws = Draws(),  # noqa: B008 - frozen
) -> npt.NDArray[np.float64]:
    """Return one score of each draw, (B,); of other clusterings of the same points the draws are the same.

    Parameters
    ----------
    points, clusters, truth, units, draws
        As for `cluster_scores`. A silhouette takes n^2 distances: give it a few thousand points at most.
    score
        One of `SHAPE_SCORES` or, with a truth, `TRUTH_SCORES`.

    Raises
    ------
    ValueError
        There is no such score, or lengths differ.
    """
    if score not in SHAPE_SCORES and (truth is None or score not in TRUTH_SCORES):
        raise ValueError(
            f"expected a score out of {SHAPE_SCORES} or, with a known truth, {TRUTH_SCORES}, found {score!r}"
        )
    names = _codes(clusters)
    weights = np.stack(list(draws.weights(_units(units, len(names)))))
    if score in TRUTH_SCORES:
        assert truth is not None
        known, populations = _populations(truth, len(names))
        if not known.any():
            return np.full(len(weights), np.nan)
        return _tables_scores(populations, names[known], weights[:, known])[score]
    inside = names != NOISE
    if not _is_scorable(names[inside]):
        return np.full(len(weights), np.nan)
    placed = SortedPoints.of(np.asarray(points)[inside], _dense(names[inside]))
    if score == "silhouette":
        return silhouette_draws(placed, weights[:, inside])
    return shape_scores(placed, weights[:, inside])[score]


def truth_scores(clusters: Labels, truth: Labels) -> dict[str, float]:
    """Compare a clustering with known populations; all nan when the truth is unknown for every point.

    Pairing and majority are chosen with the truth in hand: they say how well the clusters agree with the
    populations, not how well new cells would be named.

    Parameters
    ----------
    clusters, truth
        (n,): as for `cluster_scores`.

    Returns
    -------
    dict of str to float
        - accuracy: fraction of points whose cluster is their population under the best one-to-one pairing of
          clusters with populations (Kuhn, 1955; Xie et al., 2016); points of unpaired clusters count as
          wrong;
        - purity: fraction of points whose population is their cluster's most frequent one; rises with the
          number of clusters, so compare it only between clusterings of equally many;
        - nmi: mutual information over the mean of both entropies, 0 to 1;
        - ari: Rand index adjusted for chance, 1 for equal partitions, near 0 for random ones (Hubert and
          Arabie, 1985);
        - truth_points: the number of points with a known truth.

    Raises
    ------
    ValueError
        Lengths differ.
    """
    known, populations = _populations(truth, len(clusters))
    points = {"truth_points": float(known.sum())}
    if not known.any():
        return dict.fromkeys(TRUTH_SCORES, float("nan")) | points
    table, noise = _table(populations, _codes(clusters)[known], np.ones(int(known.sum())))
    return table_scores(table, noise) | points


def _geometry(
    points: npt.NDArray[Any], names: Codes, units: Codes, draws: Draws, limit: int
) -> dict[str, float]:
    """Scores of points that are all in a cluster, and their intervals."""
    drawn = np.arange(len(names))
    if len(names) > limit:
        drawn = np.sort(np.random.default_rng(draws.seed).choice(len(names), size=limit, replace=False))
    counted = {"silhouette_points": float(len(drawn))}
    if not _is_scorable(names):
        return dict.fromkeys(_with_ends(SHAPE_SCORES, draws), float("nan")) | counted
    scores = {
        "davies_bouldin": float(metrics.davies_bouldin_score(points, names)),
        "calinski_harabasz": float(metrics.calinski_harabasz_score(points, names)),
    }
    whole = SortedPoints.of(points, names)
    scores |= intervals(draws, _dense(units), lambda weights: shape_scores(whole, weights))
    return scores | counted | _silhouette(points[drawn], names[drawn], units[drawn], draws)


def _silhouette(points: npt.NDArray[Any], names: Codes, units: Codes, draws: Draws) -> dict[str, float]:
    if not _is_scorable(names):
        return dict.fromkeys(_with_ends(("silhouette",), draws), float("nan"))
    score = {"silhouette": float(metrics.silhouette_score(points, names))}
    if draws.count == 0:
        return score
    weights = np.stack(list(draws.weights(_dense(units))))
    found = silhouette_draws(SortedPoints.of(points, names), weights)
    return score | named({"silhouette": draws.interval(found)})


def _truth_intervals(names: Codes, truth: Labels, units: Codes, draws: Draws) -> dict[str, float]:
    known, populations = _populations(truth, len(names))
    if not known.any():
        return dict.fromkeys(_with_ends(TRUTH_SCORES, draws)[len(TRUTH_SCORES) :], float("nan"))
    found = names[known]
    return intervals(draws, _dense(units[known]), lambda weights: _tables_scores(populations, found, weights))


def _tables_scores(populations: Codes, found: Codes, weights: Floats) -> dict[str, Floats]:
    """Each score against the truth of each of b weightings (b, n), as (b,)."""
    each = [table_scores(*_table(populations, found, one)) for one in weights]
    return {name: np.array([scores[name] for scores in each]) for name in TRUTH_SCORES}


def _table(
    populations: Codes, found: Codes, weights: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], int | None]:
    """Count populations (rows) in clusters (columns); noise, if any, is the last column."""
    width = int(found.max()) + 1
    has_noise = bool((found == NOISE).any())
    column = np.where(found == NOISE, width, found)
    shape = (int(populations.max()) + 1, width + has_noise)
    flat = np.bincount(populations * shape[1] + column, weights=weights, minlength=shape[0] * shape[1])
    return flat.reshape(shape).astype(np.float64), width if has_noise else None


def _populations(truth: Labels, expected: int) -> tuple[npt.NDArray[np.bool_], Codes]:
    """Say which points have a known truth, and number it for these."""
    if len(truth) != expected:
        raise ValueError(
            f"expected a truth for each of {expected} points, found {len(truth)}: use None for unknown"
        )
    known = np.array([_is_known(value) for value in truth], dtype=bool)
    return known, _numbered([value for value, keep in zip(truth, known, strict=True) if keep])


def _units(units: Labels | None, expected: int) -> Codes:
    if units is None:
        return np.arange(expected)
    if len(units) != expected:
        raise ValueError(f"expected a unit for each of {expected} points, found {len(units)}")
    return _numbered(units)


def _with_ends(names: Sequence[str], draws: Draws) -> list[str]:
    ends = [f"{name}_{end}" for name in names for end in ("low", "high")]
    return [*names, *(ends if draws.count else [])]


def _is_scorable(names: Codes) -> bool:
    """Whether there are at least two clusters and one of them has two points or more."""
    return 2 <= len(np.unique(names)) < len(names)


def _is_known(value: Any) -> bool:
    return value is not None and str(value) not in UNKNOWN_TEXTS


def _dense(codes: Codes) -> Codes:
    return np.unique(codes, return_inverse=True)[1].astype(np.int64)


def _codes(clusters: Labels) -> Codes:
    """Numbers from 0 for clusters of any kind; noise stays -1."""
    numbers = _numbered(clusters)
    noise = np.array([_is_noise(value) for value in clusters], dtype=bool)
    return np.where(noise, NOISE, numbers).astype(np.int64)


def _is_noise(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and bool(value == NOISE)


def _numbered(labels: Labels) -> Codes:
    """Numbers from 0 for labels of any kind, even mixed ones, by first appearance."""
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(label, len(numbers)) for label in labels], dtype=np.int64)
