import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.kernels.scores import cluster_scores, truth_scores

SHAPE_SCORES = ("silhouette", "davies_bouldin", "calinski_harabasz")
TRUTH_SCORES = ("accuracy", "purity", "nmi", "ari")
POPULATIONS = st.sampled_from(["round", "bent", "lobed"])
LABELS = st.lists(st.tuples(st.integers(0, 3), POPULATIONS), min_size=2, max_size=40)


def test_two_pairs_on_a_line_by_hand() -> None:
    """Points 0, 2 and 10, 12.

    Silhouette: a = 2 everywhere, b = 11 for the outer and 9 for the inner points: (9/11 + 7/9) / 2.
    Davies-Bouldin: (1 + 1) / 10. Calinski-Harabasz: between 4 * 25 / 1, within 4 / 2.
    """
    scores = cluster_scores(np.array([[0.0], [2.0], [10.0], [12.0]]), [0, 0, 1, 1])
    assert scores["silhouette"] == pytest.approx((9 / 11 + 7 / 9) / 2)
    assert scores["davies_bouldin"] == pytest.approx(0.2)
    assert scores["calinski_harabasz"] == pytest.approx(50.0)
    assert scores["silhouette_points"] == 4
    assert set(scores) == {*SHAPE_SCORES, "silhouette_points"}


def test_accuracy_and_purity_by_hand() -> None:
    """Cluster 0: a a a b; cluster 1: a a; cluster 2: b c.

    Purity takes 3 + 2 + 1 of 8. One-to-one, only one of the first two clusters may be a: 3 + 1 of 8.
    """
    scores = truth_scores([0, 0, 0, 0, 1, 1, 2, 2], list("aaabaabc"))
    assert scores["purity"] == pytest.approx(6 / 8)
    assert scores["accuracy"] == pytest.approx(4 / 8)


def test_the_pairing_is_the_best_and_not_the_greedy_one() -> None:
    """Counts [[4, 3], [3, 0]]: greedy takes 4 + 0, the best pairing 3 + 3."""
    truth = ["a"] * 4 + ["b"] * 3 + ["a"] * 3
    assert truth_scores([0] * 7 + [1] * 3, truth)["accuracy"] == pytest.approx(6 / 10)


@settings(deadline=None)
@given(order=st.permutations(range(4)), truth=st.lists(st.integers(0, 3), min_size=2, max_size=40))
def test_permuted_labels_are_perfect(order: list[int], truth: list[int]) -> None:
    scores = truth_scores([order[value] for value in truth], [f"population {value}" for value in truth])
    assert [scores[name] for name in TRUTH_SCORES] == pytest.approx([1.0] * 4)


@settings(deadline=None)
@given(rows=LABELS, order=st.permutations(range(4)))
def test_names_and_order_do_not_matter(rows: list[tuple[int, str]], order: list[int]) -> None:
    clusters, truth = [cluster for cluster, _ in rows], [name for _, name in rows]
    points = np.random.default_rng(0).normal(size=(len(rows), 2))
    plain = cluster_scores(points, clusters, truth)
    renamed = cluster_scores(
        points, [f"c{order[cluster]}" for cluster in clusters], [name.upper() for name in truth]
    )
    turned = cluster_scores(points[::-1], clusters[::-1], truth[::-1])
    for other in (renamed, turned):
        assert other == pytest.approx(plain, nan_ok=True)


@settings(deadline=None)
@given(rows=LABELS)
def test_bounds(rows: list[tuple[int, str]]) -> None:
    scores = truth_scores([cluster for cluster, _ in rows], [name for _, name in rows])
    assert 0.0 < scores["accuracy"] <= scores["purity"] <= 1.0
    assert -1e-9 <= scores["nmi"] <= 1.0 + 1e-9
    assert -1.0 <= scores["ari"] <= 1.0


def test_unknown_truth_is_left_out() -> None:
    clusters = [0, 0, 1, 1, 1, 0, 1, 0]
    truth: list[Any] = ["a", "a", "b", "b", None, "", pd.NA, float("nan")]
    scores = truth_scores(clusters, truth)
    assert scores == pytest.approx({**dict.fromkeys(TRUTH_SCORES, 1.0), "truth_points": 4.0})
    assert truth_scores(np.array(clusters), np.array(truth, dtype=object)) == pytest.approx(scores)


def test_zero_is_a_known_truth() -> None:
    assert truth_scores([1, 0], np.array([0, 1]))["truth_points"] == 2


def test_truth_that_is_nowhere_known_gives_nan() -> None:
    scores = truth_scores([0, 1], ["", None])
    assert all(math.isnan(scores[name]) for name in TRUTH_SCORES)
    assert scores["truth_points"] == 0


@pytest.mark.parametrize("clusters", [[0, 0, 0], [0, 1, 2], [], [5]])
def test_what_has_no_score_is_nan(clusters: list[int]) -> None:
    scores = cluster_scores(np.zeros((len(clusters), 2)), clusters, ["a"] * len(clusters))
    assert all(math.isnan(scores[name]) for name in SHAPE_SCORES)


def test_a_large_silhouette_is_estimated_from_a_seeded_sample() -> None:
    rng = np.random.default_rng(0)
    clusters = rng.integers(0, 3, 3000)
    points = rng.normal(size=(3000, 2)) + 4 * clusters[:, None]
    whole = cluster_scores(points, clusters)
    sampled = cluster_scores(points, clusters, silhouette_limit=1000, seed=1)
    assert (whole["silhouette_points"], sampled["silhouette_points"]) == (3000, 1000)
    assert sampled["silhouette"] == pytest.approx(whole["silhouette"], abs=0.03)
    assert sampled["silhouette"] != whole["silhouette"]
    assert sampled == cluster_scores(points, clusters, silhouette_limit=1000, seed=1)
    assert sampled["davies_bouldin"] == whole["davies_bouldin"]


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="n clusters, found"):
        cluster_scores(np.zeros((3, 2)), [0, 1])
    with pytest.raises(ValueError, match="each of 3 points, found 1"):
        cluster_scores(np.zeros((3, 2)), [0, 1, 1], ["a"])
