"""Which found cell is which known one: by the distance of centroids, or by the overlap of masks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial import cKDTree

Labels = NDArray[np.integer]
THRESHOLDS = (0.5, 0.75, 0.9)
SAME_IOU = 0.5  # two masks that share more than half of their union are one cell
RESHAPED_BELOW_IOU = 1.0


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


@dataclass(frozen=True)
class Overlaps:
    """Which masks of two label images share pixels, and how much of their union.

    Attributes
    ----------
    known_ids, found_ids
        The labels of each image, ascending.
    known, found
        Indices into these, one entry for each pair that shares a pixel.
    iou
        Shared pixels over the pixels of both, in (0, 1], one for each pair.
    """

    known_ids: NDArray[np.int64]
    found_ids: NDArray[np.int64]
    known: NDArray[np.int64]
    found: NDArray[np.int64]
    iou: NDArray[np.float64]


def overlaps(known_yx: Labels, found_yx: Labels) -> Overlaps:
    """Return the overlaps of two label images of one shape, 0 being background.

    Raises
    ------
    ValueError
        The shapes differ.
    """
    if known_yx.shape != found_yx.shape:
        raise ValueError(f"expected two label images of one shape, found {known_yx.shape}, {found_yx.shape}")
    known_ids, known, known_px = np.unique(known_yx, return_inverse=True, return_counts=True)
    found_ids, found, found_px = np.unique(found_yx, return_inverse=True, return_counts=True)
    joint, shared_px = np.unique(known.ravel() * len(found_ids) + found.ravel(), return_counts=True)
    rows, columns = np.divmod(joint, max(len(found_ids), 1))
    inside = (known_ids[rows] != 0) & (found_ids[columns] != 0)
    rows, columns, shared_px = rows[inside], columns[inside], shared_px[inside]
    iou = shared_px / (known_px[rows] + found_px[columns] - shared_px)
    return Overlaps(
        known_ids[known_ids != 0].astype(np.int64),
        found_ids[found_ids != 0].astype(np.int64),
        rows - int(0 in known_ids),
        columns - int(0 in found_ids),
        iou,
    )


def match_counts(
    known_yx: Labels, found_yx: Labels, thresholds: Sequence[float] = THRESHOLDS
) -> NDArray[np.int64]:
    """Count the masks that are right, that are missed and that are too many, at several IoU.

    At each threshold as many pairs as possible are matched whose IoU is at least the threshold, each mask
    once (Hopcroft and Karp, 1973); that is what Cellpose counts.

    Returns
    -------
    (n thresholds, 3): right, missed, too many.
    """
    pairs = overlaps(known_yx, found_yx)
    counts = []
    for threshold in thresholds:
        good = pairs.iou >= threshold
        right = _most_pairs(pairs.known[good], pairs.found[good])
        counts.append([right, len(pairs.known_ids) - right, len(pairs.found_ids) - right])
    return np.asarray(counts, np.int64)


def _most_pairs(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> int:
    if rows.size == 0:
        return 0
    shape = (int(rows.max()) + 1, int(columns.max()) + 1)
    graph = csr_array((np.ones(rows.size, bool), (rows, columns)), shape=shape)
    return int((maximum_bipartite_matching(graph, perm_type="column") >= 0).sum())


def average_precision(
    known: Iterable[Labels], found: Iterable[Labels], thresholds: Sequence[float] = THRESHOLDS
) -> NDArray[np.float64]:
    """Return right / (right + missed + too many) at several IoU, the cells of all planes pooled.

    Parameters
    ----------
    known, found
        Label images of the same planes in the same order.
    thresholds
        IoU from which a found mask is right.

    Returns
    -------
    (n thresholds,): 0 worst, 1 best; nan where there is no cell, known or found.
    """
    counts = np.zeros((len(thresholds), 3), np.int64)
    for known_yx, found_yx in zip(known, found, strict=True):
        counts += match_counts(known_yx, found_yx, thresholds)
    return precision_of(counts)


def precision_of(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the average precision of summed `match_counts`; nan where there is no cell."""
    total = counts.sum(axis=1)
    precision = np.full(len(counts), np.nan)
    np.divide(counts[:, 0], total, out=precision, where=total > 0)
    return precision


@dataclass(frozen=True)
class Changes:
    """What a person changed in a label image.

    Attributes
    ----------
    kept, reshaped
        Cells that are there before and after, with the same pixels or with others.
    added, removed
        Cells that are only after, or only before.
    mean_iou
        Mean IoU of the kept and reshaped cells with what they were; nan if there is none.
    """

    kept: int
    reshaped: int
    added: int
    removed: int
    mean_iou: float


def changes(before_yx: Labels, after_yx: Labels) -> Changes:
    """Compare masks with what a person made of them; two masks are one cell if their IoU is above 0.5."""
    pairs = overlaps(before_yx, after_yx)
    same = pairs.iou[pairs.iou > SAME_IOU]
    kept = int((same >= RESHAPED_BELOW_IOU).sum())
    return Changes(
        kept=kept,
        reshaped=same.size - kept,
        added=len(pairs.found_ids) - same.size,
        removed=len(pairs.known_ids) - same.size,
        mean_iou=float(same.mean()) if same.size else float("nan"),
    )
