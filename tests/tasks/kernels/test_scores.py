import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from tasks.kernels.score_intervals import Draws, SortedPoints, shape_scores, silhouette_draws, table_scores
from tasks.kernels.scores import cluster_scores, truth_scores

NONE = Draws(count=0)
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
    limits = {f"{name}_{end}" for name in SHAPE_SCORES for end in ("low", "high")}
    assert set(scores) == {*SHAPE_SCORES, "silhouette_points", "noise_share"} | limits


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
    plain = cluster_scores(points, clusters, truth, draws=NONE)
    renamed = cluster_scores(
        points, [f"c{order[cluster]}" for cluster in clusters], [name.upper() for name in truth], draws=NONE
    )
    turned = cluster_scores(points[::-1], clusters[::-1], truth[::-1], draws=NONE)
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
    sampled = cluster_scores(points, clusters, silhouette_limit=1000, draws=Draws(seed=1))
    assert (whole["silhouette_points"], sampled["silhouette_points"]) == (3000, 1000)
    assert sampled["silhouette"] == pytest.approx(whole["silhouette"], abs=0.03)
    assert sampled["silhouette"] != whole["silhouette"]
    assert sampled == cluster_scores(points, clusters, silhouette_limit=1000, draws=Draws(seed=1))
    assert sampled["davies_bouldin"] == whole["davies_bouldin"]


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="n clusters, found"):
        cluster_scores(np.zeros((3, 2)), [0, 1])
    with pytest.raises(ValueError, match="each of 3 points, found 1"):
        cluster_scores(np.zeros((3, 2)), [0, 1, 1], ["a"])
    with pytest.raises(ValueError, match="unit for each of 3 points, found 2"):
        cluster_scores(np.zeros((3, 2)), [0, 1, 1], units=[0, 1])


def test_points_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        cluster_scores(np.array([[0.0], [np.nan], [1.0]]), [0, 1, 1])


