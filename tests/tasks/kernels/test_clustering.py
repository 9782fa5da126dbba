import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tasks.kernels import clustering
from tasks.kernels.clustering import fit_hdbscan, fit_kmeans, fit_mixture
from tasks.kernels.scores import truth_scores

SIZES = (20, 90, 50)
CENTRES = np.array([[-8.0, 0.0], [0.0, 8.0], [8.0, 0.0]])


def three_clouds(seed: int = 0) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    truth = np.repeat(np.arange(3), SIZES)
    return CENTRES[truth] + np.random.default_rng(seed).normal(size=(len(truth), 2)), truth


@pytest.mark.parametrize("covariance", ["full", "tied", "diag", "spherical"])
def test_three_clouds_are_found_largest_first(covariance: Any) -> None:
    points, truth = three_clouds()
    result = fit_mixture(points, 3, seed=0, covariance=covariance)
    labels = result.assign(points).labels
    assert truth_scores(labels, truth)["accuracy"] == 1.0
    assert np.bincount(labels).tolist() == [90, 50, 20]
    np.testing.assert_allclose(result.means, CENTRES[[1, 2, 0]], atol=0.6)
    assert result.converged


def test_k_means_finds_them_too_and_points_it_has_not_seen() -> None:
    points, truth = three_clouds()
    result = fit_kmeans(points, 3, seed=0)
    np.testing.assert_allclose(result.centres, CENTRES[[1, 2, 0]], atol=0.6)
    others, other_truth = three_clouds(seed=1)
    assert truth_scores(result.assign(others).labels, other_truth)["accuracy"] == 1.0
    assert result.assign(CENTRES).labels.tolist() == [2, 0, 1]
    assert np.bincount(result.assign(points).labels).tolist() == np.bincount(truth)[[1, 2, 0]].tolist()


def test_bic_of_balls_is_lowest_at_the_true_number() -> None:
    points, _ = three_clouds()
    bic = {k: fit_kmeans(points, k, seed=0).bic(points) for k in range(1, 6)}
    assert min(bic, key=lambda k: bic[k]) == 3


def test_bic_of_balls_agrees_with_a_mixture_where_clusters_are_far_apart() -> None:
    """Then hard and soft membership are the same; the mixture has a variance for each ball, two more."""
    truth = np.repeat(np.arange(3), 2000)
    points = 10 * CENTRES[truth] + np.random.default_rng(0).normal(size=(6000, 2))
    balls = fit_kmeans(points, 3, seed=0).bic(points)
    mixture = fit_mixture(points, 3, seed=0, covariance="spherical").bic(points)
    assert balls + 2 * np.log(6000) == pytest.approx(mixture, abs=10)


def test_hdbscan_finds_clouds_and_leaves_noise() -> None:
    points, truth = three_clouds()
    far = np.array([[50.0, 50.0], [-50.0, 50.0], [50.0, -50.0]])
    result = fit_hdbscan(np.concatenate([points, far]), seed=0, min_cluster_size=10)
    labels = result.assign(points).labels
    assert result.count == 3
    inside = labels >= 0
    assert inside.mean() > 0.8
    assert truth_scores(labels[inside], truth[inside])["accuracy"] == 1.0
    assert result.assign(far).labels.tolist() == [-1, -1, -1]
    assert result.assign(CENTRES).labels.tolist() == [2, 0, 1]


def test_hdbscan_of_too_few_points_is_all_noise() -> None:
    result = fit_hdbscan(np.zeros((3, 2)), seed=0, min_cluster_size=5)
    assert result.count == 0
    assert result.assign(np.zeros((2, 2))).labels.tolist() == [-1, -1]


