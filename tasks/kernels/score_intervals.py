"""How far the scores of a clustering may be off: the bootstrap (Efron, 1979), for formulas with weights.

To draw points anew is to give each a weight, the number of times it was drawn. A point's copies are not its
neighbours, so that a score of draws is not better than that of the points themselves.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

Codes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Score = dict[str, float]
MOST_WEIGHTS = 4_000_000  # that are held at once


@dataclass(frozen=True)
class Draws:
    """How often, and with which seed, points are drawn anew; an interval holds `level` of the draws."""

    count: int = 200
    level: float = 0.95
    seed: int = 0

    def weights(self, units: Codes) -> Iterator[Floats]:
        """Yield the weight of each point, (n,); all points of a unit (numbers from 0) are drawn together."""
        rng = np.random.default_rng(self.seed)
        n_units = int(units.max(initial=-1)) + 1
        for _ in range(self.count):
            times = np.bincount(rng.integers(0, n_units, n_units), minlength=n_units)
            yield times[units].astype(np.float64)

    def stacks(self, units: Codes) -> Iterator[Floats]:
        """Yield the same weights some draws at a time, (b, n): a matrix product takes all of them."""
        drawn, few = self.weights(units), max(1, MOST_WEIGHTS // max(1, len(units)))
        while stack := list(islice(drawn, few)):
            yield np.stack(stack)

    def interval(self, values: Floats) -> tuple[float, float]:
        """Return the percentiles between which the level lies, of the draws that have the score."""
        finite = values[np.isfinite(values)]
        if finite.size == 0:
            return float("nan"), float("nan")
        rest = 50.0 * (1.0 - self.level)
        low, high = np.percentile(finite, [rest, 100.0 - rest])
        return float(low), float(high)


def intervals(draws: Draws, units: Codes, score: Callable[[Floats], Mapping[str, Floats]]) -> Score:
    """Return `NAME_low` and `NAME_high` of each score; nothing if no draw is asked for.

    Parameters
    ----------
    draws
        How often, and how wide.
    units
        (n,): what is drawn together, from 0.
    score
        Gives each score of b weightings (b, n), as (b,).
    """
    found: dict[str, list[Floats]] = {}
    for weights in draws.stacks(units):
        for name, values in score(weights).items():
            found.setdefault(name, []).append(values)
    return named({name: draws.interval(np.concatenate(values)) for name, values in found.items()})


def named(limits: Mapping[str, tuple[float, float]]) -> Score:
    """Return limits by name as numbers by name."""
    return {
        f"{name}_{end}": value
        for name, both in limits.items()
        for end, value in zip(("low", "high"), both, strict=True)
    }


@dataclass(frozen=True)
class SortedPoints:
    """Points (n, d) in the order of their clusters, each of which is a run that begins at `starts`."""

    points: Floats
    starts: Codes
    order: Codes

    @classmethod
    def of(cls, points: npt.NDArray[Any], codes: Codes) -> "SortedPoints":
        """Sort points by their clusters' numbers."""
        order = np.argsort(codes, kind="stable")
        starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
        return cls(np.ascontiguousarray(points[order], dtype=np.float64), starts, order)

    @property
    def runs(self) -> list[slice]:
        """Where the points of each cluster lie."""
        ends = np.append(self.starts[1:], len(self.points))
        return [slice(start, end) for start, end in zip(self.starts, ends, strict=True)]


def shape_scores(clustered: SortedPoints, weights: Floats) -> dict[str, Floats]:
    """Davies-Bouldin and Calinski-Harabasz index of weighted points, nan where fewer than two clusters weigh.

    Parameters
    ----------
    clustered
        Points in the order of their clusters.
    weights
        (b, n): times each of them counts, in the order of the points as they were given.

    Returns
    -------
    dict of str to numpy.ndarray
        Each index of each weighting, (b,).
    """
    moments = [_moments(clustered.points[run], weights[:, clustered.order[run]]) for run in clustered.runs]
    total, centres, within, spread = (np.stack(part, axis=1) for part in zip(*moments, strict=True))
    alive = total > 0
    count, points = alive.sum(axis=1), total.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = np.einsum("bk,bkd->bd", total, centres) / points[:, None]
        between = np.einsum("bk,bkd->b", total, (centres - middle[:, None]) ** 2)
        ratio = between * (points - count) / (within.sum(axis=1) * (count - 1))
    each = zip(centres, spread, alive, strict=True)
    return {
        "davies_bouldin": np.array([_davies_bouldin(one[two], three[two]) for one, three, two in each]),
        "calinski_harabasz": np.where((count >= 2) & (within.sum(axis=1) > 0), ratio, np.nan),
    }