def blobs(count: int, shift: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    clusters = rng.integers(0, 3, count)
    return rng.normal(size=(count, 4)) + shift * clusters[:, None], clusters


def test_the_scores_are_those_of_scikit_learn() -> None:
    points, truth = blobs(400, 1.5)
    clusters = np.random.default_rng(1).permutation(truth) % 2 + (truth > 1)
    scores = cluster_scores(points, clusters, truth)
    assert scores["silhouette"] == pytest.approx(metrics.silhouette_score(points, clusters))
    assert scores["davies_bouldin"] == pytest.approx(metrics.davies_bouldin_score(points, clusters))
    assert scores["calinski_harabasz"] == pytest.approx(metrics.calinski_harabasz_score(points, clusters))
    assert scores["nmi"] == pytest.approx(metrics.normalized_mutual_info_score(truth, clusters))
    assert scores["ari"] == pytest.approx(metrics.adjusted_rand_score(truth, clusters))


def test_formulas_with_weights_are_those_of_scikit_learn_where_every_weight_is_one() -> None:
    points, clusters = blobs(300, 1.0)
    whole = SortedPoints.of(points, clusters)
    found = shape_scores(whole, np.stack([np.ones(300), np.full(300, 2.0), np.zeros(300)]))
    expected = metrics.davies_bouldin_score(points, clusters)
    assert found["davies_bouldin"] == pytest.approx([expected, expected, np.nan], nan_ok=True)
    expected = metrics.calinski_harabasz_score(points, clusters)
    assert found["calinski_harabasz"] == pytest.approx([expected, 597 / 297 * expected, np.nan], nan_ok=True)
    expected = metrics.silhouette_score(points, clusters)
    twice = silhouette_draws(whole, np.stack([np.ones(300), np.full(300, 2.0)]))
    assert twice == pytest.approx([expected, expected], abs=1e-5)  # copies are no neighbours


def test_a_weight_counts_a_point_so_many_times() -> None:
    points, clusters = blobs(60, 1.0)
    weights = np.random.default_rng(2).integers(0, 4, 60)
    found = shape_scores(SortedPoints.of(points, clusters), weights[None].astype(float))
    repeated, names = np.repeat(points, weights, axis=0), np.repeat(clusters, weights)
    assert found["davies_bouldin"] == pytest.approx(metrics.davies_bouldin_score(repeated, names))
    assert found["calinski_harabasz"] == pytest.approx(metrics.calinski_harabasz_score(repeated, names))
    without = np.where(clusters == 1, 0, weights)  # a cluster that was not drawn counts for nothing
    found = shape_scores(SortedPoints.of(points, clusters), without[None].astype(float))
    repeated, names = (np.repeat(one, without, axis=0) for one in (points, clusters))
    assert found["davies_bouldin"] == pytest.approx(metrics.davies_bouldin_score(repeated, names))
    (one,) = silhouette_draws(SortedPoints.of(points, clusters), (weights > 0)[None].astype(float))
    assert one == pytest.approx(
        metrics.silhouette_score(points[weights > 0], clusters[weights > 0]), abs=1e-5
    )


@settings(deadline=None)
@given(rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_table_scores_are_those_of_scikit_learn(rows: list[tuple[int, int]]) -> None:
    truth, clusters = map(list, zip(*rows, strict=True))
    table = metrics.cluster.contingency_matrix(truth, clusters).astype(float)
    found = table_scores(table, None)
    assert found["nmi"] == pytest.approx(metrics.normalized_mutual_info_score(truth, clusters), abs=1e-9)
    assert found["ari"] == pytest.approx(metrics.adjusted_rand_score(truth, clusters))


def test_each_score_lies_in_its_interval_and_more_points_make_it_narrower() -> None:
    widths = []
    for count in (200, 3200):
        points, truth = blobs(count, 1.0)
        clusters = (points.mean(axis=1) > 0.5).astype(int) + (points.mean(axis=1) > 1.5)
        scores = cluster_scores(points, clusters, truth)
        for name in (*SHAPE_SCORES, *TRUTH_SCORES):
            assert scores[f"{name}_low"] < scores[name] < scores[f"{name}_high"]
        widths.append([scores[f"{name}_high"] - scores[f"{name}_low"] for name in ("silhouette", "ari")])
    assert np.array(widths[0]) / widths[1] == pytest.approx([4.0, 4.0], rel=0.35)


def test_intervals_hold_the_score_of_all_cells_as_often_as_they_say() -> None:
    """Of 40 samples of 300 points, about 38 intervals of 95 % hold the score of the whole population."""
    points, truth = blobs(30_000, 2.0)
    clusters = (points.mean(axis=1) > 1.0).astype(int) + (points.mean(axis=1) > 3.0)
    whole = cluster_scores(points, clusters, truth, draws=NONE)
    rng, held = (
        np.random.default_rng(0),
        dict.fromkeys(("silhouette", "davies_bouldin", "accuracy", "ari"), 0),
    )
    for _ in range(40):
        drawn = rng.choice(30_000, 300, replace=False)
        scores = cluster_scores(points[drawn], clusters[drawn], truth[drawn], draws=Draws(100))
        for name in held:
            held[name] += scores[f"{name}_low"] <= whole[name] <= scores[f"{name}_high"]
    assert min(held.values()) >= 33


def test_cells_of_one_chip_are_drawn_together() -> None:
    """Ten chips of one point a hundred times over tell no more than ten points."""
    rng = np.random.default_rng(0)
    chips, clusters, truth = np.arange(10), rng.integers(0, 2, 10), rng.integers(0, 2, 10)
    points = rng.normal(size=(10, 2))
    few = cluster_scores(points, clusters, truth)
    copies = [np.repeat(one, 100, axis=0) for one in (points, clusters, truth)]
    many = cluster_scores(*copies, units=np.repeat(chips, 100))
    for name in ("accuracy_low", "accuracy_high", "davies_bouldin_low", "davies_bouldin_high"):
        assert many[name] == pytest.approx(few[name])
    alone = cluster_scores(*copies)
    assert alone["accuracy_high"] - alone["accuracy_low"] < 0.3 * (
        many["accuracy_high"] - many["accuracy_low"]
    )


def test_noise_is_in_no_cluster() -> None:
    """Clusters 0 0 1 1 and two points of noise: 4 of 6 are right, whatever the noise is."""
    points = np.array([[0.0], [2.0], [10.0], [12.0], [100.0], [-100.0]])
    scores = cluster_scores(points, [0, 0, 1, 1, -1, -1], ["a", "a", "b", "b", "c", "c"])
    assert scores["silhouette"] == pytest.approx((9 / 11 + 7 / 9) / 2)
    assert scores["accuracy"] == scores["purity"] == pytest.approx(4 / 6)
    assert scores["noise_share"] == pytest.approx(2 / 6)
    assert scores["ari"] == 1.0
    only_noise = cluster_scores(points, [-1] * 6, ["a"] * 6)
    assert math.isnan(only_noise["silhouette"])
    assert only_noise["accuracy"] == 0.0


def test_draws_taken_together_are_those_taken_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    points, truth = blobs(100, 1.0)
    together = cluster_scores(points, truth, truth)
    monkeypatch.setattr("tasks.kernels.score_intervals.MOST_WEIGHTS", 300)
    assert cluster_scores(points, truth, truth) == pytest.approx(together, rel=1e-12)


def test_the_same_seed_draws_the_same_intervals() -> None:
    points, truth = blobs(100, 1.0)
    first, same = (cluster_scores(points, truth, truth) for _ in range(2))
    other = cluster_scores(points, truth, truth, draws=Draws(seed=1))
    assert first == same
    assert first["silhouette_low"] != other["silhouette_low"]
