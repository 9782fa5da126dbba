"""Parting a landscape into its hills, and joining again what only a shallow pass or a wide neck parts."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import local_maxima
from skimage.segmentation import watershed

Heights = NDArray[np.floating[Any]]
Labels = NDArray[np.int32]

_SQUARE = np.ones((3, 3), bool)


def split_hills(
    height_yx: Heights, mask: NDArray[np.bool_], *, least_rise: float, neck: float = 1.0
) -> Labels:
    """Share the pixels of a mask out to the hills of a landscape.

    Parameters
    ----------
    height_yx
        Landscape, axes y x, not negative in the mask: brightness, or the distance to the background.
    mask
        Pixels to share out, boolean, axes y x.
    least_rise
        A summit that stands less above the pass to a higher one is no hill of its own; in the units of the
        heights.
    neck
        Nor is one whose pass is at least this share of its own height, in (0, 1].

    Returns
    -------
    Number of the hill of each pixel, int32: 0 outside the mask, else from 1, perhaps with gaps.

    Notes
    -----
    Watershed (Vincent and Soille, IEEE PAMI 13:583, 1991) from every local maximum, then the basins are
    joined over their passes, the highest pass first, so that a hill joins what it is part of and never
    bridges two others: the dynamics of Grimaud, SPIE 1769:292, 1992.
    """
    landscape = np.where(mask, height_yx, -1)
    summits, count = ndimage.label(local_maxima(landscape, connectivity=2) & mask, _SQUARE)
    basins: Labels = watershed(-landscape, summits, mask=mask)
    peaks = np.zeros(count + 1)
    peaks[summits] = landscape
    hills: Labels = _joined(peaks, *_passes(basins, landscape), least_rise, neck)[basins]
    return hills


def _joined(
    peaks: NDArray[np.float64], pairs: NDArray[np.int32], passes: Heights, least_rise: float, neck: float
) -> Labels:
    """Number of the hill of each basin, for neighbours `pairs` (n, 2) and `passes` (n,), highest first."""
    parent = list(range(peaks.size))
    height = peaks.tolist()

    def root(basin: int) -> int:
        while parent[basin] != basin:
            parent[basin] = parent[parent[basin]]
            basin = parent[basin]
        return basin

    for (one, other), saddle in zip(pairs.tolist(), passes.tolist(), strict=True):
        low, high = sorted((root(one), root(other)), key=height.__getitem__)
        if low != high and saddle >= min(neck * height[low], height[low] - least_rise):
            parent[low] = high
    return np.array([root(basin) for basin in range(peaks.size)], np.int32)


def _passes(basins: Labels, landscape: Heights) -> tuple[NDArray[np.int32], Heights]:
    """Neighbouring basins and the height of the highest pass between them, highest first."""
    height, width = basins.shape
    sides, saddles = [], []
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = slice(0, height - down), slice(max(-right, 0), width - max(right, 0))
        there = slice(down, height), slice(max(right, 0), width - max(-right, 0))
        border = (basins[here] != basins[there]) & (basins[here] > 0) & (basins[there] > 0)
        sides.append(np.sort([basins[here][border], basins[there][border]], axis=0))
        saddles.append(np.minimum(landscape[here][border], landscape[there][border]))
    (low, high), saddle = np.concatenate(sides, axis=1), np.concatenate(saddles)
    order = np.lexsort((high, low, -saddle))
    _, first = np.unique(low[order].astype(np.int64) * (basins.size + 1) + high[order], return_index=True)
    kept = order[np.sort(first)]
    return np.stack([low[kept], high[kept]], axis=1), saddle[kept]
