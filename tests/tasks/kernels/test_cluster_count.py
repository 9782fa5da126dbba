from functools import partial

import numpy as np
import pytest

from tasks.kernels import cluster_count
from tasks.kernels.cluster_count import choose_count
from tasks.kernels.clustering import fit_kmeans, fit_mixture

CENTRES = np.array([[-8.0, 0.0], [0.0, 8.0], [8.0, 0.0], [0.0, -8.0]])


def four_clouds(each=60):
    return np.repeat(CENTRES, each, axis=0) + np.random.default_rng(0).normal(size=(4 * each, 2))


def chosen(points, fit, counts=range(1, 7), least_stability=0.8):
    def fitted(points, count):
        return fit(points, count, seed=0, n_init=2)

    return choose_count(points, fitted, list(counts), resamples=3, least_stability=least_stability, seed=0)


@pytest.mark.parametrize("fit", [fit_mixture, fit_kmeans, partial(fit_mixture, covariance="diag")])
def test_four_clouds_are_four_clusters(fit):
    number, found = chosen(four_clouds(), fit)
    assert number == 4
    assert [one.clusters for one in found] == list(range(1, 7))
    by_count = {one.clusters: one for one in found}
    assert by_count[4].stability == pytest.approx(1.0)
    assert by_count[6].stability < 0.9
    assert by_count[4].row() == {"clusters": 4, "bic": by_count[4].bic, "stability": by_count[4].stability}


def test_one_cloud_is_one_cluster():
    assert chosen(np.random.default_rng(0).normal(size=(300, 3)), fit_mixture, (1, 2, 3))[0] == 1


def test_clusters_that_only_bic_wants_are_refused():
    """A ring: BIC pays for Gaussians along it, and each half of the points sets them elsewhere."""
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, 400)
    points = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points += np.random.default_rng(1).normal(scale=0.1, size=points.shape)
    number, found = chosen(points, fit_mixture, (1, 4, 6), least_stability=0.9)
    wanted = min(found, key=lambda one: one.bic).clusters
    assert wanted > number
    assert next(one.stability for one in found if one.clusters == number) >= 0.9


def test_without_a_stable_number_the_most_stable_is_taken():
    points = np.random.default_rng(0).normal(size=(200, 2))
    number, found = chosen(points, fit_kmeans, (5, 6, 7), least_stability=1.0)
    assert number == max(found, key=lambda one: one.stability).clusters


def test_more_clusters_than_a_half_can_bear_are_not_tried():
    _, found = chosen(four_clouds(each=3), fit_kmeans)
    assert [one.clusters for one in found] == [1, 2, 3]


def test_of_many_points_some_are_drawn(monkeypatch):
    monkeypatch.setattr(cluster_count, "MOST_POINTS", 120)
    seen = []

    def fit(points, count):
        seen.append(len(points))
        return fit_kmeans(points, count, seed=0)

    number, _ = choose_count(four_clouds(), fit, [2, 4], resamples=1, least_stability=0.8, seed=0)
    assert number == 4
    assert set(seen) == {120, 60}
