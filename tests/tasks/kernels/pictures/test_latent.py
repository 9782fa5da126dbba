import numpy as np
import pytest

from tasks.kernels import pictures
from tasks.kernels.pictures import style
from tasks.kernels.pictures.latent import _telling, correlations
from tests.tasks.kernels.pictures.png import holds_colour, pixels

RNG = np.random.default_rng(0)
CLUSTERS = np.repeat([0, 1, -1], 40)
LATENT = RNG.normal(size=(120, 3)) + np.array([4.0, 0.0, 0.0]) * (CLUSTERS == 1)[:, None]
NAMES = ["cluster 0", "cluster 1"]


def test_each_cluster_has_its_colour_and_noise_has_none():
    png = pictures.latent_distributions(LATENT, CLUSTERS, names=NAMES)
    assert holds_colour(png, style.rgb(style.CATEGORIES[0]))
    assert holds_colour(png, style.rgb(style.CATEGORIES[1]))
    assert not holds_colour(png, style.rgb(style.CATEGORIES[2]))
    assert png == pictures.latent_distributions(LATENT, CLUSTERS, names=NAMES)


def test_of_many_dimensions_those_that_tell_clusters_apart_are_drawn():
    latent, clusters = RNG.normal(size=(200, 40)), np.repeat([0, 1], 100)
    latent[clusters == 1, 7] += 5
    latent[clusters == 1, 33] += 5
    shown = _telling(latent, clusters)
    assert len(shown) == 16
    assert {7, 33} <= set(shown)
    assert shown == sorted(shown)


def test_correlations_by_hand():
    """Means (1, -1, 0) and its opposite, and (1, 1, -2), at right angles to both."""
    means = np.array([[1.0, -1, 0], [-1, 1, 0], [1, 1, -2], [-1, -1, 2]]) / np.sqrt([1.0, 1, 2])
    matrix, present = correlations(means, np.array([0, 1, 2, 3]))
    assert present == [0, 1, 2, 3]
    assert matrix[0, 1] == pytest.approx(-1)
    assert matrix[2, 3] == pytest.approx(-1)
    assert matrix[0, 2] == pytest.approx(0, abs=1e-9)
    assert np.allclose(np.diag(matrix), 1)
    assert pixels(pictures.cluster_correlations(LATENT, CLUSTERS, names=NAMES)).size


def test_traversals_have_a_row_a_dimension():
    one = pictures.traversals(RNG.random((1, 5, 8, 8)), names=["z1"], steps=[-2, -1, 0, 1, 2])
    three = pictures.traversals(RNG.random((3, 5, 8, 8)), names=["a", "b", "c"], steps=[-2, -1, 0, 1, 2])
    assert pixels(three).shape[0] > 1.5 * pixels(one).shape[0]
    with pytest.raises(ValueError, match="2 dimensions x 5 steps"):
        pictures.traversals(RNG.random((3, 5, 8, 8)), names=["a", "b"], steps=[-2, -1, 0, 1, 2])


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="n clusters"):
        pictures.latent_distributions(LATENT, CLUSTERS[1:], names=NAMES)
    with pytest.raises(ValueError, match="numbers from 0 to 0"):
        pictures.cluster_correlations(LATENT, CLUSTERS, names=NAMES[:1])
