import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from tasks.kernels.clustering import fit_kmeans
from tasks.kernels.even import fit_even


def kinds(n=400, seed=0):
    """Three kinds, equally frequent: two that lie close, and one in two parts that lie apart."""
    rng = np.random.default_rng(seed)
    truth = np.repeat([0, 1, 2], n)
    middles = np.array([(0.0, 0.0), (1.6, 0.0), (10.0, 0.0)])[truth]
    middles[2 * n :, 1] = np.where(np.arange(n) % 2, 3.0, -3.0)
    return middles + rng.normal(0, 0.3, middles.shape), truth


def test_kinds_that_lie_close_are_told_apart_and_one_in_two_parts_is_not():
    points, truth = kinds()
    found = fit_even(points, 3, seed=0)
    assert found.converged
    assert adjusted_rand_score(truth, found.assign(points).labels) > 0.95
    assert adjusted_rand_score(truth, fit_kmeans(points, 3, seed=0).assign(points).labels) < 0.8


def test_clusters_get_equal_shares_and_others_are_assigned_alike():
    points = np.random.default_rng(3).gamma(1.0, 1.0, (3000, 4))
    found = fit_even(points, 5, seed=1)
    sizes = np.bincount(found.assign(points).labels, minlength=5)
    assert sizes.min() > 0.8 * 600
    assert sizes.max() < 1.2 * 600
    np.testing.assert_array_equal(found.assign(points[:7]).labels, found.assign(points).labels[:7])
    assert np.isnan(found.bic(points))


def test_the_seed_decides_and_the_unit_does_not_matter():
    points, _ = kinds()
    one, again = (fit_even(points, 3, seed=4) for _ in range(2))
    np.testing.assert_array_equal(one.centres, again.centres)
    larger = fit_even(1000 * points, 3, seed=4).assign(1000 * points)
    np.testing.assert_array_equal(larger.labels, one.assign(points).labels)


def test_equal_points_and_one_cluster_have_an_answer():
    assert fit_even(np.ones((6, 2)), 2, seed=0).assign(np.ones((6, 2))).labels.shape == (6,)
    assert set(fit_even(kinds(20)[0], 1, seed=0).assign(kinds(20)[0]).labels) == {0}


@pytest.mark.parametrize("points", [np.ones((2, 2)), np.array([[np.nan], [1.0], [2.0], [3.0]])])
def test_too_few_points_or_undefined_ones_are_refused(points):
    with pytest.raises(ValueError, match="expected"):
        fit_even(points, 4, seed=0)
