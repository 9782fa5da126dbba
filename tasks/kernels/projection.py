"""Points of many dimensions on a sheet of paper."""

import warnings

import numpy as np
import numpy.typing as npt
from sklearn.neighbors import NearestNeighbors

FloatArray = npt.NDArray[np.floating]
SMALLEST_UMAP = 4


def umap_2d(
    points: FloatArray, *, seed: int, n_neighbors: int = 15, min_dist: float = 0.1
) -> npt.NDArray[np.float32]:
    """Two coordinates for each point by UMAP (McInnes, Healy and Melville, 2018, arXiv:1802.03426).

    Neighbours stay neighbours; distances between groups and their sizes mean little. One thread, so that
    `seed` decides the picture. With n points:

    - n < 4: principal components (`principal_2d`), as a graph of so few neighbours says nothing;
    - 4 <= n <= n_neighbors: UMAP with n - 1 neighbours;
    - n > n_neighbors: UMAP with `n_neighbors`.

    Parameters
    ----------
    points
        (n, d), finite, d of 1 or more.
    seed
        Decides start and optimisation.
    n_neighbors
        Neighbours of a point, 2 or more: few show detail, many show the whole.
    min_dist
        How close points may lie on the sheet, 0 to 1, in the sheet's own units.

    Returns
    -------
    numpy.ndarray
        float32 (n, 2), without a unit.

    Raises
    ------
    ValueError
        The points are not finite (n, d), or a parameter is out of range.
    """
    finite = _checked(points)
    if n_neighbors < 2 or not 0.0 <= min_dist <= 1.0:
        raise ValueError(
            f"expected n_neighbors of 2 or more and min_dist from 0 to 1, found {n_neighbors} "
            f"and {min_dist}: 15 and 0.1 suit most data"
        )
    if len(finite) < SMALLEST_UMAP:
        return principal_2d(finite)
    return _umap(finite, seed, min(n_neighbors, len(finite) - 1), min_dist)


def principal_2d(points: FloatArray) -> npt.NDArray[np.float32]:
    """Coordinates along the two directions of largest variance (Pearson, 1901), float32 (n, 2).

    Each direction points to where its largest entry is positive, so the picture does not mirror itself from
    run to run. Points that span fewer than two directions get 0 in the others.
    """
    finite = _checked(points)
    out = np.zeros((len(finite), 2), dtype=np.float32)
    if len(finite) == 0:
        return out
    centred = finite - finite.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    directions = directions[:2]
    largest = np.abs(directions).argmax(axis=1)
    signs = np.where(directions[np.arange(len(directions)), largest] < 0, -1.0, 1.0)
    out[:, : len(directions)] = centred @ (directions * signs[:, None]).T
    return out


def _umap(points: FloatArray, seed: int, n_neighbors: int, min_dist: float) -> npt.NDArray[np.float32]:
    """UMAP on exact neighbours: umap's own approximate search compiles for a minute above 4096 points."""
    distances, indices = NearestNeighbors(n_neighbors=n_neighbors).fit(points).kneighbors(points)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # umap warns of one thread, of a missing tensorflow, of few points
        from umap import UMAP  # compiles for seconds, so only whoever draws pays

        reducer = UMAP(
            n_neighbors=n_neighbors,
            min_dist=min_dist,
            random_state=seed,
            n_jobs=1,
            precomputed_knn=(indices, distances.astype(np.float32), None),
            force_approximation_algorithm=True,  # else few points would be searched again
        )
        return np.asarray(reducer.fit_transform(points), dtype=np.float32)


def _checked(points: FloatArray) -> npt.NDArray[np.float64]:
    finite = np.asarray(points, dtype=np.float64)
    if finite.ndim != 2 or finite.shape[1] == 0:
        raise ValueError(f"expected points (n, d) with d of 1 or more, found {finite.shape}: embed cells")
    if not np.isfinite(finite).all():
        raise ValueError("expected finite points, found infinite or undefined ones: leave those rows out")
    return finite