def test_of_many_points_the_starts_see_some_and_the_end_all(monkeypatch: pytest.MonkeyPatch) -> None:
    points, truth = three_clouds()
    whole = fit_mixture(points, 3, seed=0)
    monkeypatch.setattr(clustering, "START_POINTS", 60)
    for covariance in ("full", "tied", "diag", "spherical"):
        found = fit_mixture(points, 3, seed=0, covariance=covariance)
        assert truth_scores(found.assign(points).labels, truth)["accuracy"] == 1.0
        np.testing.assert_allclose(found.means, whole.means, atol=1e-3)  # a mean of 60 is 0.2 off


def test_labels_are_the_most_probable_clusters() -> None:
    points, _ = three_clouds()
    result = fit_mixture(points, 4, seed=1)
    probabilities, assigned = result.probabilities(points), result.assign(points)
    assert probabilities.shape == (160, 4)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    assert np.array_equal(probabilities.argmax(axis=1), assigned.labels)
    assert np.array_equal(probabilities.max(axis=1), assigned.probability)


def test_the_order_of_the_rows_does_not_number_the_clusters() -> None:
    points, _ = three_clouds()
    order = np.random.default_rng(1).permutation(len(points))
    plain, shuffled = fit_mixture(points, 3, seed=0), fit_mixture(points[order], 3, seed=0)
    assert np.array_equal(shuffled.assign(points).labels, plain.assign(points).labels)
    np.testing.assert_allclose(shuffled.means, plain.means, atol=1e-6)


def test_equal_sizes_are_numbered_by_first_coordinate() -> None:
    points = np.array([[5.0], [5.1], [-5.0], [-5.1], [0.0], [0.1]])
    for seed in range(4):
        assert fit_mixture(points, 3, seed=seed).assign(points).labels.tolist() == [2, 2, 0, 0, 1, 1]


def test_bic_is_lowest_at_the_true_number() -> None:
    points, _ = three_clouds()
    bic = {k: fit_mixture(points, k, seed=0).bic(points) for k in range(1, 6)}
    assert min(bic, key=lambda k: bic[k]) == 3


def test_bic_of_one_gaussian_by_hand() -> None:
    """-2 ln L + p ln n, with p = 2 and the variance floor of 1e-6 added to the sample's variance."""
    points = np.array([[-1.0], [1.0], [-1.0], [1.0]])
    variance = 1.0 + 1e-6
    expected = 4 * np.log(2 * np.pi * variance) + 4 / variance + 2 * np.log(4)
    assert fit_mixture(points, 1, seed=0).bic(points) == pytest.approx(expected)


def test_same_seed_same_result() -> None:
    points = np.random.default_rng(0).normal(size=(200, 3))
    one, two = (fit_mixture(points, 4, seed=5).probabilities(points) for _ in range(2))
    assert np.array_equal(one, two)


def test_a_fit_that_does_not_converge_says_so_without_a_warning(
    recwarn: pytest.WarningsRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = np.random.default_rng(0).normal(size=(500, 6))
    assert fit_mixture(points, 8, seed=0).converged
    impatient = functools.partial(clustering.GaussianMixture, max_iter=1)
    monkeypatch.setattr(clustering, "GaussianMixture", impatient)
    assert not fit_mixture(points, 8, seed=0).converged
    assert not recwarn.list


@pytest.mark.parametrize(
    ("points", "options", "text"),
    [
        (np.zeros((3, 2)), {"n_clusters": 4}, "expected 1 to 3 clusters"),
        (np.zeros((3, 2)), {"n_clusters": 0}, "expected 1 to 3 clusters"),
        (np.zeros((3, 2)), {"n_clusters": 1, "covariance": "round"}, "found 'round'"),
        (np.zeros((3, 2)), {"n_clusters": 1, "n_init": 0}, "n_init"),
        (np.zeros(3), {"n_clusters": 1}, r"found \(3,\)"),
        (np.zeros((0, 2)), {"n_clusters": 1}, r"found \(0, 2\)"),
        (np.array([[0.0], [np.nan]]), {"n_clusters": 1}, "first in row 1"),
    ],
)
def test_bad_input_is_refused(points: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        fit_mixture(points, **options, seed=0)