def _moments(points: Floats, weights: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Weight (b,), centre (b, d), sum of squares round it (b,), mean distance from it (b,) of one cluster.

    By matrix products, from the points' mean on: so near, a difference of squares loses few digits.
    """
    middle = points.mean(axis=0)
    offsets = points - middle
    squares = np.einsum("nd,nd->n", offsets, offsets)
    total = weights.sum(axis=1)
    safe = np.where(total > 0, total, 1.0)
    centres = weights @ offsets / safe[:, None]
    moved = np.einsum("bd,bd->b", centres, centres)
    distances = centres @ (-2.0 * offsets.T)
    distances += squares
    distances += moved[:, None]
    np.sqrt(np.maximum(distances, 0.0, out=distances), out=distances)
    spread = np.einsum("bn,bn->b", weights, distances) / safe
    return total, centres + middle, np.maximum(weights @ squares - total * moved, 0.0), spread


def _davies_bouldin(centres: Floats, spread: Floats) -> float:
    if len(centres) < 2:
        return float("nan")
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    if not apart.all():
        return float("nan")  # two centres coincide
    return float(((spread[:, None] + spread[None]) / apart).max(axis=1).mean())


def silhouette_draws(clustered: SortedPoints, weights: Floats) -> Floats:
    """Silhouette of each of B weightings at once, in n^2 B operations whatever the number of clusters.

    Parameters
    ----------
    clustered
        Points in the order of their clusters, (n, d).
    weights
        (B, n): times each point counts, in the order of the points as they were given.

    Returns
    -------
    (B,): the weighted mean of (b - a) / max(a, b), where a is the mean distance to the other points of the
    cluster and b the least of those to another cluster (Rousseeuw, 1987); a point alone in its cluster has 0.
    nan where fewer than two clusters weigh.
    """
    points = clustered.points.astype(np.float32)
    squares = np.einsum("nd,nd->n", points, points)
    distances = squares[:, None] + squares[None] - 2.0 * points @ points.T
    np.fill_diagonal(distances, 0.0)
    np.sqrt(np.maximum(distances, 0.0, out=distances), out=distances)
    w = np.ascontiguousarray(weights[:, clustered.order].T, dtype=np.float32)
    own, nearest = np.zeros_like(w), np.full_like(w, np.inf)
    alive = np.zeros(w.shape[1], dtype=np.int64)
    for mine in clustered.runs:
        total = w[mine].sum(axis=0)
        alive += total > 0
        sums = distances[:, mine] @ w[mine]
        others = np.maximum(total - w[mine], 0)
        own[mine] = np.where(others > 0, sums[mine] / np.maximum(others, 1), np.nan)
        mean = np.where(total > 0, sums / np.maximum(total, 1), np.inf)
        mean[mine] = np.inf
        np.minimum(nearest, mean, out=nearest)
    return _weighted_silhouette(w, own, nearest, alive)


def _weighted_silhouette(
    w: npt.NDArray[np.float32], own: npt.NDArray[np.float32], nearest: npt.NDArray[np.float32], alive: Codes
) -> Floats:
    defined = np.isfinite(own) & np.isfinite(nearest) & (np.maximum(own, nearest) > 0)
    a, b = np.where(defined, own, 0), np.where(defined, nearest, 0)
    each = np.where(defined, (b - a) / np.where(defined, np.maximum(a, b), 1), 0)
    mean = np.einsum("nb,nb->b", w, each, dtype=np.float64) / w.sum(axis=0, dtype=np.float64)
    return np.where(alive >= 2, mean, np.nan)


def table_scores(table: Floats, noise: int | None) -> Score:
    """Accuracy, purity, NMI and ARI from counts of populations (rows) in clusters (columns).

    Parameters
    ----------
    table
        (populations, clusters), sum above 0.
    noise
        The column of points of no cluster, None if there is none. They are nobody's: wrong for accuracy and
        purity, a cluster of their own for NMI and ARI.
    """
    clusters = table if noise is None else np.delete(table, noise, axis=1)
    paired = linear_sum_assignment(clusters, maximize=True)
    total = table.sum()
    return {
        "accuracy": float(clusters[paired].sum() / total),
        "purity": float(clusters.max(axis=0, initial=0).sum() / total),
        "nmi": _nmi(table / total),
        "ari": _ari(table),
    }


def _nmi(share: Floats) -> float:
    populations, clusters, both = (
        _entropy(share.sum(axis=1)),
        _entropy(share.sum(axis=0)),
        _entropy(share.ravel()),
    )
    mean = (populations + clusters) / 2
    return float(max(populations + clusters - both, 0.0) / mean) if mean > 1e-12 else 1.0


def _entropy(share: Floats) -> float:
    positive = share[share > 0]
    return float(-(positive * np.log(positive)).sum())


def _ari(table: Floats) -> float:
    together = _pairs(table)
    rows, columns, all_pairs = _pairs(table.sum(axis=1)), _pairs(table.sum(axis=0)), _pairs(table.sum())
    expected = rows * columns / all_pairs if all_pairs > 0 else 0.0
    most = (rows + columns) / 2
    return float((together - expected) / (most - expected)) if most != expected else 1.0


def _pairs(counts: Any) -> float:
    return float((counts * (counts - 1) / 2).sum())
