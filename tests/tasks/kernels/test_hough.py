import numpy as np
from skimage.transform import hough_line

from tasks.kernels.hough import hough_counts


def test_the_counts_are_those_of_scikit_image():
    edges = np.random.default_rng(0).random((90, 131)) < 0.05
    angles_rad = np.deg2rad(np.arange(-90, 90, 0.7))
    expected = hough_line(edges, angles_rad)[0].T
    found = hough_counts(edges, angles_rad)
    assert found.shape == expected.shape
    assert (found != expected).mean() < 1e-3  # pixels halfway between two distances
    np.testing.assert_array_equal(found.sum(axis=1), edges.sum())


def test_a_line_gathers_in_one_place():
    edges = np.zeros((40, 50), bool)
    edges[:, 17] = True
    counts = hough_counts(edges, np.array([0.0, np.pi / 2]))
    assert counts[0, counts.shape[1] // 2 + 17] == 40
    assert counts[1].max() == 1


def test_without_edges_nothing_is_counted():
    assert not hough_counts(np.zeros((5, 6), bool), np.array([0.0])).any()
