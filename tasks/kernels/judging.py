"""Whether one clustering is better than another of the same points, beyond chance."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.kernels.score_intervals import Draws
from tasks.kernels.scores import Labels, score_draws

LOWER_IS_BETTER = ("davies_bouldin",)


@dataclass(frozen=True)
class Clustering:
    """Points (n, d) and their clusters (n,), -1 for none."""

    points: npt.NDArray[Any]
    clusters: Labels


@dataclass(frozen=True)
class Gain:
    """How much better a score is, positive for better, and the bootstrap's interval of that."""

    value: float
    low: float
    high: float

    @property
    def is_certain(self) -> bool:
        """Whether it is better beyond the interval; an undefined gain is not."""
        return self.low > 0


def sign(score: str) -> float:
    """Return 1 for scores of which more is better, -1 for the others, of whichever part of the cells."""
    return -1.0 if score.endswith(LOWER_IS_BETTER) else 1.0


def gain(
    ours: Clustering,
    theirs: Clustering,
    *,
    score: str,
    truth: Labels | None = None,
    units: Labels | None = None,
    draws: Draws = Draws(),  # noqa: B008 - frozen
) -> Gain:
    """Return how much better one clustering scores than another.

    Both are scored on the same draws and the interval is of the difference (a paired bootstrap: Efron and
    Tibshirani, 1993, chapter 8), so that what is hard for both does not hide which is better.

    Parameters
    ----------
    ours, theirs
        Of the same n points, each in a space of its own.
    score
        One of `cluster_scores`, of the latent space for the three of shape.
    truth, units, draws
        As for `cluster_scores`; `draws.count` is 1 or more.

    Raises
    ------
    ValueError
        Lengths differ, or there is no such score.
    """
    both = [
        score_draws(one.points, one.clusters, truth, score=score, units=units, draws=draws)
        for one in (ours, theirs)
    ]
    differences = sign(score) * (both[0] - both[1])
    low, high = draws.interval(differences)
    finite = differences[np.isfinite(differences)]
    return Gain(float(np.mean(finite)) if finite.size else float("nan"), low, high)
