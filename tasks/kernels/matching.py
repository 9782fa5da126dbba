"""Which found cell is which known one, by the distance of their centroids."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree


def match_centroids(
    found: NDArray[np.float64], known: NDArray[np.float64], *, farthest_px: float
) -> NDArray[np.int64]:
    """Return for each found cell the known one that it is, -1 for none.

    Each known cell is given once; the sum of distances is smallest (Hungarian method, Kuhn 1955) among all
    matchings with as many pairs of at most `farthest_px` as possible within each group of near cells.

    Parameters
    ----------
    found, known
        Centroids (y, x) in px, shapes (n, 2) and (m, 2).
    farthest_px
        Cells farther apart are never the same.

    Returns
    -------
    Indices into `known`, int64, shape (n,).
    """
    matched = np.full(len(found), -1, np.int64)
    if len(found) == 0 or len(known) == 0:
        return matched
    near = cKDTree(found).sparse_distance_matrix(cKDTree(known), farthest_px, output_type="coo_matrix")
    rows, columns = np.unique(near.row), np.unique(near.col)
    if rows.size == 0:
        return matched
    cost = np.full((rows.size, columns.size), 1e3 * farthest_px)
    cost[np.searchsorted(rows, near.row), np.searchsorted(columns, near.col)] = near.data
    i, j = linear_sum_assignment(cost)
    good = cost[i, j] <= farthest_px
    matched[rows[i[good]]] = columns[j[good]]
    return matched
