import math

import numpy as np
import pytest

from tasks.kernels.judging import Clustering, gain, sign
from tasks.kernels.score_intervals import Draws
from tasks.kernels.scores import cluster_scores, score_draws

RNG = np.random.default_rng(0)
TRUTH = np.repeat([0, 1, 2], 60)
POINTS = RNG.normal(size=(180, 2)) + 6.0 * TRUTH[:, None]
WRONG = np.where(RNG.random(180) < 0.3, RNG.integers(0, 3, 180), TRUTH)
DRAWS = Draws(count=60)


@pytest.mark.parametrize(
    "score", ["ari", "nmi", "accuracy", "purity", "silhouette", "davies_bouldin", "calinski_harabasz"]
)
def test_the_right_clustering_is_certainly_better_and_the_wrong_one_is_not(score):
    right, wrong = Clustering(POINTS, TRUTH), Clustering(POINTS, WRONG)
    found = gain(right, wrong, score=score, truth=TRUTH, draws=DRAWS)
    assert found.is_certain
    assert found.low <= found.value <= found.high
    back = gain(wrong, right, score=score, truth=TRUTH, draws=DRAWS)
    assert not back.is_certain
    assert back.value == pytest.approx(-found.value)


def test_equal_clusterings_gain_nothing():
    found = gain(
        Clustering(POINTS, TRUTH), Clustering(3 * POINTS, TRUTH + 5), score="ari", truth=TRUTH, draws=DRAWS
    )
    assert (found.value, found.low, found.high, found.is_certain) == (0, 0, 0, False)


def test_a_small_difference_is_certain_only_because_it_is_paired():
    """Both are wrong in the same hard points; one is wrong in three more."""
    hard = RNG.random(180) < 0.3
    ours = np.where(hard, (TRUTH + 1) % 3, TRUTH)
    theirs = ours.copy()
    theirs[np.flatnonzero(~hard)[:8]] = (TRUTH[np.flatnonzero(~hard)[:8]] + 1) % 3
    found = gain(
        Clustering(POINTS, ours), Clustering(POINTS, theirs), score="accuracy", truth=TRUTH, draws=Draws()
    )
    assert found.is_certain
    spread = cluster_scores(POINTS, ours, TRUTH)
    assert spread["accuracy_low"] < cluster_scores(POINTS, theirs, TRUTH)["accuracy"]


def test_whole_units_are_drawn():
    units = np.repeat(np.arange(6), 30)
    wide, narrow = (
        gain(
            Clustering(POINTS, TRUTH),
            Clustering(POINTS, WRONG),
            score="accuracy",
            truth=TRUTH,
            units=one,
            draws=Draws(),
        )
        for one in (units, None)
    )
    assert wide.value == pytest.approx(narrow.value, abs=0.02)
    assert wide.low != narrow.low


def test_undefined_scores_are_no_gain():
    one = Clustering(POINTS, np.zeros(180, int))
    found = gain(one, Clustering(POINTS, TRUTH), score="silhouette", draws=DRAWS)
    assert math.isnan(found.value)
    assert not found.is_certain


def test_the_draws_are_those_of_the_intervals():
    for score in ("ari", "silhouette", "davies_bouldin"):
        draws = score_draws(POINTS, WRONG, TRUTH, score=score, draws=DRAWS)
        scores = cluster_scores(POINTS, WRONG, TRUTH, draws=DRAWS)
        assert DRAWS.interval(draws) == pytest.approx((scores[f"{score}_low"], scores[f"{score}_high"]))


def test_an_unknown_score_is_an_error():
    with pytest.raises(ValueError, match="found 'beauty'"):
        score_draws(POINTS, TRUTH, score="beauty")
    with pytest.raises(ValueError, match="found 'ari'"):
        score_draws(POINTS, TRUTH, score="ari")
    assert (sign("davies_bouldin"), sign("ari")) == (-1, 1)
