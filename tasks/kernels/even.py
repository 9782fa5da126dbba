"""Clusters of equal size: k-means whose points are shared out evenly."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp, softmax

from tasks.kernels.clustering import Assignment, FloatArray, Floats, checked, fit_kmeans, squared_distances

SOFTNESS = 0.5  # of the first mean squared distance to a centre: how far a point may lie between clusters
ROUNDS = 15  # in which clusters harden, and as many after that
BALANCINGS = 30  # a round; the next goes on from them
SETTLED = 0.01  # share of points that the last round may change


@dataclass(frozen=True)
class EvenCentres:
    """k centres, and what each adds to its likeness so that all find as many points."""

    centres: Floats
    """(k, d), in the units of the points."""
    bonus: Floats
    """(k,): logarithm of a cluster's weight; more for one that lies off."""
    softness: float
    """Squared distance, in the units of the points, that makes a cluster e times less likely."""
    converged: bool

    @property
    def count(self) -> int:
        """Number k of centres."""
        return len(self.centres)

    def assign(self, points: FloatArray) -> Assignment:
        """Return the most probable cluster of each point; of other points one may get more than another."""
        finite = checked(points)
        shares = softmax(self.bonus - _costs(finite, self.centres, self.softness), axis=1)
        return Assignment(shares.argmax(axis=1), shares.max(axis=1))

    def bic(self, points: FloatArray) -> float:  # noqa: ARG002 - as of the others
        """There is no likelihood, so nan."""
        return float("nan")


def fit_even(points: FloatArray, n_clusters: int, *, seed: int) -> EvenCentres:
    """Fit k centres, each of which gets a k-th of the points.

    For data whose kinds are known to be equally frequent, as those of a benchmark are made: without that
    knowledge two kinds that lie close share a cluster, and one that lies in two parts gets two. Points are
    shared out by optimal transport with entropy (Cuturi, 2013, arXiv:1306.0895), as Asano et al. (2020,
    arXiv:1911.05371) do with labels, and centres move to the mean of their shares.

    Parameters
    ----------
    points
        (n, d), finite, n at least `n_clusters`.
    n_clusters
        Number k.
    seed
        Decides the k-means it starts from.

    Raises
    ------
    ValueError
        The points are not finite (n, d), or there are fewer than clusters.
    """
    finite = checked(points)
    centres, bonus = fit_kmeans(finite, n_clusters, seed=seed).centres, np.zeros(n_clusters)
    before, settled = np.full(len(finite), -1), False
    for softness in _cooling(finite, centres):
        costs = _costs(finite, centres, softness)
        bonus = _balanced(costs, bonus)
        shares = softmax(bonus - costs, axis=1)
        centres = shares.T @ finite / shares.sum(axis=0)[:, None]
        labels = shares.argmax(axis=1)
        settled, before = bool((labels != before).mean() <= SETTLED), labels
    return EvenCentres(centres, bonus, softness, settled)


def _cooling(points: Floats, centres: Floats) -> Floats:
    """Softness of each round: from the points' spread, where all clusters get of all, down, then the same.

    Slowly, for the bonuses of hard clusters are found only from those of softer ones.
    """
    smallest = np.finfo(np.float64).tiny
    last = max(SOFTNESS * float(_costs(points, centres, 1.0).min(axis=1).mean()), smallest)
    first = max(float(points.var(axis=0).sum()), last)
    return np.concatenate([np.geomspace(first, last, ROUNDS), np.full(ROUNDS, last)])


def _costs(points: Floats, centres: Floats, softness: float) -> Floats:
    """Squared distances (n, k) over the softness."""
    costs: Floats = squared_distances(points, centres) / softness
    return costs


def _balanced(costs: Floats, bonus: Floats) -> Floats:
    """Return the bonuses (k,) with which the clusters' shares of all points are equal."""
    even = np.log(len(costs) / costs.shape[1])
    for _ in range(BALANCINGS):
        rows: npt.NDArray[np.float64] = logsumexp(bonus - costs, axis=1)
        bonus = even - logsumexp(-costs - rows[:, None], axis=0)
    balanced: Floats = bonus - bonus.mean()
    return balanced
