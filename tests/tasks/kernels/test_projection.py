import sys
import warnings
from typing import Any

import numpy as np
import pytest

from tasks.kernels.projection import principal_2d, umap_2d


def test_principal_axes_of_a_turned_ellipse() -> None:
    """Points on a line through (3, 4) lie 5 apart on the first axis, and at 0 on the second."""
    found = principal_2d(np.array([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]]))
    np.testing.assert_allclose(found, [[-5.0, 0.0], [0.0, 0.0], [5.0, 0.0]], atol=1e-6)


def test_principal_distances_survive_and_do_not_mirror() -> None:
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(30, 2)) * [4.0, 1.0]
    turn, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    points = flat @ turn[:2] + 7.0
    found = principal_2d(points)
    between = np.linalg.norm(found[:, None] - found[None], axis=-1)
    np.testing.assert_allclose(between, np.linalg.norm(flat[:, None] - flat[None], axis=-1), atol=1e-4)
    np.testing.assert_allclose(principal_2d(points[::-1])[::-1], found, atol=1e-4)


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_too_few_points_take_principal_components_and_no_umap(
    n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)  # an import would raise
    points = np.random.default_rng(0).normal(size=(n, 5))
    found = umap_2d(points, seed=0)
    assert found.shape == (n, 2)
    assert found.dtype == np.float32
    assert np.array_equal(found, principal_2d(points))


@pytest.mark.parametrize("points", [np.ones((3, 1)), np.ones((3, 4))])
def test_points_without_spread_lie_at_the_origin(points: Any) -> None:
    assert (umap_2d(points, seed=0) == 0.0).all()


@pytest.mark.slow  # umap compiles for 10 to 20 s
def test_umap_keeps_clouds_apart_repeats_itself_and_is_silent() -> None:
    truth = np.repeat([0, 1, 2], 40)
    points = np.random.default_rng(0).normal(size=(120, 8)) + 12.0 * np.eye(8)[truth]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = umap_2d(points, seed=3)
        for n in (4, 5, 15, 16):
            few = umap_2d(points[:n], seed=3)
            assert few.shape == (n, 2)
            assert np.isfinite(few).all()
        assert np.isfinite(umap_2d(np.ones((20, 3)), seed=3)).all()
    centres = np.array([found[truth == group].mean(axis=0) for group in range(3)])
    nearest = np.linalg.norm(found[:, None] - centres[None], axis=-1).argmin(axis=1)
    assert (nearest == truth).all()
    assert found.dtype == np.float32
    assert np.array_equal(umap_2d(points, seed=3), found)
    assert not np.array_equal(umap_2d(points, seed=4), found)


@pytest.mark.parametrize(
    ("points", "options", "text"),
    [
        (np.zeros(5), {}, r"found \(5,\)"),
        (np.zeros((5, 0)), {}, r"found \(5, 0\)"),
        (np.full((5, 2), np.inf), {}, "finite"),
        (np.zeros((5, 2)), {"n_neighbors": 1}, "n_neighbors of 2 or more"),
        (np.zeros((5, 2)), {"min_dist": 1.5}, "min_dist from 0 to 1"),
    ],
)
def test_bad_input_is_refused(points: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        umap_2d(points, seed=0, **options)
