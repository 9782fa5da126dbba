import os
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest

from tasks.kernels import projection
from tasks.kernels.projection import (
    Projection,
    _edge_weights,
    fit_spectral,
    fit_umap,
    place_all,
    principal_2d,
    tsne_2d,
    umap_2d,
)


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


MAPS = """
import hashlib
import numpy as np
import torch
from tasks.kernels.projection import umap_2d

groups = np.random.default_rng(0).normal(size=(400, 8)) + 12.0 * np.eye(8)[np.repeat(range(4), 100)]
before = torch.get_num_threads()
print([hashlib.sha256(umap_2d(one, seed=3).tobytes()).hexdigest() for one in (groups, groups.round())])
assert torch.get_num_threads() == before, torch.get_num_threads()
"""


@pytest.mark.long  # umap compiles for 10 to 20 s in each
def test_every_process_makes_the_same_map_and_keeps_its_threads() -> None:
    """Of the equally near neighbours of rounded points several threads would choose others."""
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_NUM_THREADS"}
    maps = [
        subprocess.run(
            [sys.executable, "-c", MAPS],
            env={**environment, "OMP_NUM_THREADS": threads},
            check=True,
            stdout=subprocess.PIPE,
        ).stdout
        for threads in ("1", "2")
    ]
    assert maps[0] == maps[1]


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


def test_a_point_is_placed_among_its_neighbours() -> None:
    fitted = np.array([[0.0], [1.0], [10.0], [11.0]])
    made = Projection(fitted, np.array([[0.0, 0.0], [0.0, 2.0], [5.0, 0.0], [5.0, 2.0]]), np.arange(4), 2)
    np.testing.assert_allclose(made.place(np.array([[0.5], [10.5]])), [[0.0, 1.0], [5.0, 1.0]], atol=1e-3)
    near_first = made.place(np.array([[0.01]]))[0]
    assert 0.0 < near_first[1] < 1.0


def test_weights_of_neighbours_sum_to_the_logarithm_of_their_number() -> None:
    distances = np.sort(np.random.default_rng(0).uniform(1, 5, (20, 8)), axis=1).astype(np.float32)
    weights = _edge_weights(distances)
    np.testing.assert_allclose(weights.sum(axis=1), 3.0, rtol=1e-3)
    assert (np.diff(weights, axis=1) <= 0).all()
    assert (weights[:, 0] == 1.0).all()
    assert (_edge_weights(np.ones((2, 4), np.float32)) == 1.0).all()


def test_of_many_points_some_make_the_map_and_the_others_are_placed(monkeypatch: pytest.MonkeyPatch) -> None:
    def first_axes(points: Any, _seed: int, dimensions: int, *_options: Any) -> Any:
        return points[:, :dimensions].astype(np.float32)

    monkeypatch.setattr(projection, "_umap", first_axes)
    points = np.random.default_rng(0).normal(size=(400, 3)) * [1, 1, 1e-3]
    made = fit_umap(points, seed=0, most_points=300, n_neighbors=5)
    assert len(made.rows) == len(made.fitted) == 300
    found = place_all(made, points)
    np.testing.assert_allclose(found[made.rows], points[made.rows, :2], rtol=1e-6)
    rest = np.setdiff1d(np.arange(400), made.rows)
    error = np.linalg.norm(found[rest] - points[rest, :2], axis=1)
    assert np.median(error) < 0.15


def test_a_map_of_no_points_places_others_at_the_origin() -> None:
    made = fit_umap(np.zeros((0, 4)), seed=0, dimensions=3)
    assert (made.place(np.ones((2, 4))) == np.zeros((2, 3))).all()


@pytest.mark.slow  # umap compiles for 10 to 20 s
def test_points_that_umap_has_not_seen_lie_with_their_cloud() -> None:
    truth = np.repeat([0, 1, 2], 60)
    points = np.random.default_rng(0).normal(size=(180, 8)) + 12.0 * np.eye(8)[truth]
    made = fit_umap(points[::2], seed=0, dimensions=3)
    found, half = made.place(points[1::2]), truth[::2]
    assert found.shape == (90, 3)
    centres = np.array([made.placed[half == group].mean(axis=0) for group in range(3)])
    nearest = np.linalg.norm(found[:, None] - centres[None], axis=-1).argmin(axis=1)
    assert (nearest == truth[1::2]).all()


def test_t_sne_keeps_clouds_apart_and_repeats_itself() -> None:
    truth = np.repeat([0, 1, 2], 20)
    points = np.random.default_rng(0).normal(size=(60, 8)) + 12.0 * np.eye(8)[truth]
    found = tsne_2d(points, seed=0)
    centres = np.array([found[truth == group].mean(axis=0) for group in range(3)])
    assert (np.linalg.norm(found[:, None] - centres[None], axis=-1).argmin(axis=1) == truth).all()
    assert np.array_equal(tsne_2d(points, seed=0), found)
    assert (tsne_2d(np.ones((20, 3)), seed=0) == 0.0).all()
    assert tsne_2d(np.zeros((2, 3)), seed=0).shape == (2, 2)


def rings(n: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two rings, one in the other, which no centre tells apart."""
    rng = np.random.default_rng(seed)
    truth, angle = np.arange(n) % 2, rng.uniform(0, 2 * np.pi, n)
    radius = np.array([1.0, 3.0])[truth] + rng.normal(0, 0.1, n)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1), truth


def test_a_spectral_map_takes_apart_what_no_way_connects() -> None:
    points, truth = rings()
    made = fit_spectral(points, seed=0, dimensions=2, n_neighbors=8)
    np.testing.assert_allclose(np.linalg.norm(made.placed, axis=1), 1.0, atol=1e-5)
    inner, outer = (made.placed[truth == ring] for ring in (0, 1))
    assert np.abs(inner @ outer.T).max() < 0.05, "each ring has an axis of its own"
    others, theirs = rings(60, seed=1)
    placed = made.place(others)
    assert ((np.abs(placed @ inner[0]) > 0.9) == (theirs == 0)).all()


def test_a_spectral_map_repeats_itself_and_takes_as_many_points_as_it_may() -> None:
    points, _ = rings()
    one, again = (fit_spectral(points, seed=3, dimensions=3, most_points=100) for _ in range(2))
    np.testing.assert_array_equal(one.placed, again.placed)
    assert one.placed.shape == (100, 3)
    assert place_all(one, points).shape == (300, 3)


@pytest.mark.parametrize("changes", [{"dimensions": 0}, {"dimensions": 9}, {"n_neighbors": 1}])
def test_a_spectral_map_that_cannot_be_made_is_refused(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        fit_spectral(rings(10)[0], seed=0, **({"dimensions": 2} | changes))
