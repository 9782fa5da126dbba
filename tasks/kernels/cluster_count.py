"""How many clusters there are: as many as the data pay for, of those that come out again on other cells."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import adjusted_rand_score

from tasks.kernels.clustering import Clusters

Points = npt.NDArray[np.float64]
Fit = Callable[[Points, int], Clusters]
MOST_POINTS = 20_000  # the choice sees so many


@dataclass(frozen=True)
class Candidate:
    """A number of clusters.

    Attributes
    ----------
    clusters
        The number.
    bic
        Bayesian information criterion on the points; lower is better.
    stability
        Mean adjusted Rand index of clusterings fitted to the two halves of the points, on all points.
    """

    clusters: int
    bic: float
    stability: float

    def row(self) -> dict[str, float | int | None]:
        """Return it as plain values, None for what is not defined."""
        return {name: value if math.isfinite(value) else None for name, value in asdict(self).items()}


def choose_count(
    points: Points, fit: Fit, counts: Sequence[int], *, resamples: int, least_stability: float, seed: int
) -> tuple[int, list[Candidate]]:
    """Choose the number of clusters by BIC among those that are stable.

    BIC alone goes on splitting clusters that are no Gaussians; stability alone prefers few. So: the lowest
    BIC of the numbers whose stability is at least `least_stability`; if none is, the most stable.

    Parameters
    ----------
    points
        (n, d), finite; of more than 20,000 as many are drawn.
    fit
        Fits so many clusters to points.
    counts
        Numbers to try, ascending. One cluster is always stable.
    resamples
        How often the points are halved at random (Lange et al., 2004).
    least_stability
        Mean adjusted Rand index from 0 to 1 that counts as stable.
    seed
        Draws points and halves.

    Returns
    -------
    The number, and what was found of each.
    """
    rng = np.random.default_rng(seed)
    if len(points) > MOST_POINTS:
        points = points[np.sort(rng.choice(len(points), MOST_POINTS, replace=False))]
    halves = [np.array_split(rng.permutation(len(points)), 2) for _ in range(resamples)]
    found = [
        Candidate(count, fit(points, count).bic(points), _stability(points, fit, count, halves))
        for count in counts
        if 2 * count <= len(points) // 2 or count == 1
    ]
    stable = [one for one in found if one.stability >= least_stability]
    if stable:
        return min(stable, key=lambda one: one.bic).clusters, found
    return max(found, key=lambda one: one.stability).clusters, found


def _stability(
    points: Points, fit: Fit, count: int, halves: Sequence[Sequence[npt.NDArray[np.int64]]]
) -> float:
    if count == 1:
        return 1.0
    agreement = []
    for one, other in halves:
        first, second = (fit(points[half], count).assign(points).labels for half in (one, other))
        agreement.append(adjusted_rand_score(first, second))
    return float(np.mean(agreement))
