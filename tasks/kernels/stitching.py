"""Labels of a plane from labels of its tiles, without talk between the tiles.

A tile is a core, which it writes, and a halo round it, which it only sees; core and halo together are its
window. The labels of a window get numbers that both tiles that see a whole object agree on: the place of the
object's first pixel in the plane. So objects smaller than the halo need no stitching. Larger ones are seen in
part, and get several numbers; these are found where windows overlap, and merged. At last all numbers become
dense, in the order of the objects' first pixels.

    window labels -> provisional_labels -> write the core, keep the halo's strips
    strips of one tile, cores of its neighbours -> overlapping_pairs -> merge_ids -> relabel every core
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tasks.kernels.checks import require_plane


def provisional_labels(
    labels_yx: NDArray[np.generic], origin_yx: Sequence[int], plane_shape: Sequence[int]
) -> NDArray[np.unsignedinteger]:
    """Number the objects of a window by their first pixel: 1 + y * width + x of the plane, rows first.

    Parameters
    ----------
    labels_yx
        Labels of the window, axes y x, integers, 0 is background, no label above the number of pixels.
    origin_yx
        Where in the plane the window's first pixel lies, px.
    plane_shape
        Shape of the plane, y x, px.

    Returns
    -------
    Labels of the same shape: uint32 where the plane has less than 2**32 pixels, else uint64.

    Raises
    ------
    ValueError
        If the window leaves the plane, or a label is negative or above the number of pixels.
    """
    require_plane(labels_yx, "labels_yx")
    _check_inside(labels_yx.shape, origin_yx, plane_shape)
    highest = int(labels_yx.max())
    if labels_yx.dtype.kind not in "iu" or int(labels_yx.min()) < 0 or highest > labels_yx.size:
        raise ValueError(
            f"labels_yx: expected integers from 0 to {labels_yx.size}, "
            f"found {labels_yx.dtype} from {labels_yx.min()} to {highest}; make them dense first"
        )
    dtype = np.uint32 if plane_shape[0] * plane_shape[1] < 2**32 else np.uint64
    flat = labels_yx.ravel()
    places = np.zeros(highest + 1, np.int64)
    # The last assignment to a place wins, so backwards the first pixel of each label stays.
    places[flat[::-1]] = np.arange(flat.size - 1, -1, -1)
    y, x = np.divmod(places, labels_yx.shape[1])
    numbers = (1 + (y + origin_yx[0]) * plane_shape[1] + x + origin_yx[1]).astype(dtype)
    numbers[0] = 0
    numbered: NDArray[np.unsignedinteger] = numbers[labels_yx]
    return numbered


def overlapping_pairs(
    mine_yx: NDArray[np.unsignedinteger], theirs_yx: NDArray[np.unsignedinteger], *, min_iou: float = 0.3
) -> NDArray[np.uint64]:
    """Find numbers that two tiles gave to the same object, on pixels that both saw.

    Parameters
    ----------
    mine_yx, theirs_yx
        Provisional labels of the same pixels, such as a tile's halo and the core of the neighbour in which it
        lies.
    min_iou
        Two objects are one if their common pixels are at least this share of their joint pixels, here, in (0,
        1].

    Returns
    -------
    Pairs of different numbers, uint64, shape (n, 2), sorted, each once. Equal numbers need no merging and are
    left out.

    Raises
    ------
    ValueError
        If the shapes differ, or the share is out of range.
    """
    if mine_yx.shape != theirs_yx.shape or not 0 < min_iou <= 1:
        raise ValueError(
            "expected two views of the same pixels and min_iou in (0, 1], "
            f"found shapes {mine_yx.shape} and {theirs_yx.shape}, min_iou {min_iou}"
        )
    mine, mine_at, mine_area = np.unique(mine_yx, return_inverse=True, return_counts=True)
    theirs, theirs_at, theirs_area = np.unique(theirs_yx, return_inverse=True, return_counts=True)
    codes, common = np.unique(mine_at.ravel() * theirs.size + theirs_at.ravel(), return_counts=True)
    i, j = np.divmod(codes, max(theirs.size, 1))
    joint = mine_area[i] + theirs_area[j] - common
    same = (mine[i] != theirs[j]) & (mine[i] > 0) & (theirs[j] > 0) & (common >= min_iou * joint)
    pairs = np.stack([mine[i[same]], theirs[j[same]]], axis=1).astype(np.uint64)
    return np.unique(np.sort(pairs, axis=1), axis=0)


def merge_ids(pairs: NDArray[np.uint64], ids: NDArray[np.unsignedinteger]) -> NDArray[np.uint32]:
    """Give every provisional number its final one: merged, dense, in the order of the objects' first pixels.

    Parameters
    ----------
    pairs
        Numbers of the same object, shape (n, 2). A pair with a number that no core holds is left out: such an
        object was only seen, cut off, at the rim of a halo.
    ids
        All numbers that the cores hold, sorted, each once, without 0.

    Returns
    -------
    Final numbers 1 to n, uint32, one for each of `ids`.

    Raises
    ------
    ValueError
        If `ids` are not sorted, repeat, or hold 0.
    """
    _check_sorted(ids)
    known = pairs[np.isin(pairs, ids).all(axis=1)] if pairs.size else np.empty((0, 2), np.uint64)
    i, j = np.searchsorted(ids, known).T
    graph = coo_array((np.ones(i.size, bool), (i, j)), shape=(ids.size, ids.size))
    _, component = connected_components(graph, directed=False)
    # Components are ranked by their first, so smallest, number.
    _, first, inverse = np.unique(component, return_index=True, return_inverse=True)
    rank = np.empty(first.size, np.uint32)
    rank[np.argsort(first)] = np.arange(1, first.size + 1, dtype=np.uint32)
    dense: NDArray[np.uint32] = rank[inverse]
    return dense


def relabel(
    labels_yx: NDArray[np.unsignedinteger], ids: NDArray[np.unsignedinteger], dense: NDArray[np.uint32]
) -> NDArray[np.uint32]:
    """Replace provisional numbers by final ones.

    Parameters
    ----------
    labels_yx
        Provisional labels, axes y x, 0 is background.
    ids
        All numbers of the plane, sorted, each once, without 0.
    dense
        Final number of each.

    Returns
    -------
    Final labels, uint32, same shape; background stays 0.

    Raises
    ------
    ValueError
        If a label is not among `ids`, these are not sorted, or the lengths differ.
    """
    _check_sorted(ids)
    if ids.shape != dense.shape:
        raise ValueError(f"expected a final number for each id, found {dense.size} for {ids.size}")
    known = np.concatenate([[0], ids]).astype(np.uint64)
    final = np.concatenate([[0], dense]).astype(np.uint32)
    places = np.searchsorted(known, labels_yx.astype(np.uint64)).clip(max=known.size - 1)
    if not np.array_equal(known[places], labels_yx):
        strange = np.setdiff1d(labels_yx, known)
        raise ValueError(
            f"expected labels among the {ids.size} ids, found {strange[:5].tolist()}; collect all ids first"
        )
    final_yx: NDArray[np.uint32] = final[places]
    return final_yx


def _check_inside(shape: Sequence[int], origin_yx: Sequence[int], plane_shape: Sequence[int]) -> None:
    for start, side, whole in zip(origin_yx, shape, plane_shape, strict=True):
        if start < 0 or start + side > whole:
            raise ValueError(
                f"expected a window inside the plane of shape {tuple(plane_shape)}, "
                f"found origin {tuple(origin_yx)} and shape {tuple(shape)}"
            )


def _check_sorted(ids: NDArray[np.unsignedinteger]) -> None:
    if ids.ndim != 1 or (ids.size and ids[0] == 0) or (ids[1:] <= ids[:-1]).any():
        raise ValueError(
            "ids: expected sorted numbers above 0, each once; pass numpy.unique of the cores, without 0"
        )
