"""How good a clustering is: by itself, and against a known truth."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from sklearn import metrics

Codes = npt.NDArray[np.int64]
UNKNOWN_TEXTS = ("", "nan", "<NA>")  # a missing value of numpy and of pandas, also once it became text
Labels = Sequence[Any] | npt.NDArray[Any]


def cluster_scores(
    points: npt.NDArray[np.floating],
    clusters: Labels,
    truth: Labels | None = None,
    *,
    silhouette_limit: int = 5000,
    seed: int = 0,
) -> dict[str, float]:
    """Score a clustering of points; a score that is not defined is nan, never an exception.

    Parameters
    ----------
    points
        (n, d), finite.
    clusters
        (n,): a cluster for each point, numbers or text.
    truth
        (n,): the known population of each point, numbers or text, or None to leave these scores out. Points
        whose truth is None, "", nan or pandas' NA are unknown and left out of the truth scores.
    silhouette_limit
        The silhouette takes n^2 distances, so above this number it is estimated on that many points, drawn
        with `seed`.
    seed
        Decides which points are drawn.

    Returns
    -------
    dict of str to float
        Always:

        - silhouette: -1 to 1, higher is better (Rousseeuw, 1987);
        - silhouette_points: the number of points it was computed on;
        - davies_bouldin: 0 or more, lower is better (Davies and Bouldin, 1979);
        - calinski_harabasz: 0 or more, higher is better (Calinski and Harabasz, 1974).

        The first, third and fourth are nan with a single cluster, or as many clusters as points.

        With a truth, those of `truth_scores` too.

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
    scores = _shape_scores(points_nd, names) | _silhouette(points_nd, names, silhouette_limit, seed)
    return scores if truth is None else scores | truth_scores(clusters, truth)


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
    if len(clusters) != len(truth):
        raise ValueError(
            f"expected a truth for each of {len(clusters)} points, found {len(truth)}: use None for unknown"
        )
    known = np.array([_is_known(value) for value in truth], dtype=bool)
    if not known.any():
        return dict.fromkeys(("accuracy", "purity", "nmi", "ari"), float("nan")) | {"truth_points": 0.0}
    found = _codes(clusters)[known]
    populations = _codes([value for value, keep in zip(truth, known, strict=True) if keep])
    table = metrics.cluster.contingency_matrix(populations, found)
    paired = linear_sum_assignment(table, maximize=True)
    return {
        "accuracy": float(table[paired].sum() / table.sum()),
        "purity": float(table.max(axis=0).sum() / table.sum()),
        "nmi": float(metrics.normalized_mutual_info_score(populations, found)),
        "ari": float(metrics.adjusted_rand_score(populations, found)),
        "truth_points": float(len(found)),
    }


def _shape_scores(points: npt.NDArray[Any], names: Codes) -> dict[str, float]:
    if not _is_scorable(names):
        return {"davies_bouldin": float("nan"), "calinski_harabasz": float("nan")}
    return {
        "davies_bouldin": float(metrics.davies_bouldin_score(points, names)),
        "calinski_harabasz": float(metrics.calinski_harabasz_score(points, names)),
    }


def _silhouette(
    points: npt.NDArray[Any], names: npt.NDArray[np.int64], limit: int, seed: int
) -> dict[str, float]:
    if len(names) > limit:
        drawn = np.sort(np.random.default_rng(seed).choice(len(names), size=limit, replace=False))
        points, names = points[drawn], names[drawn]
    score = float(metrics.silhouette_score(points, names)) if _is_scorable(names) else float("nan")
    return {"silhouette": score, "silhouette_points": float(len(names))}


def _is_scorable(names: Codes) -> bool:
    """Whether there are at least two clusters and one of them has two points or more."""
    return 2 <= len(np.unique(names)) < len(names)


def _is_known(value: Any) -> bool:
    return value is not None and str(value) not in UNKNOWN_TEXTS


def _codes(labels: Labels) -> npt.NDArray[np.int64]:
    """Numbers from 0 for labels of any kind, even mixed ones, by first appearance."""
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(label, len(numbers)) for label in labels], dtype=np.int64)
